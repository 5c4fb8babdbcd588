"""Damage every kind of file of tiny rounds, run again, and compare all with a run left alone.

    python scripts/fault_test.py                                      # all; prints a table
    python scripts/fault_test.py --few 4 --only 'journal|optimizer'   # some, drawn, of some rows

A file is truncated, flipped in one bit, emptied, or replaced by another one of its name: of work
that was cut off (journals, checkpoints, KEY), of finished work whose outputs DVC has deleted (out,
KEY, DONE), and of what was published. Then the stage, or `dvc repro`, runs again. Exits 1 where an
output ends silently different, a stage ends in a traceback, or it names no file.
"""

from __future__ import annotations

import hashlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
from numpy.random import Generator, default_rng
from ruamel.yaml import YAML
from tiny_rounds import OFTEN, begin, environment, lay_out

ONE_ROUND = {"bob": {"lora_rank": 64}, "rounds": {"r001": {"prev": "r000"}}}
CUT_OFF = ("base/r000", "explore/r001", "train/r001", "evaluate/r001")
ENOUGH = 2  # checkpoints, or episodes, until work is cut off
ROOM = 140 * 1024  # bytes of a file at most, on a full disk: less than a checkpoint's weights
DAMAGES = ("truncated", "flipped", "emptied", "replaced")

Files = dict[str, str]  # the hash of each file by its name


@dataclass(frozen=True)
class Row:
    """A kind of file: what it is called, where the work lies, and the files of that kind."""

    name: str
    work: str
    files: tuple[str, ...]
    state: Path


@dataclass
class Rounds:
    """Tiny rounds in a folder, what they ended in, and where their work can be cut off."""

    folder: Path
    halves: Path
    draw: Generator

    def __post_init__(self) -> None:
        stages = YAML(typ="safe").load((self.folder / "dvc.lock").read_text())["stages"]
        self.outs = {name: [out["path"] for out in stage["outs"]] for name, stage in stages.items()}
        self.whole = self.found(path for paths in self.outs.values() for path in paths)
        self.copy = shutil.copytree(self.folder, self.halves / "copy")

    def found(self, paths: Iterable[str]) -> Files:
        """Return the hashes of all files under some paths."""
        roots = [self.folder / path for path in paths]
        files = [p for root in roots for p in ([root] if root.is_file() else root.rglob("*"))]
        return {
            path.relative_to(self.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if path.is_file()
        }

    def published(self, work: str) -> list[str]:
        """Return where the stage of a work folder publishes."""
        stage, round_id = work.split("/")
        names = (f"{stage}@{round_id}", "baseline" if stage == "evaluate" else stage)
        return self.outs[next(name for name in names if name in self.outs)]

    def start(self, work: str, limit: int | None = None) -> subprocess.Popen[str]:
        """Start the stage of a work folder, its outputs deleted as DVC does it."""
        for path in self.published(work):
            remove(self.folder / path)
        stage, round_id = work.split("/")
        return subprocess.Popen(
            [sys.executable, f"stages/{stage}.py", round_id],
            cwd=self.folder,
            env=environment(self.folder),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=(lambda: bounded(limit)) if limit else None,
        )

    def run(self, work: str, limit: int | None = None) -> tuple[int, str, bool]:
        """Run a stage; return its exit code, what it said, and whether its outputs are the same."""
        process = self.start(work, limit)
        _, said = process.communicate()
        same = self.found(self.published(work)) == {
            name: digest for name, digest in self.whole.items() if self._is_of(name, work)
        }
        for path in () if same else self.published(work):  # for the trials after this one
            remove(self.folder / path)
            copy(self.copy / path, self.folder / path)
        return process.returncode, said, same

    def _is_of(self, name: str, work: str) -> bool:
        return any(name == path or name.startswith(f"{path}/") for path in self.published(work))

    def cut_off(self, work: str) -> Path:
        """Run a stage until there is something to go on from, kill it, and keep what it left."""
        folder = self.folder / ".work" / work
        remove(folder)
        process = self.start(work)
        assert process.stderr
        while process.poll() is None and not far_enough(folder):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.stderr.close()
        process.wait()
        if (folder / "DONE").exists():
            sys.exit(f"{work} was done before it could be killed; make it longer")
        for path in self.published(work):
            copy(self.copy / path, self.folder / path)
        return shutil.copytree(folder, self.halves / work)

    def damage(self, path: Path, how: str) -> None:
        """Damage a file."""
        data = path.read_bytes()
        if how == "truncated":
            path.write_bytes(data[: len(data) // 2])
        elif how == "emptied":
            path.write_bytes(b"")
        elif how == "replaced":
            path.write_bytes(self._another(path, data))
        else:
            place, bit = int(self.draw.integers(len(data))), 1 << int(self.draw.integers(8))
            path.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])

    def _another(self, path: Path, data: bytes) -> bytes:
        """Return another file of this name, else of this suffix, else the bytes backwards."""
        known = sorted(self.folder.glob(f"[.dm]*/**/*{path.suffix}"))
        known.sort(key=lambda other: other.name != path.name)
        others = (p.read_bytes() for p in known if p.is_file() and ".dvc" not in p.parts)
        return next((other for other in others if other not in (data, b"")), data[::-1])


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def bounded(size: int) -> None:
    """Let no file of this process grow beyond a size, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def far_enough(work: Path) -> bool:
    """Tell whether a stage that trains has checkpoints, or one that plays has episodes."""
    if work.parent.name in ("base", "train"):
        return len(list(work.glob("scratch/fit/*/COMPLETE"))) >= ENOUGH
    lines = sum(path.read_bytes().count(b"\n") for path in work.glob("scratch/**/*.jsonl"))
    return lines >= ENOUGH


def newest_checkpoint(state: Path) -> Path | None:
    """Return the newest checkpoint that is complete."""
    marks = state.glob("scratch/fit/*/COMPLETE")
    folders = sorted((mark.parent for mark in marks), key=lambda f: int(f.name.split("-")[1]))
    return folders[-1] if folders else None


def rows_of(state: Path, work: str, when: str) -> list[Row]:
    """Return the kinds of files in a work folder that was cut off or is finished."""
    rows = defaultdict(list)
    newest = newest_checkpoint(state)
    for path in sorted(p for p in state.rglob("*") if p.is_file()):
        name = path.relative_to(state).as_posix()
        if "scratch/fit" in name:
            if newest in path.parents:
                rows[f"cut off: checkpoint, {path.name}"].append(name)
        elif path.suffix == ".jsonl":
            rows["cut off: journal"].append(name)
        else:
            rows[f"{when}: {'out' if name.startswith('out/') else path.name}"].append(name)
    return [Row(name, work, tuple(files), state) for name, files in rows.items()]


def try_work(rounds: Rounds, row: Row, file: str, how: str) -> tuple[str, str]:
    """Damage a file of a work folder and run its stage; return the outcome and what was said."""
    target = rounds.folder / ".work" / row.work
    remove(target)
    shutil.copytree(row.state, target)
    rounds.damage(target / file, how)
    code, said, same = rounds.run(row.work)
    name = Path(file).name
    told = [line for line in said.splitlines() if name in line and f".work/{row.work}" in line]
    if "Traceback" in said:
        return "TRACEBACK", said[-500:]
    if code:
        return ("refused" if told else "REFUSED, NO FILE NAMED"), said[-500:]
    return (("same, said" if told else "same") if same else "DIFFERENT"), "".join(told[:1])


def try_full_disk(rounds: Rounds, row: Row) -> tuple[str, str]:
    """Run a stage that was cut off where no checkpoint can be written, then where it can."""
    target = rounds.folder / ".work" / row.work
    remove(target)
    shutil.copytree(row.state, target)
    code, said, _ = rounds.run(row.work, limit=ROOM)
    told = [line.partition("Error: ")[2] for line in said.splitlines() if "Error: " in line]
    again, _, same = rounds.run(row.work)
    if code != 1 or "Traceback" in said or "checkpoint-" not in "".join(told):
        return "TRACEBACK" if "Traceback" in said else "NO FILE NAMED", said[-500:]
    return ("refused, then same" if same and not again else "DIFFERENT"), told[0]


def try_published(rounds: Rounds, files: list[str], how: str) -> list[str]:
    """Damage published files, one of each stage, and run `dvc repro`; return their outcomes."""
    for file in files:
        rounds.damage(rounds.folder / file, how)
    code = begin(rounds.folder).wait()
    found = rounds.found(path for paths in rounds.outs.values() for path in paths)
    if code:
        return ["REFUSED"] * len(files)
    return ["same" if found == rounds.whole else "DIFFERENT"] * len(files)


def tried(rounds: Rounds, few: int, only: str) -> dict[str, dict[str, Counter[str]]]:
    """Do all trials; return how often each outcome came, by row and damage."""
    table: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))

    def note(row: str, how: str, outcome: str, said: str = "") -> None:
        table[row][how][outcome] += 1
        click.echo(f"{row} | {how} | {outcome} | {said}", err=True)

    done = sorted(key.parent for key in (rounds.folder / ".work").glob("*/*/KEY"))
    works = [folder.relative_to(rounds.folder / ".work").as_posix() for folder in done]
    kept = rounds.copy / ".work"
    rows = [row for work in works for row in rows_of(kept / work, work, "finished")]
    for work in CUT_OFF:
        half = rounds.cut_off(work)
        rows += rows_of(half, work, "cut off")
        row = Row("cut off: checkpoint, no room for it", work, (), half)
        if work in ("base/r000", "train/r001") and re.search(only, row.name):
            note(row.name, "disk full", *try_full_disk(rounds, row))
    for name in sorted({row.name for row in rows if re.search(only, row.name)}):
        trials = [(row, how) for row in rows if row.name == name for how in DAMAGES]
        for number in rounds.draw.permutation(len(trials))[: few or None]:
            row, how = trials[number]
            note(name, how, *try_work(rounds, row, str(rounds.draw.choice(row.files)), how))
    remove(rounds.folder / ".work")
    shutil.copytree(kept, rounds.folder / ".work")
    by_stage = [sorted(rounds.found(paths)) for paths in rounds.outs.values()]
    most = max(map(len, by_stage)) if re.search(only, "published") else 0
    for number in range(min(most, 1) if few else most):
        for how in DAMAGES[: few or None]:
            files = [names[number] for names in by_stage if number < len(names)]
            for outcome in try_published(rounds, files, how):
                note("published", how, outcome)
    return table


def shown(table: dict[str, dict[str, Counter[str]]], columns: tuple[str, ...]) -> str:
    """Return the outcomes as a table in Markdown."""
    lines = ["| file | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in sorted(table):
        cells = [
            ", ".join(f"{count} {outcome}" for outcome, count in sorted(table[row][how].items()))
            for how in columns
        ]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@click.command()
@click.option("--few", default=0, help="Trials of each row; 0: all.")
@click.option("--only", default="", help="Of rows in whose name this expression is found.")
@click.option("--seed", default=0, show_default=True)
@click.option("--preset", default="laptop", show_default=True, type=click.Choice(sorted(OFTEN)))
def main(few: int, only: str, seed: int, preset: str) -> None:
    """Damage, run again, compare."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "rounds"
        lay_out(folder, preset, more=OFTEN[preset] | ONE_ROUND)
        if begin(folder).wait():
            sys.exit(f"the run left alone failed:\n{(folder / 'log.txt').read_text()[-2000:]}")
        table = tried(Rounds(folder, Path(temporary) / "halves", default_rng(seed)), few, only)
    click.echo(shown(table, (*DAMAGES, "disk full")))
    found = [outcome for row in table.values() for counts in row.values() for outcome in counts]
    sys.exit(1 if any(map(str.isupper, found)) else 0)


if __name__ == "__main__":
    main()
