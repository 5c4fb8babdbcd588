"""Damage: bytes of files that are truncated, zeroed, flipped or replaced, and bad lines (F5, F6).

A damaged file must be named, or come to nothing: it is never taken for what was written.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from faults_kill import TRAINED, checkpoints, enough, journals
from forked import Outcome, Rounds, Run, files_under
from numpy.random import Generator
from tiny_rounds import begin, environment

from alicebob.errors import AliceBobError
from alicebob.experiment.lock import Lock
from alicebob.files import remove
from alicebob.journal import append_line
from alicebob.policies import Task
from alicebob.trace import Episode, Turn, append_journal, read_journal
from alicebob.tracking import mirror
from alicebob.tracking.index import ROUND, SUPERSEDED, Index
from alicebob.tracking.reading import lineage_mark

__all__ = ["damage_file", "damage_lines"]

WAYS = ("truncated", "zeroed", "flipped", "replaced")


def damaged(path: Path, how: str, draw: Generator, other: Path) -> None:
    """Damage a file at some place in it; or put another of its kind in its place."""
    data = path.read_bytes()
    place = int(draw.integers(len(data)))
    if how == "truncated":
        data = data[:place]
    elif how == "zeroed":
        data = data[:place] + bytes(min(512, len(data) - place)) + data[place + 512 :]
    elif how == "flipped":
        data = data[:place] + bytes([data[place] ^ 1 << int(draw.integers(8))]) + data[place + 1 :]
    else:
        data = other.read_bytes() if other.read_bytes() != data else data[::-1]
    path.write_bytes(data)


def damage_file(rounds: Rounds, draw: Generator, number: int) -> Outcome:
    """F5: damage a file of one kind, run what reads it, and compare."""
    kinds = list(KINDS)
    kind, how = kinds[number % len(kinds)], WAYS[number // len(kinds) % len(WAYS)]
    outcome, said = KINDS[kind](rounds, draw, how)
    return f"{kind}, {how}", outcome, said


def of_checkpoint(name: str) -> Callable[[Rounds, Generator, str], tuple[str, str]]:
    """Return what damages a file, by its name, of the newest checkpoint of a training."""

    def tried(rounds: Rounds, draw: Generator, how: str) -> tuple[str, str]:
        state = rounds.half("train/r001", enough)
        newest = f"scratch/fit/checkpoint-{checkpoints(state)[-1]}"
        older = state / f"scratch/fit/checkpoint-{checkpoints(state)[-2]}"
        return _work(rounds, draw, how, "train/r001", f"{newest}/{name}", older / name)

    return tried


def of_journal(rounds: Rounds, draw: Generator, how: str) -> tuple[str, str]:
    """Damage the journal of a stage that was cut off."""
    work = str(draw.choice(["explore/r001", "evaluate/r000", "evaluate/r001"]))
    state = rounds.half(work, enough)
    name = journals(state)[0].relative_to(state).as_posix()
    return _work(rounds, draw, how, work, name, journals(rounds.half("evaluate/r001", enough))[0])


def of_mark(rounds: Rounds, draw: Generator, how: str) -> tuple[str, str]:
    """Damage the KEY of work that was cut off, or the mark of its checkpoint."""
    work = str(draw.choice([*TRAINED, "explore/r001"]))
    state = rounds.half(work, enough)
    names = ["KEY", *(f"scratch/fit/checkpoint-{n}/COMPLETE" for n in checkpoints(state)[-1:])]
    other = rounds.whole / ".work/evaluate/r001/KEY"
    return _work(rounds, draw, how, work, str(draw.choice(names)), other)


def of_finished(rounds: Rounds, draw: Generator, how: str) -> tuple[str, str]:
    """Damage a file of finished work whose outputs are gone."""
    work = str(draw.choice(["explore/r001", "train/r001", "evaluate/r001", "base/r000"]))
    state = rounds.whole / ".work" / work
    files = sorted(p for p in state.rglob("*") if p.is_file() and p.stat().st_size)
    file = files[int(draw.integers(len(files)))].relative_to(state)
    other = rounds.whole / ".work/evaluate/r001b" / file.name
    return _work(rounds, draw, how, work, str(file), other if other.exists() else state / "KEY")


def _work(
    rounds: Rounds, draw: Generator, how: str, work: str, name: str, other: Path
) -> tuple[str, str]:
    """Damage a file of a work folder, run its stage, and tell what came of it."""
    state = rounds.whole / ".work" / work
    state = state if (state / name).exists() else rounds.half(work, enough)
    folder = rounds.fresh(work, state=state) / ".work" / work
    damaged(folder / name, how, draw, other)
    run = rounds.start(work)
    run.wait()
    told = [line for line in run.said.splitlines() if Path(name).name in line and work in line]
    if run.code or "Traceback" in run.said:
        return ("refused" if told and run.code == 1 else "REFUSED, NOT NAMED"), run.said[-1500:]
    if not rounds.same(work):
        return "DIFFERENT", run.said[-1500:]
    return ("same, said" if told else "same"), f"{work}/{name} {''.join(told[:1])}"


def of_published(rounds: Rounds, draw: Generator, how: str) -> tuple[str, str]:
    """Damage a file that is published by each stage, and let DVC find out."""
    folder = rounds.fresh()
    for paths in rounds.outs.values():
        files = [
            name for name in sorted(files_under(folder, paths)) if (folder / name).stat().st_size
        ]
        file = folder / str(draw.choice(files))
        damaged(file, how, draw, folder / "params.yaml")
    return _repro(rounds, "")


def of_lock(rounds: Rounds, draw: Generator, how: str) -> tuple[str, str]:
    """Damage dvc.lock; where DVC refuses it, do as `alicebob doctor` says."""
    folder = rounds.fresh()
    damaged(folder / "dvc.lock", how, draw, folder / "params.yaml")
    return _repro(rounds, "dvc.lock")


def of_rwlock(rounds: Rounds, draw: Generator, how: str) -> tuple[str, str]:
    """Damage the list of who reads and writes what, which DVC keeps."""
    folder = rounds.fresh()
    path = folder / ".dvc/tmp/rwlock"
    path.parent.mkdir(parents=True, exist_ok=True)
    info = {"pid": 2**22 + 1, "cmd": "dvc repro"}
    paths = {str(folder / out): info for outs in rounds.outs.values() for out in outs}
    path.write_text(json.dumps({"write": paths, "read": {}}))
    damaged(path, how, draw, folder / "params.yaml")
    return _repro(rounds, "rwlock")


def _repro(rounds: Rounds, named: str) -> tuple[str, str]:
    """Run `dvc repro`, after the doctor where it refuses; tell what came of it."""
    folder = rounds.folder
    code = begin(folder, "-q").wait()
    said, mended = (folder / "log.txt").read_text(errors="replace"), ""
    if code and named:
        words = [sys.executable, "-m", "alicebob", "doctor", "--repair"]
        doctor = subprocess.run(
            words, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
        )
        said += doctor.stdout + doctor.stderr
        if named not in doctor.stdout:
            return "REFUSED, NOT NAMED", said[-1500:]
        code, mended = begin(folder, "-q").wait(), "named and mended by the doctor, "
        said += (folder / "log.txt").read_text(errors="replace")
    if code:
        return f"EXIT {code}", said[-1500:]
    paths = [path for outs in rounds.outs.values() for path in outs]
    same = files_under(folder, paths) == rounds.hashes
    return (f"{mended}same" if same else "DIFFERENT"), said[-500:]


def of_index(rounds: Rounds, draw: Generator, how: str) -> tuple[str, str]:
    """Damage mlflow.db, and make it agree with the files again; else do as is said."""
    folder = rounds.fresh()
    path = folder / "mlflow.db"
    damaged(path, how, draw, folder / "params.yaml")
    run = _sync(rounds)
    if run.code or "Traceback" in run.said:
        return f"EXIT {run.code}", run.said[-1500:]
    if "Warning: " in run.said or "Error: " in run.said:
        if "mlflow.db" not in run.said:
            return "NOT NAMED", run.said[-1500:]
        remove(path)
        again = _sync(rounds)
        held = not again.code and "Warning" not in again.said and _shown(rounds)
        return ("named, then made anew" if held else "NOT MADE ANEW"), run.said[-500:]
    return ("shows what the files say" if _shown(rounds) else "DIFFERENT"), run.said[-500:]


def _sync(rounds: Rounds) -> Run:
    def bring() -> None:
        try:
            mirror.sync()
        except AliceBobError as error:  # as the command says it
            print(f"Error: {error}")

    run = rounds.fork(bring)
    run.wait()
    return run


def _shown(rounds: Rounds) -> bool:
    """Tell whether MLflow has one run of each round that holds, with what the files say of it."""

    def compare() -> None:
        lock = Lock()
        told, troubles = mirror._read(["r000", "r001", "r001b"], lock, quiet=True)
        index = Index(lineage_mark(lock))
        for each in told.values():
            first, *others = index.runs(ROUND, each.id)
            assert all(SUPERSEDED in run.data.tags for run in others), "two runs hold"
            assert mirror._agrees(index, first, each), f"{each.id} is another"
            assert first.data.metrics.keys() >= each.values.keys(), f"{each.id} lacks figures"
        assert len(told) == 3, troubles

    run = rounds.fork(compare)
    run.wait()
    return run.code == 0


KINDS: dict[str, Callable[[Rounds, Generator, str], tuple[str, str]]] = {
    "adapter of a checkpoint": of_checkpoint("adapter_model.safetensors"),
    "optimizer": of_checkpoint("optimizer.pt"),
    "trainer state": of_checkpoint("trainer_state.json"),
    "journal": of_journal,
    "KEY or COMPLETE": of_mark,
    "finished work": of_finished,
    "published": of_published,
    "dvc.lock": of_lock,
    ".dvc/tmp/rwlock": of_rwlock,
    "mlflow.db": of_index,
}


# F6: lines of a journal.

LINES = 8
JUNK = {
    "torn middle": lambda line, draw: line[: int(draw.integers(1, len(line) - 1))],
    "NUL block": lambda line, draw: bytes(int(draw.integers(1, 4096))) + b"\n",
    "bad UTF-8": lambda line, draw: _put(line, draw, b"\xff\xfe"),
    "BOM": lambda line, draw: b"\xef\xbb\xbf" + line,
    "CRLF": lambda line, draw: line[:-1] + b"\r\n",
    "10 MB line": lambda line, draw: draw.bytes(10_000_000).replace(b"\n", b"") + b"\n",
    "lone surrogate": lambda line, draw: _put(line, draw, b"\xed\xa0\x80"),
}
TOLD: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "duplicate id": lambda data: data | {"final": "another end"},
    "wrong type": lambda data: data | {"turns": "none"},
    "NaN reward": lambda data: data | {"turns": [{**data["turns"][0], "reward": "nan"}]},
}
CLASSES = ("torn last line", *JUNK, *TOLD)


def _put(line: bytes, draw: Generator, what: bytes) -> bytes:
    place = int(draw.integers(27, len(line) - 2))
    return line[:place] + what + line[place:]


def damage_lines(rounds: Rounds, draw: Generator, number: int) -> Outcome:
    """F6: spoil a line of a journal; all others count, and only they."""
    kind, path = CLASSES[number % len(CLASSES)], rounds.at / "lines.jsonl"
    aside = path.with_name(f"{path.name}.damaged")
    remove(path)
    remove(aside)
    words = ["tree", "Öl", "\u2028", "<|im_end|>", "漢", "\ud800"]
    said = [" ".join(draw.choice(words, 9)) for _ in range(LINES)]
    turns = [Turn(text, "do", reward=float(draw.random())) for text in said]
    episodes = [
        Episode(f"e{n}", "crafter", n, "Live.", turns=(turn,)) for n, turn in enumerate(turns)
    ]
    append_journal(path, *episodes)
    lines, spoilt = path.read_bytes().splitlines(keepends=True), int(draw.integers(LINES))
    lost = {spoilt}
    if kind == "torn last line":
        lost = {LINES - 1}
        lines[-1] = lines[-1][: int(draw.integers(1, len(lines[-1])))]
    elif kind in JUNK:
        lines[spoilt] = JUNK[kind](lines[spoilt], draw)
        lost |= {spoilt + 1} if kind == "torn middle" else set()  # it is in the same line now
    if kind in TOLD:
        kept = lines if kind == "duplicate id" else lines[:spoilt] + lines[spoilt + 1 :]
        path.write_bytes(b"".join(kept))
        append_line(path, TOLD[kind](episodes[spoilt].to_json()))
    else:
        path.write_bytes(b"".join(lines))
    return kind, *_read(path, aside, [e for n, e in enumerate(episodes) if n not in lost], kind)


def _read(path: Path, aside: Path, left: list[Episode], kind: str) -> tuple[str, str]:
    tasks = [Task(f"e{n}", n, "Live.", {}, 1) for n in range(LINES)]
    with redirect_stderr(StringIO()) as told:
        found = read_journal(path, tasks, "crafter")
    said = told.getvalue()
    with redirect_stderr(StringIO()) as again:
        twice = read_journal(path, tasks, "crafter")
    if sorted(e.id for e in found) != [e.id for e in left] or any(e not in left for e in found):
        return "OTHERS COUNT", f"{[e.id for e in found]} {said[-500:]}"
    silent = kind == "torn last line" or (kind == "torn middle" and not aside.exists())
    if twice != found or again.getvalue() or silent == bool(said) or silent == aside.exists():
        return "NOT SAID ONCE", said[-500:]
    return ("owed" if silent else "said with its line, put aside, owed"), ""
