"""Forked: stages of finished tiny rounds, run again and again at the price of a fork.

The tiny rounds are run once, left alone. A trial gets a fresh copy of them in which one stage has
yet to run, and runs it in a fork of this process, which has imported all that a stage needs. Does
not: break anything; `faults.py` does.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import runpy
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from tiny_rounds import ROOT, begin, environment, lay_out

sys.path.insert(0, str(ROOT / "src"))

from alicebob.envs import make
from alicebob.experiment.work import code_hash
from alicebob.files import damage, remove
from alicebob.tracking.reach import quiet

__all__ = ["Outcome", "Rounds", "Run", "files_under", "preload"]

#: A round and a sibling, with a checkpoint every second step and little to play.
SMALL = {
    "base": {"batch": 2, "epochs": 1, "episodes": 4, "context": 512},
    "bob": {"max_new_tokens": 6, "lora_rank": 8},
    "explore": {"episodes": 4, "max_turns": 60, "generation": 2},
    "train": {"batch": 1, "every": 4, "budget": 2500},
    "evaluate": {"worlds": 1, "open_play": 2, "max_turns": 4},
    "rounds": {"r001": {"prev": "r000"}, "r001b": {"prev": "r000"}},
}
STAGES = ("base", "start", "explore", "skills", "train", "evaluate", "feedback")
HEAVY = ("mlflow.system_metrics.system_metrics_monitor", "peft", "datasets", "matplotlib.pyplot")
Outcome = tuple[str, str, str]  # where, how it ended (in capitals: it did not hold), what was said
Files = dict[str, str]  # the hash of each file by its name


def preload() -> None:
    """Import what stages import, and compile what they compile, once for all forks."""
    quiet()
    os.environ["ALICEBOB_WORKERS"] = "1"
    for name in (*(f"alicebob.pipeline.{stage}" for stage in STAGES), *HEAVY):
        importlib.import_module(name)
    make("crafter", observation="compact", limit=40).reset(seed=0)


def files_under(folder: Path, paths: Iterable[str]) -> Files:
    """Return the hashes of all files at and under some paths of a folder."""
    roots = [folder / path for path in paths]
    found = [p for root in roots for p in ([root] if root.is_file() else root.rglob("*"))]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in found
        if path.is_file()
    }


class Run:
    """A stage that runs in a process group of its own."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid, self.log, self.code = pid, log, None

    @property
    def said(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace")

    def ended(self) -> bool:
        """Tell whether it has ended; its exit code is then in `code`, minus a signal's number."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def wait(self, seconds: float = 600.0, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait until it has ended, or something holds; tell whether either is so."""
        give_up = time.monotonic() + seconds
        while not self.ended() and not until():
            if time.monotonic() >= give_up:
                return False
            time.sleep(0.005)
        return True

    def kill(self, number: int = signal.SIGKILL, group: bool = True) -> None:
        """Send a signal to all of its group, or to itself alone."""
        if not self.ended():
            (os.killpg if group else os.kill)(self.pid, number)


class Rounds:
    """Tiny rounds that were left alone, and a copy of them in which a stage has yet to run."""

    def __init__(self, at: Path) -> None:
        self.at, self.whole, self.folder = at, at / "whole", at / "trial"
        self.mark, mark = code_hash() + json.dumps(SMALL), at / "code"
        if not mark.exists() or mark.read_text() != self.mark:
            for name in ("halves", "whole", "seconds.json", "points.json"):
                remove(at / name)
            lay_out(self.whole, more=SMALL)
            if begin(self.whole).wait():
                sys.exit(f"the rounds failed:\n{(self.whole / 'log.txt').read_text()[-2000:]}")
            mark.write_text(self.mark)
        stages = YAML(typ="safe").load((self.whole / "dvc.lock").read_text())["stages"]
        self.outs = {name: [out["path"] for out in stage["outs"]] for name, stage in stages.items()}
        self.hashes = files_under(
            self.whole, (path for outs in self.outs.values() for path in outs)
        )

    def published(self, work: str) -> list[str]:
        """Return where the stage of a work folder, such as "train/r001", publishes."""
        stage, round_id = work.split("/")
        names = (f"{stage}@{round_id}", "baseline" if stage == "evaluate" else stage)
        return self.outs[next(name for name in names if name in self.outs)]

    def fresh(self, *works: str, state: Path | None = None) -> Path:
        """Copy the rounds anew, and return where; some stages have yet to run, or to go on."""
        self.folder.mkdir(exist_ok=True)  # it stays: a disk may be mounted there
        for path in self.folder.iterdir():
            remove(path)
        aside = shutil.ignore_patterns("cache", "tmp", "src", "log.txt")
        shutil.copytree(self.whole, self.folder, ignore=aside, symlinks=True, dirs_exist_ok=True)
        (self.folder / "src").symlink_to(ROOT / "src")
        (self.folder / ".dvc/cache").symlink_to(self.whole / ".dvc/cache")
        for work in works:
            for path in self.published(work):
                remove(self.folder / path)
            remove(self.folder / ".work" / work)
            remove(self.folder / ".work" / f"{work}.lock")
            if state is not None:
                shutil.copytree(state, self.folder / ".work" / work)
        return self.folder

    def forget(self, *works: str) -> Path:
        """Do as `fresh`, and let DVC not know either that these stages have run."""
        lock, outs = self.fresh(*works) / "dvc.lock", [self.published(work) for work in works]
        yaml = YAML()
        data = yaml.load(lock.read_text())
        data["stages"] = {n: s for n, s in data["stages"].items() if self.outs[n] not in outs}
        yaml.dump(data, lock)
        return self.folder

    def start(
        self, work: str, before: Callable[[], object] = lambda: None, after: Any = None, **more: str
    ) -> Run:
        """Start the stage of a work folder in a fork, which does something before it begins."""
        for path in self.published(work):  # as DVC does
            remove(self.folder / path)
        return self.fork(lambda: self._stage(work), before, after, **more)

    def _stage(self, work: str) -> None:
        stage, round_id = work.split("/")
        sys.argv = [f"stages/{stage}.py", *([] if stage in ("base", "start") else [round_id])]
        runpy.run_path(sys.argv[0], run_name="__main__")

    def fork(
        self,
        body: Callable[[], object],
        before: Callable[[], object] = lambda: None,
        after: Callable[[], object] | None = None,
        **more: str,
    ) -> Run:
        """Do something in a fork of this process, in the folder of the trial."""
        log = self.at / f"log{time.monotonic_ns()}.txt"
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return Run(pid, log)
        code = 1
        try:
            os.setsid()
            out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.chdir(self.folder if self.folder.exists() else self.at)
            os.environ.update({**environment(self.folder), "DVC_STAGE": ""} | more)
            os.environ.pop("DVC_STAGE")
            before()
            body()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:  # noqa: BLE001 - what Python does at the end of a program
            traceback.print_exc()
        finally:
            if after is not None:
                after()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def same(self, *works: str) -> bool:
        """Tell whether stages have published what they publish when they are left alone."""
        paths = [path for work in works for path in self.published(work)]
        return files_under(self.folder, paths) == files_under(self.whole, paths)

    def torn(self, *works: str) -> list[str]:
        """Return what is published and not whole, and work that is marked as done and is not."""
        paths = [path for work in works for path in self.published(work)]
        found = [
            path
            for path in paths
            if (self.folder / path).exists()
            and files_under(self.folder, [path]) != files_under(self.whole, [path])
        ]
        done = [self.folder / ".work" / work / "DONE" for work in works]
        return found + [
            str(mark) for mark in done if mark.exists() and damage(mark, mark.parent / "out")
        ]

    def seconds(self, work: str) -> float:
        """Return how long a stage takes in a fork; it is run once, and must end the same."""
        path = self.at / "seconds.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        if work not in known:
            self.fresh(work)
            begun = time.monotonic()
            run = self.start(work)
            run.wait()
            if run.code or not self.same(work):
                sys.exit(f"{work}, left alone in a fork, is another: {run.said[-2000:]}")
            known[work] = time.monotonic() - begun
            path.write_text(json.dumps(known))
        return float(known[work])

    def half(self, work: str, enough: Callable[[Path], bool]) -> Path:
        """Return the work of a stage that was killed as soon as there was enough of it."""
        kept = self.at / "halves" / work
        if not kept.exists():
            folder = self.fresh(work) / ".work" / work
            run = self.start(work)
            run.wait(until=lambda: enough(folder))
            run.kill()
            run.wait()
            if (folder / "DONE").exists():
                sys.exit(f"{work} was done before it could be killed; make it longer")
            shutil.copytree(folder, kept)
        return kept
