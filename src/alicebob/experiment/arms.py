"""Arms: the lineages of a comparison, each run as a DVC experiment of its own.

An arm is a method for each round, from r001 on, and parameters that it changes; with each of some
seeds it is a lineage. All are queued by `dvc exp` from the commit that is checked out and run by
it: they share DVC's cache, so that what two of them have in common, such as the base or the first
rounds, is made once. An experiment's name says its arm and seed, and by a hash the parameters that
all arms share: other parameters are another comparison. Invariant: what was run is not run again.
Does not: read what came out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from ruamel.yaml import YAML

from alicebob.errors import AliceBobError, UsageError
from alicebob.experiment.params import Experiment, read_yaml
from alicebob.experiment.plan import check
from alicebob.experiment.tree import ROOT_ROUND
from alicebob.methods import method

__all__ = ["Arm", "arms_of", "known", "queue", "revisions", "run"]

UNDER_WAY = ("Running", "Queued")
STATES = (*UNDER_WAY, "Success", "Failed")  # of several tasks of one name the first of these counts
POLL, PATIENCE, SETTLING = 5.0, 120.0, 30.0  # seconds
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
NO_REPOSITORY = (
    "A comparison runs as DVC experiments, which need a Git repository with a commit; run "
    "'git init && git add --all && git commit -m begin' first."
)


@dataclass(frozen=True, slots=True)
class Arm:
    """A method for each round, under a label, with dotted parameters that it changes."""

    label: str
    methods: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rounds(self) -> list[str]:
        """The ids of its rounds."""
        return [f"r{number:03d}" for number in range(1, len(self.methods) + 1)]

    def experiment(self, seed: int) -> str:
        """Return the name of its DVC experiment with a seed."""
        shared = {n: v for n, v in read_yaml().items() if n not in ("seed", "method", "rounds")}
        told = json.dumps([shared, self.methods, dict(self.settings)], sort_keys=True, default=str)
        return f"{self.label}.s{seed}.{hashlib.sha256(told.encode()).hexdigest()[:6]}"

    def check(self) -> None:
        """Check the parameters of its rounds; raises UsageError, naming the arm."""
        data = read_yaml()
        for name, value in self.settings.items():
            block, _, key = name.partition(".")
            data[block] = {**(data.get(block) or {}), key: value} if key else value
        pairs = zip([ROOT_ROUND, *self.rounds], self.methods, strict=False)
        tree = dict(zip(self.rounds, ({"prev": p, "method": m} for p, m in pairs), strict=True))
        try:
            check((), Experiment(data={**data, "rounds": tree}))
        except UsageError as error:
            raise UsageError(f"The arm {self.label!r} cannot run: {error}") from None

    def overrides(self, seed: int) -> list[str]:
        """Return what `dvc exp run -S` is told, in Hydra's grammar."""
        parents = [ROOT_ROUND, *self.rounds]
        line = ",".join(
            f"{name}:{{prev:{parent},method:{chosen}}}"
            for name, parent, chosen in zip(self.rounds, parents, self.methods, strict=False)
        )
        changed = [f"++{name}={_hydra(value)}" for name, value in self.settings.items()]
        return [f"seed={seed}", *changed, "~rounds", f"+rounds={{{line}}}"]


def _hydra(value: Any) -> str:
    """Return a value in Hydra's grammar, which is JSON's but for the keys of mappings."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_hydra(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_hydra, value)) + "]"
    return json.dumps(value)


def known() -> dict[str, dict[str, str]]:
    """Return the comparisons that are shipped: words by label, by name."""
    folder = files("alicebob.experiment") / "comparisons"
    return {
        Path(str(each)).stem: YAML(typ="safe").load(each.read_text(encoding="utf-8"))
        for each in sorted(folder.iterdir(), key=str)
    }


def arms_of(words: Sequence[str], settings: Any) -> list[Arm]:
    """Return the arms that words of the command line name.

    Each is a method for every round ("exif exif step"), one method for all rounds there are in
    `params.yaml`, or the name of a shipped comparison; "LABEL: …" names it; KEY=VALUE in it, read
    by `settings`, changes parameters. Raises UsageError for what is no arm, and for two labels
    alike, UnknownName for a method that is not there.
    """
    shipped = known()
    found: list[Arm] = []
    for word in words:
        some = shipped.get(word.strip(), {"": word})
        found += [_arm(label, text, settings) for label, text in some.items()]
    labels = [arm.label for arm in found]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"Two arms are called {label!r}; name one, such as 'other: exif'.")
    return found


def _arm(label: str, text: str, settings: Any) -> Arm:
    named, colon, rest = text.partition(":")
    if not label and colon and WORD.fullmatch(named.strip()):
        label, text = named.strip(), rest
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"The arm {text!r} cannot be read ({error}).") from None
    methods = [word for word in words if "=" not in word]
    if not methods:
        raise UsageError(f"The arm {text!r} names no method, such as exif.")
    for name in methods:
        method(name)
    if len(methods) == 1:
        methods *= max(1, len(read_yaml().get("rounds") or {}))
    changes = settings(word for word in words if "=" in word)
    label = label or ".".join(methods)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", label):
        raise UsageError(f"An arm's label is of letters, digits, '.', '_' and '-', not {label!r}.")
    return Arm(label, tuple(methods), changes)


def _dvc(*words: str) -> None:
    """Run a command of DVC in the environment of this one; raises AliceBobError where it fails.

    While another DVC holds its lock, such as a worker that begins, it is tried again for a while.
    """
    place = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    if not os.environ.get("MLFLOW_TRACKING_URI"):  # an experiment runs in a folder that goes away
        place["MLFLOW_TRACKING_URI"] = f"sqlite:///{Path('mlflow.db').absolute()}"
    command, given_up = [sys.executable, "-m", "dvc", *words], time.monotonic() + PATIENCE
    while True:
        with TemporaryFile("w+") as heard:  # no pipe: a worker that is begun would hold it open
            done = subprocess.run(
                command, env={**os.environ, **place}, stdout=heard, stderr=heard, check=False
            )
            heard.seek(0)
            said = heard.read().strip()
        if not done.returncode:
            return
        if "acquire lock" not in said or time.monotonic() > given_up:
            reason = said.splitlines()[-1].removeprefix("ERROR: ") if said else "no reason given"
            raise AliceBobError(f"'dvc {' '.join(words[:2])}' failed: {reason}")
        time.sleep(POLL)


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(NO_REPOSITORY)
    return done.stdout.strip()


def revisions() -> dict[str, str]:
    """Return the commits of the finished experiments of this commit, by name."""
    head = _git("rev-parse", "HEAD")
    prefix = f"refs/exps/{head[:2]}/{head[2:]}/"
    told = _git("for-each-ref", "--format=%(refname) %(objectname)", prefix)
    pairs = (line.split() for line in told.splitlines())
    return {name.removeprefix(prefix): commit for name, commit in pairs}


def _status() -> dict[str, str]:
    """Return what DVC's queue says of each experiment in it: Running, Queued, Success or Failed.

    One whose process is gone has failed, unless a worker is about to say how it ended.
    """
    from dvc.repo import Repo
    from psutil import pid_exists

    found: dict[str, str] = {}
    with Repo() as repo:
        tasks = repo.experiments.celery_queue
        for each in tasks.status():
            state, process = each["status"], tasks.proc.get(each["rev"])
            gone = process is not None and not pid_exists(process.pid)
            if state == "Running" and gone and each["rev"] not in str(tasks.worker_status()):
                state = "Failed"
            found[each["name"]] = min(state, found.get(each["name"], state), key=STATES.index)
    return found


def queue(arms: Sequence[Arm], seeds: Sequence[int]) -> list[str]:
    """Queue what is neither finished nor queued, seed by seed; return the names of it.

    Raises UsageError where there is no commit to run from or an arm's parameters will not do, and
    AliceBobError where DVC refuses.
    """
    for arm in arms:
        arm.check()
    there = {*revisions(), *(n for n, state in _status().items() if state in UNDER_WAY)}
    added = []
    for seed in seeds:
        for arm in arms:
            name = arm.experiment(seed)
            if name in there:
                continue
            changes = [word for each in arm.overrides(seed) for word in ("-S", each)]
            _dvc("exp", "run", "--queue", "-n", name, *changes)
            added.append(name)
    return added


def run(names: Sequence[str], at_once: int, tell: Callable[[str], None]) -> list[str]:
    """Let DVC's workers run the queue, so many at once, until none of these is under way.

    `tell` gets a line for each change. Workers outlive this process: what is interrupted here goes
    on there, and is met again by the next call. Returns the names of what failed.
    """
    seen: dict[str, str] = {}
    since: dict[str, float] = {}  # that it seems to have failed; its worker may yet say otherwise
    while True:
        states = {name: state for name, state in _status().items() if name in names}
        for name in [each for each, state in states.items() if state == "Failed"]:
            if time.monotonic() - since.setdefault(name, time.monotonic()) < SETTLING:
                states[name] = "Running"
        for name, state in states.items():
            if seen.get(name) != state:
                tell(f"{name}: {state.lower()}")
        seen = states
        if not any(state in UNDER_WAY for state in states.values()):
            there = revisions()
            return [n for n, state in states.items() if state == "Failed" and n not in there]
        told = list(states.values())
        if "Queued" in told and told.count("Running") < at_once:
            _dvc("queue", "start", "-j", str(at_once))
        time.sleep(POLL)
