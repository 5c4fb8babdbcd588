"""Made: with which code and in which versions each stage of a round ran, and what it asked a model.

Kept in `logs/made/`, in no hash and no output, since it differs from machine to machine. Invariant:
a record counts only where `dvc.lock` says that its stage read what it read then; what came out of
DVC's cache has none. Does not: say what was made.
"""

from __future__ import annotations

import functools
import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from alicebob.errors import DamagedData
from alicebob.experiment.lock import Lock, stages_of
from alicebob.experiment.results import read_json
from alicebob.files import write_text
from alicebob.progress import tell

__all__ = ["MADE", "Asked", "Call", "asked", "commit", "note", "records", "versions"]

MADE = Path("logs/made")
PACKAGE = "alicebob"
MEND = "delete it, nothing rests on it"


class Call(BaseModel):
    """A question to a model, and what came of it (see `alicebob.alice.model.asking`)."""

    number: int
    question: Any  # text, which may hold half a surrogate pair
    answer: dict[str, Any] | None
    refused: list[dict[str, Any]]
    seconds: list[float]  # of each try
    prompt_tokens: int
    reply_tokens: int


class Asked(BaseModel):
    """A prompt's text, and some of what was asked with it."""

    text: str
    calls: list[Call]


class Record(BaseModel):
    """What a stage read, by path and hash; what it ran with; and what it asked, by prompt."""

    read: dict[str, str | None]
    ran: dict[str, str]
    asked: dict[str, Asked]


def note(stage: str, round_id: str, inputs: Iterable[Path], code: str, calls: Path) -> None:
    """Note what a stage ran with that has just ended; trouble with it is told, and stops nothing.

    `inputs` are what it read, its plan included, `code` is the hash of the sources, `calls` has
    some of what was asked of a model, by prompt (see `alicebob.alice.model.asking.note`).
    """
    try:
        lock = Lock()
    except DamagedData as error:
        tell(f"Warning: what {stage} of {round_id} ran with is not noted: {error}")
        return
    found = {
        "read": {str(path): lock.hash_of(path) for path in inputs},
        "ran": {"git.commit": commit(), "code": code[:16], **_versions()},
        "asked": {p.stem: _asked(p) for p in sorted(calls.glob("*.json"))},
    }
    # As ASCII: what a model wrote may hold half a surrogate pair.
    write_text(_path(stage, round_id), json.dumps(found, indent=1) + "\n")


def _asked(path: Path) -> dict[str, Any]:
    from alicebob.alice.model.asking import template

    return {"text": template(path.stem), "calls": json.loads(path.read_text())}


def records(round_id: str, lock: Lock) -> dict[str, Record]:
    """Return by stage what was noted of a round, where it holds; raises DamagedData."""
    entries, found = lock.of(round_id), {}
    for stage in stages_of(round_id):
        path = _path(stage, round_id)
        if not path.exists():
            continue
        try:
            record = Record.model_validate(read_json(path, MEND))
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise DamagedData(f"{path} is damaged ({where}); {MEND}.") from error
        # A stage that DVC has yet to note is the one that has just ended.
        if stage not in entries or record.read == dict(entries[stage].deps):
            found[stage] = record
    return found


def versions(found: Mapping[str, Record]) -> dict[str, str]:
    """Return with what the stages of these records ran; where they differ, each of it."""
    told: dict[str, dict[str, None]] = {}
    for record in found.values():
        for name, value in record.ran.items():
            told.setdefault(name, {})[value] = None
    return {name: ", ".join(values) for name, values in told.items()}


def asked(found: Mapping[str, Record]) -> dict[str, Asked]:
    """Return what was asked, by prompt, of the stages of all these records."""
    told: dict[str, Asked] = {}
    for record in found.values():
        for name, each in record.asked.items():
            before = told[name].calls if name in told else []
            told[name] = Asked(text=each.text, calls=[*before, *each.calls])
    return told


def _path(stage: str, round_id: str) -> Path:
    return MADE / round_id / f"{stage}.json"


def _versions() -> dict[str, str]:
    """Return the versions of this package and of all that it needs, and the kind of machine."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    torch = sys.modules.get("torch")  # a stage that has not loaded it does no arithmetic with it
    if torch is not None:
        cuda = torch.cuda.is_available()
        device = torch.cuda.get_device_name() if cuda else torch.backends.cpu.get_cpu_capability()
        found["device"] = str(device)
    for name in (PACKAGE, *_needs()):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _needs() -> list[str]:
    """Return the names of the packages that this one needs; none where it is not installed."""
    try:
        needs = [need for need in requires(PACKAGE) or () if "extra ==" not in need]
    except PackageNotFoundError:
        return []
    return [re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in needs]


@functools.cache
def commit() -> str:
    """Return the commit that is checked out, or why there is none.

    A checkout of another user's, as in a container, is read all the same: nothing in it is run.
    """
    words = ["git", "-c", "safe.directory=*", "rev-parse", "--verify", "HEAD"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"none ({error.strerror})"
    told = " ".join(done.stderr.split())
    return f"none ({told[:200]})" if done.returncode else done.stdout.strip()
