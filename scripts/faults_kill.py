"""Kills, signals and full disks: what ends a stage, and that it goes on (F1, F3, F4, F9)."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forked import Outcome, Rounds, Run
from numpy.random import Generator, default_rng
from tiny_rounds import begin, environment

from alicebob.files import remove

__all__ = [
    "PLAYED",
    "ROUND",
    "TRAINED",
    "WORKS",
    "address",
    "checkpoints",
    "end",
    "enough",
    "full",
    "gone_on",
    "journals",
    "kill",
    "point",
    "points",
]

ROUND = ("explore/r001", "skills/r001", "train/r001", "evaluate/r001", "feedback/r001")
WORKS = ("base/r000", "evaluate/r000", *ROUND)
TRAINED = ("base/r000", "train/r001")
PLAYED = ("explore/r001", "evaluate/r000", "evaluate/r001")
CLONE_NEWNS, MS_REMOUNT, MS_REC, MS_PRIVATE = 0x20000, 32, 16384, 1 << 18  # of Linux
WAVE = 32  # episodes that are played in step, and so are in flight together
LEAST = 0.6  # of the time that a stage took once: on a quiet machine it may take less
SOON = 5.0  # seconds, at most, from a signal to the end


def address(work: str) -> str:
    """Return DVC's name of the stage of a work folder."""
    return {"evaluate/r000": "baseline", "base/r000": "base"}.get(work, work.replace("/", "@"))


def journals(folder: Path) -> list[Path]:
    """Return the journals of a work folder."""
    return sorted(folder.glob("scratch/**/*.jsonl"))


def checkpoints(folder: Path) -> list[int]:
    """Return the steps of the whole checkpoints of a work folder."""
    return sorted(int(mark.parent.name[11:]) for mark in folder.glob("scratch/fit/*/COMPLETE"))


def enough(folder: Path) -> bool:
    """Tell whether there is something of each kind to go on from."""
    lines = sum(path.read_bytes().count(b"\n") for path in journals(folder))
    return len(checkpoints(folder)) >= 2 or lines >= 2


# F1, F3, F4: something ends a stage, and it goes on.


def gone_on(rounds: Rounds, work: str, **more: str) -> tuple[str, str]:
    """Run a stage again that was ended; tell whether it went on from what it had, to the same."""
    folder = rounds.folder / ".work" / work
    if torn := rounds.torn(work):
        return "TORN", ", ".join(torn)
    aside = rounds.folder / "aside"
    aside.mkdir()
    had, steps = [], checkpoints(folder)
    for number, path in enumerate(journals(folder)):
        data = path.read_bytes()
        had.append((aside / f"{number}", data[: data.rfind(b"\n") + 1]))
        os.link(path, aside / f"{number}")  # shows also what is written to it from now on
    again = rounds.start(work, **more)
    again.wait()
    if again.code or not rounds.same(work):
        return f"EXIT {again.code}" if again.code else "DIFFERENT", again.said[-1500:]
    if any(not link.read_bytes().startswith(data) for link, data in had):
        return "JOURNAL LOST", again.said[-1500:]
    lines = [line for link, _ in had for line in link.read_bytes().splitlines()]
    if work in PLAYED and len(lines) - len(set(lines)) > WAVE:  # they are equal, byte for byte
        return "MORE PLAYED TWICE THAN WAS IN FLIGHT", f"{len(lines)} of {len(set(lines))}"
    if "Finished before; published again" in again.said:  # it was being cleared away
        return "same, published again", ""
    if steps and f"goes on from .work/{work}/scratch/fit/checkpoint-{steps[-1]}." not in again.said:
        return "CHECKPOINT PASSED OVER", again.said[-1500:]
    if steps:
        return "same, from the newest checkpoint", ""
    return ("same, from the journal" if lines else "same"), ""


def kill(rounds: Rounds, draw: Generator, number: int) -> Outcome:
    """F1: kill all of a stage at any moment, or all of `dvc repro` at any moment of a round."""
    if number % 20 == 19:
        return _kill_dvc(rounds, draw)
    work = WORKS[number % len(WORKS)]
    took = rounds.seconds(work)
    folder, run = rounds.fresh(work) / ".work" / work, rounds.start(work)
    if work in TRAINED and draw.random() < 2 / 3:
        run.wait(until=lambda: bool(checkpoints(folder)))
        took /= 2
    run.wait(float(draw.uniform(0, LEAST * took)))
    run.kill()
    run.wait()
    return work.partition("/")[0], *gone_on(rounds, work)


def _kill_dvc(rounds: Rounds, draw: Generator) -> Outcome:
    took = sum(map(rounds.seconds, ROUND)) + 8.0 * len(ROUND)
    process = begin(rounds.forget(*ROUND), "--no-run-cache", "feedback@r001")
    try:
        process.wait(float(draw.uniform(2, took)))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if torn := rounds.torn(*ROUND):
        return "dvc repro", "TORN", ", ".join(torn)
    code = begin(rounds.folder, "--no-run-cache", "feedback@r001").wait()
    log = (rounds.folder / "log.txt").read_text(errors="replace")
    held = not code and rounds.same(*ROUND)
    return "dvc repro", ("same" if held else f"EXIT {code}" if code else "DIFFERENT"), log[-1500:]


SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}


def end(rounds: Rounds, draw: Generator, number: int) -> Outcome:
    """F3: ask a stage to end, once or twice, also one that has hardly begun."""
    name, twice = list(SIGNALS)[number % 2], bool(number // 2 % 2)
    work, real = WORKS[number // 4 % len(WORKS)], number // 4 % 5 == 4
    moment = float(draw.uniform(0, 8.0 if real else LEAST * rounds.seconds(work)))
    for part in (1.0, 0.3, 0.1, 0.0):  # where the stage has ended before, a part of that
        rounds.fresh(work)
        run = _program(rounds, work) if real else rounds.start(work)
        if not run.wait(0.1 + part * moment):
            break
    begun = time.monotonic()
    group = name == "SIGINT"  # as a terminal does
    run.kill(SIGNALS[name], group)
    if twice and not run.wait(float(draw.uniform(0, 0.1))):
        run.kill(SIGNALS[name], group)
    soon = run.wait(SOON)
    where = f"{name}{' twice' * twice}{', whole program' * real}"
    if not soon:
        run.kill()
        run.wait()
        return where, "TOO LATE", f"{time.monotonic() - begun:.1f} s"
    if run.code == 0:
        return where, "it had ended", ""
    if run.code not in (128 + SIGNALS[name], -SIGNALS[name]):
        return where, f"EXIT {run.code}", run.said[-1500:]
    if "Traceback" in run.said:
        return where, "TRACEBACK", run.said[-1500:]
    outcome, said = gone_on(rounds, work)
    return where, f"soon, then {outcome}" if outcome.islower() else outcome, said


def _program(rounds: Rounds, work: str) -> Run:
    """Start the stage of a work folder as DVC does it, importing all it needs."""
    for path in rounds.published(work):
        remove(rounds.folder / path)
    stage, round_id = work.split("/")
    words = [sys.executable, f"stages/{stage}.py", *([] if stage == "base" else [round_id])]
    log = rounds.at / f"log{time.monotonic_ns()}.txt"
    with log.open("wb") as out:
        process = subprocess.Popen(
            words,
            cwd=rounds.folder,
            env=environment(rounds.folder),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    process.returncode = 0  # waited for by its number
    return Run(process.pid, log)


class Points:
    """The moments at which a stage touches files, by what it does to which; at one it is killed."""

    EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.copyfile")

    def __init__(self, folder: Path, at: tuple[str, int] = ("", 0)) -> None:
        self.folder, self.at, self.seen = str(folder), at, Counter[str]()

    def watch(self) -> None:
        """Begin, in the process that is to be watched."""
        sync = os.fsync

        def fsync(file: int) -> None:
            path = os.readlink(f"/proc/self/fd/{file}")
            self._reach("before fsync", path)
            sync(file)
            self._reach("after fsync", path)

        os.fsync = fsync
        sys.addaudithook(self._event)

    def _event(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            self._reach("open", args[0])
        elif event in self.EVENTS:
            self._reach(event.rpartition(".")[2], args[0])

    def _reach(self, what: str, path: Any) -> None:
        if not isinstance(path, str | os.PathLike):
            return
        path = os.path.abspath(path)
        if path.startswith(self.folder):
            name = f"{what} {re.sub('[0-9a-f]{32}|[0-9]+', 'N', path[len(self.folder) + 1 :])}"
            self.seen[name] += 1
            if (name, self.seen[name]) == self.at:
                os.kill(os.getpid(), signal.SIGKILL)


def _watched(rounds: Rounds, work: str) -> dict[str, int]:
    """Return how often a stage comes by each kind of moment."""
    rounds.fresh(work)
    watched, kept = Points(rounds.folder), rounds.at / "seen.json"
    rounds.start(work, watched.watch, lambda: kept.write_text(json.dumps(watched.seen))).wait()
    found: dict[str, int] = json.loads(kept.read_text())
    return found


def points(rounds: Rounds) -> list[tuple[str, str, int]]:
    """Return the first, a middle and the last of each kind of moment of each stage, shuffled."""
    path = rounds.at / "points.json"
    seen = json.loads(path.read_text()) if path.exists() else {}
    if not seen:
        seen = {work: _watched(rounds, work) for work in WORKS}
        path.write_text(json.dumps(seen))
    found = [
        (work, name, nth)
        for work in WORKS
        for name, total in sorted(seen[work].items())
        for nth in sorted({1, (total + 1) // 2, total})
    ]
    return [found[number] for number in default_rng(0).permutation(len(found))]


def point(rounds: Rounds, draw: Generator, number: int) -> Outcome:
    """F4: kill a stage as it opens, flushes, renames or removes a file, or in a write."""
    all_points = points(rounds)
    work, name, nth = all_points[number % len(all_points)]
    rounds.fresh(work)
    watched = Points(rounds.folder, (name, nth))
    run = rounds.start(work, watched.watch)
    run.wait()
    if run.code != -signal.SIGKILL:
        return name, "it was not reached", run.said[-500:]
    outcome, said = gone_on(rounds, work)
    return name.rpartition(" ")[0], outcome, f"{work}, {name}, {nth}: {said}"


# F9: the disk is full.

ROOMY = 1 << 28  # bytes


def can_mount() -> bool:
    """Tell whether a disk can be mounted here."""
    words = ["unshare", "-m", "true"]
    return not subprocess.run(words, check=False, capture_output=True).returncode


def mount(folder: Path, size: int, again: bool = False) -> None:
    """Mount a disk of some bytes over a folder, for this process alone; or give it that size."""
    libc = ctypes.CDLL(None, use_errno=True)
    options, private = f"size={-(-size // 4096) * 4096}".encode(), MS_REC | MS_PRIVATE
    done = (
        libc.mount(b"tmpfs", bytes(folder), b"tmpfs", MS_REMOUNT, options)
        if again
        else libc.unshare(CLONE_NEWNS)
        or libc.mount(None, b"/", None, private, None)
        or libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, options)
    )
    if done:
        raise OSError(ctypes.get_errno(), "a small disk could not be mounted", str(folder))


def full(rounds: Rounds, draw: Generator, number: int) -> Outcome:
    """F9: no file may grow beyond some size, or the small disk that all lies on is full."""
    work = WORKS[number // 2 % len(WORKS)]
    if number % 2 or not can_mount():
        files = [p for p in (rounds.whole / ".work" / work / "out").rglob("*") if p.is_file()]
        room = int(draw.integers(1, max(path.stat().st_size for path in files) * 3 // 2))
        rounds.fresh(work)
        limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (room, room))
        return "a file", *_filled(rounds, work, limit, lambda: None)
    told, room = rounds.at / "told.json", int(draw.integers(0, 400_000))

    def on_a_small_disk() -> None:
        mount(rounds.folder, ROOMY)
        rounds.fresh(work)
        mount(rounds.folder, shutil.disk_usage(rounds.folder).used + room, again=True)
        freed = functools.partial(mount, rounds.folder, ROOMY, again=True)
        told.write_text(json.dumps(_filled(rounds, work, lambda: None, freed)))

    remove(told)
    rounds.fresh(work)
    run = rounds.fork(on_a_small_disk)
    run.wait()
    if not told.exists():
        return "the disk", "NO OUTCOME", run.said[-1500:]
    return "the disk", *json.loads(told.read_text())


def _filled(
    rounds: Rounds, work: str, before: Callable[[], object], freed: Callable[[], object]
) -> tuple[str, str]:
    run = rounds.start(work, before)
    run.wait()
    lines = (line.rpartition("\x1b[A")[2] for line in run.said.splitlines())  # after a bar of tqdm
    errors = [line for line in lines if line.startswith("Error: ")]
    if run.code == 0:
        return ("there was room" if rounds.same(work) else "DIFFERENT"), run.said[-500:]
    if run.code != 1 or len(errors) != 1 or "Traceback" in run.said:
        return ("TRACEBACK" if "Traceback" in run.said else f"EXIT {run.code}"), run.said[-1500:]
    freed()
    outcome, said = gone_on(rounds, work)
    return (f"one sentence, then {outcome}" if outcome.islower() else outcome), said or errors[0]
