"""Run: the body of a stage, in its work folder, from its plan to what it publishes.

Invariant: a stage is a function from its inputs and its plan to its outputs; nothing else enters
the key of its work folder. Does not: contain what a stage does.
"""

from __future__ import annotations

import functools
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alicebob import environment
from alicebob.alice import Alice
from alicebob.environment import rank
from alicebob.envs import World
from alicebob.errors import AliceBobError
from alicebob.experiment import made
from alicebob.experiment.params import schema
from alicebob.experiment.places import PLACES, place
from alicebob.experiment.plan import PLAN, declared, planned, way
from alicebob.experiment.report import draw
from alicebob.experiment.sources import behind
from alicebob.experiment.stages import STAGES, address
from alicebob.experiment.tables import write_plots
from alicebob.experiment.work import WORK, Folder, code_hash, die_with_dvc, publish
from alicebob.files import content_hash, write_json
from alicebob.methods import Method
from alicebob.progress import Bar
from alicebob.settings import Params
from alicebob.tracking import ended, live

__all__ = ["Context", "run_stage"]

_REFUSED = re.compile(r"([\w ]+) \(os error \d+\)")  # how Rust tells of the system's errors
_NO_MEMORY = re.compile(r"(?i)(can't|cannot) allocate memory|out of memory|failed to map segment")


@dataclass
class Context:
    """What a stage's body gets: parameters, where to read, where to work and where to write.

    `params` holds only what the plan declares, so that nothing else can matter unseen. `main` is
    False in all but one process of a distributed stage; only the main one writes. `facts` are what
    differs from run to run (seconds, tokens per second): they are kept beside the outputs, in
    `logs/`, and are in no hash.
    """

    stage: str
    id: str
    prev: str | None
    method: Method
    params: Params
    folder: Folder
    main: bool = True
    facts: dict[str, float] = field(default_factory=dict)
    report: Callable[[Mapping[str, float], int], None] = lambda values, step: None

    @property
    def scratch(self) -> Path:
        """Where unfinished work is kept from one run to the next."""
        return self.folder.scratch

    @property
    def world(self) -> World:
        """The environment."""
        return World(self.params.env.spec, self.params.env.settings)

    @functools.cached_property
    def alice(self) -> Alice:
        """Alice, as the parameters want her."""
        return Alice(
            self.params,
            self.world,
            self.id,
            adapter=place("bob", self.prev or self.id),
            scratch=self.scratch,
            ledger=WORK / "alice" / f"{self.id}.jsonl",
            bar=self.bar,
        )

    def part(self, *given: Any) -> Any:
        """Do the method's part of this stage."""
        return self.method.part(STAGES[self.stage].part)(self, *given)

    def read(self, kind: str) -> Path:
        """Return this round's artifact of a kind."""
        return place(kind, self.id)

    def inherited(self, kind: str) -> Path:
        """Return the parent's artifact of a kind."""
        assert self.prev is not None
        return place(kind, self.prev)

    def write(self, kind: str) -> Path:
        """Return where to write an artifact; it is published when the stage ends."""
        return self.folder.out / f"{kind}{Path(PLACES[kind]).suffix}"

    def lay(self, kind: str) -> Path:
        """Make the folder of an artifact and return it."""
        folder = self.write(kind)
        folder.mkdir()
        return folder

    def bar(self, name: str, total: int | None = None, unit: str = "episode") -> Bar:
        """Return a progress bar; where it counts steps, their speed is noted."""
        return _Noted(self.facts, name, total, unit)


class _Noted(Bar):
    def __init__(self, facts: dict[str, float], *told: Any) -> None:
        super().__init__(*told)
        self._facts = facts

    def __exit__(self, *trouble: Any) -> None:
        super().__exit__(*trouble)
        if self.steps:
            self._facts["env_steps_per_second"] = self.steps_per_second


def run_stage(stage: str, round_id: str, body: Callable[[Context], None]) -> None:
    """Run the body of a stage in its work folder and publish what it wrote.

    A stage whose folder is finished under the same key only publishes. Raises Busy when another
    process holds the folder.
    """
    die_with_dvc()
    plan, its = planned(stage, round_id), planned("round", round_id)
    prev, method = its["prev"], way(its["method"])
    spec, folder = STAGES[stage], Folder(stage, round_id)
    inputs = [place(kind, round_id) for kind in spec.own]
    inputs += [place(kind, prev) for kind in spec.parent if prev]
    for path in inputs:
        if not path.exists():
            raise AliceBobError(
                f"{path} is missing; run 'dvc repro {address(stage, round_id)}' or 'dvc pull'."
            )
    shape = schema((method.name,) if method.settings else ())
    params = declared(plan["params"], shape)
    context = Context(stage, round_id, prev, method, params, folder, main=rank() == 0)
    with _machine(context):
        key = {"stage": stage, "plan": plan, "inputs": content_hash(*inputs)}
        code = code_hash(behind(method, plan["params"].get("env", {}).get("spec")))
        if context.main:
            _lead(context, key, code, body, inputs)
        elif folder.joined(key, code):
            body(context)


def _lead(
    context: Context,
    key: Mapping[str, Any],
    code: str,
    body: Callable[[Context], None],
    inputs: Sequence[Path],
) -> None:
    """Do what one process of a stage does: hold its folder, work, publish."""
    folder, outs = context.folder, STAGES[context.stage].outs
    with folder.held(environment.number("ALICEBOB_LOCK_WAIT", 30.0)):
        if folder.open(key, code):
            print(f"Finished before; published again from {folder.path}.", file=sys.stderr)
        else:
            _work(context, body)
            read = [PLAN / context.id / f"{context.stage}.json", *inputs]
            made.note(context.stage, context.id, read, code, context.scratch / "asked")
            folder.close(code)
        publish([(context.write(kind), place(kind, context.id)) for kind in outs])
    if "metrics" in outs:
        write_plots()
        draw()
    ended(context.stage, context.id)


@contextmanager
def _machine(context: Context) -> Iterator[None]:
    """Say in one sentence what the machine refused: room on the disk, or memory."""
    try:
        yield
    except AliceBobError:
        raise
    except Exception as error:  # libraries in Rust have types of their own for what it refuses
        refused = _REFUSED.search(str(error))
        if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
            reason, where = "there is not enough memory", " ".join(str(error).split())[:200]
        elif isinstance(error, OSError):
            reason, where = error.strerror or str(error), error.filename
        elif refused:
            reason, where = refused[1], None
        else:
            raise
        raise AliceBobError(
            f"{context.stage} of {context.id} stopped: {reason} "
            f"({where or context.folder.path}). What is finished is kept; mend it and "
            "run 'dvc repro' again."
        ) from error


def _work(context: Context, body: Callable[[Context], None]) -> None:
    begun = time.monotonic()
    with live(context.stage, context.id) as report:
        context.report = report
        body(context)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    context.facts |= {
        "seconds": round(time.monotonic() - begun, 2),
        "peak_mib": round(max(peak, children) / 1024),
    }
    facts = dict(sorted(context.facts.items()))
    write_json(Path("logs") / f"{context.id}-{context.stage}.json", facts)
