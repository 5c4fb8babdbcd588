"""Work folders: how a stage is killed, goes on, and publishes.

DVC deletes a stage's outputs before it runs, so work happens in `.work/<stage>/<round>/`, under a
KEY that is the hash of the stage's parameters and inputs; another key empties the folder. What is
finished there is published file by file through a temporary name. Invariants: one process at a time
writes a folder (flock); a stage ends when the DVC that started it has ended; a finished folder
publishes again what DVC deleted, without work, unless the code has changed since, or one of its
files, for each of which its mark DONE vouches. Does not: know what a stage does.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alicebob.errors import AliceBobError, Busy
from alicebob.files import damage, remove, vouch, write_text
from alicebob.processes import end_workers

__all__ = ["WORK", "Folder", "at_work", "code_hash", "die_with_dvc", "publish"]

WORK = Path(".work")
_POLL = 0.5  # seconds


def die_with_dvc() -> None:
    """End this process when the DVC that started it ends, however many launchers lie between.

    Also makes SIGTERM and SIGINT end it and its workers at once: all that is finished is on the
    disk already.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    if "DVC_STAGE" not in os.environ:
        return
    chain = _launchers()
    if not chain or not _may_be_dvc(chain[-1]):
        os._exit(143)  # DVC ended while this process was starting
    threading.Thread(target=_watch, args=(chain,), daemon=True).start()


def _end(number: int, _: object) -> None:
    end_workers()
    os._exit(128 + number)


def _launchers() -> list[Any]:
    """Return the ancestors from this process's parent up to DVC: the first it did not start."""
    import psutil

    chain = []
    for ancestor in psutil.Process().parents():
        chain.append(ancestor)
        try:
            started = "DVC_STAGE" in ancestor.environ()
        except psutil.Error:  # another user's, so not started by our DVC; or gone
            started = False
        if _is_dvc(ancestor) or not started:
            break
    return chain


def _words(process: Any) -> list[str]:
    import psutil

    try:
        return [Path(word).name for word in process.cmdline()[:3]]
    except psutil.Error:
        return []


def _is_dvc(process: Any) -> bool:
    return "dvc" in _words(process)


def _may_be_dvc(process: Any) -> bool:
    """Tell DVC, also as a library in somebody's Python, from the init that adopts orphans."""
    return any(word.startswith(("dvc", "python")) for word in _words(process))


def _alive(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it ended between the two questions
        return False
    except psutil.AccessDenied:  # it is there, and another user's
        return True


def _watch(chain: Sequence[Any]) -> None:
    while all(map(_alive, chain)):
        time.sleep(_POLL)
    os._exit(143)


def code_hash(own: Iterable[Path] = ()) -> str:
    """Return a hash of this package's sources and data, and of files of one's own.

    What is compiled from them is none.
    """
    digest, root = hashlib.sha256(), Path(__file__).parent.parent
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(root).as_posix()
            digest.update(f"\0{name}\0".encode() + path.read_bytes())
    for path in own:
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


class Folder:
    """The work folder of one stage of one round."""

    def __init__(self, stage: str, round_id: str, root: Path = WORK) -> None:
        self.path = root / stage / round_id
        self.lock = root / stage / f"{round_id}.lock"
        self.out = self.path / "out"
        self.scratch = self.path / "scratch"

    @contextmanager
    def held(self, wait: float = 30.0) -> Iterator[None]:
        """Hold the folder alone.

        Raises Busy, naming process and folder, when another holds it for longer than `wait`
        seconds.
        """
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        with self.lock.open("a+") as file:
            give_up = time.monotonic() + wait
            while not _try_lock(file):
                if time.monotonic() >= give_up:
                    file.seek(0)
                    raise Busy(
                        f"Process {file.read().strip() or '?'} is at work in {self.path}; wait for "
                        "it to end, then run this again."
                    )
                time.sleep(_POLL)
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def open(self, key: Mapping[str, Any], code: str = "") -> bool:
        """Make the folder ready for work under a key; return whether its work is done already.

        Work that was finished by other code (see `code_hash`) is done anew: that is what somebody
        who runs a stage again after a change wants. So is work that is not what it was when it was
        finished. Unfinished work goes on, so that a mended fault late in a stage does not cost what
        came before it.
        """
        marker, done = self.path / "KEY", self.path / "DONE"
        void = self._void(code)
        if _read(marker) != _text(key):
            void = f"{marker} is of other parameters or inputs, or damaged"
        elif done.exists() and not void:
            return True
        if void:
            if self.path.exists():
                print(f"{void}; this is done anew.", file=sys.stderr)
            # The markers first: a kill in between must not leave torn work under a key.
            done.unlink(missing_ok=True)
            marker.unlink(missing_ok=True)
            remove(self.path)
            self.scratch.mkdir(parents=True)
            write_text(marker, _text(key))
        remove(self.out)
        self.out.mkdir()
        self.scratch.mkdir(exist_ok=True)
        return False

    def _void(self, code: str) -> str:
        """Return why work that is marked as done does not count; "" where it does or is not."""
        done = self.path / "DONE"
        if not done.exists():
            return ""
        if wrong := damage(done, self.out):
            return f"{self.out} is not as it was finished ({wrong})"
        finished = json.loads(done.read_bytes()).get("code")
        return "" if finished == code else f"{self.path} was finished by other code"

    def close(self, code: str = "") -> None:
        """Mark the work as done and drop what was only needed to go on with it."""
        vouch(self.path / "DONE", self.out, code=code)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def joined(self, key: Mapping[str, Any], code: str = "", wait: float = 60.0) -> bool:
        """Wait until the main process has opened the folder under this key; tell if there is work.

        Raises AliceBobError where it did not within `wait` seconds.
        """
        give_up = time.monotonic() + wait
        while True:
            if _read(self.path / "KEY") == _text(key):
                if not (self.path / "DONE").exists():
                    return True
                if not self._void(code):
                    return False
            if time.monotonic() >= give_up:
                raise AliceBobError(
                    f"The main process did not open {self.path} in {wait:.0f} s; see its messages."
                )
            time.sleep(_POLL)


def _text(key: Mapping[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)


def _read(path: Path) -> str | None:
    """Return what a marker says, or None where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _try_lock(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def at_work(root: Path = WORK) -> Iterator[tuple[Path, str]]:
    """Yield the work folders that a process holds, each with its number."""
    for lock in sorted(root.glob("*/*.lock")):
        with lock.open("a+") as file:
            if not _try_lock(file):
                file.seek(0)
                yield lock.with_suffix(""), file.read().strip() or "?"


def publish(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Copy finished files and folders to where they belong, each there whole or not at all.

    They stay in the work folder too: a kill between two of them loses neither.
    """
    for source, target in pairs:
        spare = target.with_name(f".{target.name}.part")
        target.parent.mkdir(parents=True, exist_ok=True)
        remove(spare)
        if source.is_dir():
            shutil.copytree(source, spare)
        else:
            shutil.copyfile(source, spare)
        remove(target)
        os.replace(spare, target)
