"""Rounds: ids, lineage, what each stage reads and writes, and how a stage is run.

Invariant: a stage is a function from its inputs and its own blocks of parameters to its outputs;
nothing else enters the key of its work folder. Does not: contain what a stage does (see
`alicebob.pipeline`).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alicebob.errors import AliceBobError, UnknownName, UsageError
from alicebob.methods import method
from alicebob.params import ROOT_ROUND, Params, load_params, read_yaml, tree
from alicebob.work import Folder, code_hash, content_hash, die_with_dvc, publish, write_text

__all__ = [
    "PLACES",
    "STAGES",
    "Context",
    "ancestors",
    "flat_metrics",
    "place",
    "run_stage",
    "write_plots",
]

#: Where each kind of artifact of a round lies.
PLACES = {
    "base": "models/base",
    "episodes": "data/episodes/{round}",
    "skills": "data/skills/{round}",
    "bob": "models/bob/{round}",
    "evaluations": "data/evaluations/{round}",
    "feedback": "data/feedback/{round}",
    "metrics": "metrics/{round}.json",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage reads of its parent and of its own round, what it writes, and its parameters."""

    outs: tuple[str, ...]
    parent: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    params: tuple[str, ...] = ()


STAGES = {
    "base": Stage(("base",), params=("seed", "env", "seeds", "base", "bob")),
    "start": Stage(
        ("episodes", "skills", "bob", "feedback"), own=("base",), params=("seed", "env", "bob")
    ),
    "explore": Stage(
        ("episodes",),
        parent=("episodes", "feedback", "bob"),
        own=("base",),
        params=("seed", "method", "env", "seeds", "bob.model", "alice", "explore", "feedback"),
    ),
    "skills": Stage(
        ("skills",),
        parent=("skills", "bob"),
        own=("base", "episodes"),
        params=("seed", "method", "env", "bob.model", "alice", "skills"),
    ),
    "train": Stage(
        ("bob",),
        parent=("bob",),
        own=("base", "skills"),
        params=("seed", "method", "env", "bob", "train", "skills"),
    ),
    "evaluate": Stage(
        ("evaluations", "metrics"),
        own=("base", "bob", "skills", "episodes"),
        params=("seed", "env", "seeds", "bob", "evaluate"),
    ),
    "feedback": Stage(
        ("feedback",),
        parent=("feedback", "bob"),
        own=("base", "evaluations", "episodes", "skills"),
        params=("seed", "method", "env", "bob.model", "alice", "feedback"),
    ),
}


def _declared(params: Params, names: tuple[str, ...]) -> Params:
    """Return the parameters of these names alone: whole blocks, or of a block one value."""
    parts: dict[str, Any] = {}
    for name in names:
        block, _, key = name.partition(".")
        whole = getattr(params, block)
        parts[block] = whole.model_construct(**{key: getattr(whole, key)}) if key else whole
    return Params.model_construct(**parts)


def place(kind: str, round_id: str) -> Path:
    """Return where an artifact of a round lies, relative to the repository's root."""
    return Path(PLACES[kind].format(round=round_id))


def ancestors(round_id: str, rounds: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lineage of a round from r000 to the round itself."""
    line = [round_id]
    while line[-1] != ROOT_ROUND:
        line.append(rounds[line[-1]]["prev"])
    return line[::-1]


@dataclass
class Context:
    """What a stage's body gets: parameters, where to read, where to work and where to write.

    `params` holds only what `STAGES` declares, so that nothing else can matter unseen.
    `main` is False in all but one process of a distributed stage; only the main one writes.
    `facts` are what differs from run to run (seconds, tokens per second): they are kept beside the
    outputs, in `logs/`, and are in no hash.
    """

    stage: str
    round: str
    prev: str | None
    params: Params
    folder: Folder
    main: bool = True
    facts: dict[str, float] = field(default_factory=dict)
    report: Callable[[Mapping[str, float], int], None] = lambda values, step: None

    @property
    def scratch(self) -> Path:
        """Where unfinished work is kept from one run to the next."""
        return self.folder.scratch

    def read(self, kind: str) -> Path:
        """Return this round's artifact of a kind."""
        return place(kind, self.round)

    def inherited(self, kind: str) -> Path:
        """Return the parent's artifact of a kind."""
        assert self.prev is not None
        return place(kind, self.prev)

    def write(self, kind: str) -> Path:
        """Return where to write an artifact; it is published when the stage ends."""
        return self.folder.out / f"{kind}{Path(PLACES[kind]).suffix}"


def run_stage(stage: str, round_id: str, body: Callable[[Context], None]) -> None:
    """Run the body of a stage in its work folder and publish what it wrote.

    A stage whose folder is finished under the same key only publishes. Raises Busy when another
    process holds the folder.
    """
    die_with_dvc()
    params = load_params(round_id)
    rounds = tree(read_yaml())
    prev = rounds[round_id]["prev"] if round_id in rounds else None
    method(params.method)  # an unknown one is found before hours of work, not after
    spec, folder = STAGES[stage], Folder(stage, round_id)
    inputs = [place(kind, round_id) for kind in spec.own]
    inputs += [place(kind, prev) for kind in spec.parent if prev]
    for path in inputs:
        if not path.exists():
            raise AliceBobError(
                f"{path} is missing; run 'dvc repro {stage}@{round_id}' or 'dvc pull'."
            )
    declared = _declared(params, spec.params)
    context = Context(stage, round_id, prev, declared, folder, os.environ.get("RANK", "0") == "0")
    with _disk(context):
        blocks = declared.model_dump(mode="json")
        key = {"stage": stage, "params": blocks, "inputs": content_hash(*inputs)}
        if context.main:
            _lead(context, key, body)
        elif folder.joined(key):
            body(context)


def _lead(context: Context, key: Mapping[str, Any], body: Callable[[Context], None]) -> None:
    """Do what one process of a stage does: hold its folder, work, publish."""
    folder, outs = context.folder, STAGES[context.stage].outs
    with folder.held(float(os.environ.get("ALICEBOB_LOCK_WAIT", "30"))):
        code = code_hash()
        if folder.open(key, code):
            print(f"Finished before; published again from {folder.path}.", file=sys.stderr)
        else:
            _work(context, body)
            folder.close(code)
        publish([(context.write(kind), place(kind, context.round)) for kind in outs])
    if "metrics" in outs:
        write_plots()


@contextmanager
def _disk(context: Context) -> Iterator[None]:
    """Say in one sentence what the disk refused."""
    try:
        yield
    except OSError as error:
        raise AliceBobError(
            f"{context.stage} of {context.round} stopped: {error.strerror or error} "
            f"({error.filename or context.folder.path}). What is finished is kept; mend it and "
            "run 'dvc repro' again."
        ) from error


def _work(context: Context, body: Callable[[Context], None]) -> None:
    from alicebob.tracking import live

    begun = time.monotonic()
    with live(context.stage, context.round) as report:
        context.report = report
        body(context)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    context.facts |= {
        "seconds": round(time.monotonic() - begun, 2),
        "peak_mib": round(max(peak, children) / 1024),
    }
    path = Path("logs") / f"{context.round}-{context.stage}.json"
    write_text(path, json.dumps(context.facts, indent=1, sort_keys=True) + "\n")


def flat_metrics(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of a metrics file under dotted names.

    A mean comes with its bounds as `.low` and `.high`, those of single skills and events without.
    """
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping) and "mean" in value:
            if value["mean"] is not None:
                flat[f"{prefix}{name}"] = value["mean"]
                if not prefix.endswith(("by_skill.", "by_event.")):
                    flat |= {f"{prefix}{name}.{bound}": value[bound] for bound in ("low", "high")}
        elif isinstance(value, Mapping):
            flat |= flat_metrics(value, f"{prefix}{name}.")
        elif isinstance(value, int | float):
            flat[f"{prefix}{name}"] = value
    return flat


PLOTTED = {
    "skills_success": "test.skills.success",
    "open_play_progress": "test.open_play.progress",
    "open_play_score": "test.open_play.score",
    "open_play_reward": "test.open_play.reward",
    "open_play_success": "test.open_play.success",
    "open_play_achievements": "test.open_play.achievements",
    "alice_progress": "alice.progress",
}

COLUMNS = {
    "skills": "skills_success",
    "progress": "open_play_progress",
    "success": "open_play_success",
    "score": "open_play_score",
    "achievements": "open_play_achievements",
    "Alice": "alice_progress",
}


def write_plots(path: Path = Path("plots/rounds.csv")) -> None:
    """Write the table that `dvc plots show` draws: a row per evaluated round, in their order.

    It is made anew from `metrics/` and is no output of DVC, so that a new round re-runs no old one.
    """
    lines = [",".join(["round", *PLOTTED])]
    for round_id in (ROOT_ROUND, *tree(read_yaml())):
        file = place("metrics", round_id)
        if file.exists():
            flat = flat_metrics(json.loads(file.read_text(encoding="utf-8")))
            lines.append(",".join([round_id, *(str(flat.get(n, "")) for n in PLOTTED.values())]))
    write_text(path, "\n".join(lines) + "\n")


def table() -> str:
    """Return the rounds as a table: parent, Bob's figures on test worlds, Alice's own progress.

    Figures that no round has, as an environment has no such thing, are left out.
    """
    rounds = tree(read_yaml())
    figures = {}
    for round_id in (ROOT_ROUND, *rounds):
        file = place("metrics", round_id)
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        figures[round_id] = flat_metrics(found)
    some = any(figures.values())
    shown = {
        head: PLOTTED[name]
        for head, name in COLUMNS.items()
        if not some or any(PLOTTED[name] in flat for flat in figures.values())
    }
    rows = [["round", "parent", *shown]]
    for round_id, flat in figures.items():
        parent = str(rounds[round_id]["prev"]) if round_id in rounds else "-"
        rows.append([round_id, parent, *(_interval(flat, name) for name in shown.values())])
    head = rows[0]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _interval(flat: Mapping[str, float], name: str) -> str:
    if name not in flat:
        return "-"
    half = (flat[f"{name}.high"] - flat[f"{name}.low"]) / 2
    return f"{flat[name]:.3f} ±{half:.3f}"


def edit(change: Callable[[Any], None], round_id: str = ROOT_ROUND) -> None:
    """Change params.yaml in place, keeping its comments; a change that does not check is undone.

    `change` gets the parsed file. Checked are the parameters of `round_id`, for r000 those of all
    rounds; raises what `load_params` and `method` raise, and the file is then as it was.
    """
    from io import StringIO

    from ruamel.yaml import YAML

    path = Path("params.yaml")
    before = path.read_text(encoding="utf-8")
    yaml = YAML()
    yaml.width = 4096
    yaml.preserve_quotes = True
    data = yaml.load(before)
    change(data)
    text = StringIO()
    yaml.dump(data, text)
    write_text(path, text.getvalue())
    try:
        checked = [round_id, *tree(read_yaml())] if round_id == ROOT_ROUND else [round_id]
        for name in checked:
            method(load_params(name).method)
    except AliceBobError:
        write_text(path, before)
        raise


def add(round_id: str | None, parent: str | None, changes: Mapping[str, Any]) -> str:
    """Append a round to params.yaml, keeping its comments, and return its id.

    `changes` has dotted names, e.g. `train.epochs`. The parent is by default the newest round.
    Raises UsageError for an id that is taken, UnknownName for a parent or a parameter that is not
    there; the file is then as it was.
    """
    from ruamel.yaml.comments import CommentedMap

    rounds = tree(read_yaml())
    parent = parent or next(reversed(rounds), ROOT_ROUND)
    if parent != ROOT_ROUND and parent not in rounds:
        raise UnknownName("round", parent, [ROOT_ROUND, *rounds], "params.yaml")
    if round_id is None:
        taken = [int(name[1:]) for name in rounds if name[0] == "r" and name[1:].isdigit()]
        round_id = f"r{max(taken, default=0) + 1:03d}"
    if round_id in rounds:
        raise UsageError(f"Round {round_id} is in params.yaml already; choose another id.")
    item = CommentedMap({"prev": parent})
    for name, value in changes.items():
        block, _, key = name.partition(".")
        if key:
            item.setdefault(block, CommentedMap())[key] = value
        else:
            item[block] = value
    item.fa.set_flow_style()

    def append(data: Any) -> None:
        if not data.get("rounds"):
            data["rounds"] = CommentedMap()
        data["rounds"][round_id] = item

    edit(append, round_id)
    return round_id


def difference(first: str, second: str) -> str:
    """Return the parameters and figures in which two rounds differ, as a table."""
    lines = [f"{'':48}{first:>14}{second:>14}"]
    one, two = (flatten(load_params(r).model_dump(mode="json")) for r in (first, second))
    lines += [f"{n:48}{one[n]!s:>14}{two[n]!s:>14}" for n in one if one[n] != two.get(n)]
    found = []
    for round_id in (first, second):
        file = place("metrics", round_id)
        if not file.exists():
            raise UsageError(f"{file} is missing; run 'dvc repro evaluate@{round_id}' first.")
        found.append(flat_metrics(json.loads(file.read_text(encoding="utf-8"))))
    for name in sorted(found[0].keys() | found[1].keys()):
        a, b = found[0].get(name), found[1].get(name)
        if a != b and not name.endswith((".low", ".high")):
            shown = ["-" if value is None else f"{value:.4g}" for value in (a, b)]
            lines.append(f"{name:48}{shown[0]:>14}{shown[1]:>14}")
    return "\n".join(lines)


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
