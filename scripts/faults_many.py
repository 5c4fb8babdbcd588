"""Several at once, and MLflow away: a killed DVC, rounds and curves together (F2, F10, F11)."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from faults_kill import WORKS, address
from forked import Outcome, Rounds
from numpy.random import Generator
from tiny_rounds import ROOT, begin

from alicebob.experiment.lock import Lock
from alicebob.files import remove
from alicebob.tracking import ended, live, mirror
from alicebob.tracking.index import ROUND, SUPERSEDED, Index
from alicebob.tracking.naming import CURVE
from alicebob.tracking.reading import lineage_mark

sys.path.append(str(ROOT / "tests"))
from evaluated import PARAMS, note, write

__all__ = ["crowd", "lose_index", "orphan"]

LOGGERS, STEPS, STEP = 8, 20, 0.05  # seconds


# F2: DVC is killed, and what it started is not.


def orphan(rounds: Rounds, draw: Generator, number: int) -> Outcome:
    """F2: kill DVC alone and start it again at once; it was waited for, or is a zombie."""
    work, zombie = WORKS[number % len(WORKS)], bool(number % 2)
    moment = float(draw.uniform(0, rounds.seconds(work)))
    folder, where = rounds.forget(work), "a zombie" if zombie else "waited for"
    words = ("--no-run-cache", "-s", address(work))
    first, lock = begin(folder, *words), folder / ".work" / f"{work}.lock"
    while first.poll() is None and not _holder(lock):
        time.sleep(0.02)
    writer = _holder(lock)
    time.sleep(moment)
    os.kill(first.pid, signal.SIGKILL)
    if not zombie:
        first.wait()
    second, two = begin(folder, *words), False
    while second.poll() is None:
        holder = _holder(lock)
        two |= holder not in (writer, "") and _writes(writer, folder)
        time.sleep(0.02)
    first.wait()
    said = (folder / "log.txt").read_text(errors="replace")
    if two or "Traceback" in said:
        return where, "TWO WRITERS" if two else "TRACEBACK", said[-1500:]
    if second.returncode:
        named = f"PID {first.pid}" in said or "is at work in" in said
        if begin(folder, *words).wait() or not rounds.same(work):
            return where, "DIFFERENT", said[-1500:]
        return where, "told who, then same" if named else "REFUSED, NOBODY NAMED", said[-1500:]
    return where, "same" if rounds.same(work) else "DIFFERENT", said[-1500:]


def _holder(lock: Path) -> str:
    """Return the number of the process that holds a work folder, or held it last."""
    return lock.read_text() if lock.exists() else ""


def _writes(process: str, folder: Path) -> bool:
    """Tell whether a process is there and at work in a folder."""
    try:
        return os.readlink(f"/proc/{process}/cwd") == str(folder)
    except OSError:
        return False


# F10: several begin together.


def crowd(rounds: Rounds, draw: Generator, number: int) -> Outcome:
    """F10: one stage twice at once; two rounds at once; eight trainings and one new MLflow."""
    return (_one_stage, _two_rounds, _one_index, _one_index)[number % 4](rounds, draw)


def _one_stage(rounds: Rounds, draw: Generator) -> Outcome:
    work = str(draw.choice(WORKS))
    rounds.fresh(work)
    wait = str(draw.choice(["0.1", "60"]))
    runs = [rounds.start(work, ALICEBOB_LOCK_WAIT=wait) for _ in range(2)]
    for run in runs:
        run.wait()
    where, codes = f"one stage twice, waiting {wait} s", sorted(run.code or 0 for run in runs)
    told = "".join(run.said for run in runs)
    named = any(f"Process {run.pid} is at work in .work/{work}" in told for run in runs)
    if "Traceback" in told or not rounds.same(work):
        return where, "DIFFERENT", told[-1500:]
    if codes == [0, 75]:
        return where, "one ran, the other was told who" if named else "NOBODY NAMED", told[-800:]
    waited = codes == [0, 0] and "Finished before" in told
    return (
        where,
        "one ran, the other took what it made" if waited else f"EXIT {codes}",
        told[-1500:],
    )


def _two_rounds(rounds: Rounds, draw: Generator) -> Outcome:
    works = ("explore/r001", "explore/r001b")
    folder, names = rounds.forget(*works), [address(work) for work in works]
    runs = [begin(folder, "--no-run-cache", "-s", name) for name in names]
    codes = [run.wait() for run in runs]
    said = (folder / "log.txt").read_text(errors="replace")
    again = [begin(folder, "--no-run-cache", "-s", name).wait() for name in names]
    if any(again) or not rounds.same(*works) or "Traceback" in said:
        return "two rounds", "DIFFERENT", f"{codes}, {again} {rounds.torn(*works)} {said[-1500:]}"
    return (
        "two rounds",
        "both" if not any(codes) else "one, DVC told the other to wait",
        said[-800:],
    )


def _lineage(folder: Path, rounds: Sequence[str], seed: int = 1) -> None:
    """Lay out a lineage of evaluated rounds, siblings, each with a curve of training."""
    os.chdir(folder)
    shared = PARAMS[: PARAMS.index("rounds:")].replace("seed: 1 ", f"seed: {seed} ")
    siblings = "".join(f"  {name}: {{prev: r000}}\n" for name in rounds)
    Path("params.yaml").write_text(f"{shared}rounds:\n{siblings}")
    write({"r000": 0.1, **dict.fromkeys(rounds, 0.4)})
    note()
    for name in rounds:
        path = Path("models/bob") / name / "training.json"
        path.parent.mkdir(parents=True)
        curve = [{"step": step, "loss": _loss(step)} for step in range(1, STEPS + 1)]
        path.write_text(json.dumps({"curve": curve}))


def _loss(step: int) -> float:
    return 1 / step


def _train(name: str, at_half: Callable[[], object] = lambda: None) -> float:
    """Tell of a training while it goes on; return by how many seconds that held it up."""
    begun = time.monotonic()
    with live("train", name) as report:
        for step in range(1, STEPS + 1):
            if step == STEPS // 2:
                at_half()
            report({"loss": _loss(step)}, step)
            time.sleep(STEP)
    held = time.monotonic() - begun - STEP * STEPS
    ended("feedback", name)
    return held


def _once(names: Sequence[str]) -> str:
    """Return what is not in MLflow exactly once, "" where all is."""
    index = Index(lineage_mark(Lock()))
    for name in names:
        runs = [run for run in index.runs(ROUND, name) if SUPERSEDED not in run.data.tags]
        if len(runs) != 1:
            return f"{name} has {len(runs)} runs"
        points = index.history(runs[0], CURVE)
        if sorted(points) != [((f"{CURVE}loss", s), _loss(s)) for s in range(1, STEPS + 1)]:
            return f"{name} has {points}"
        if runs[0].data.metrics.get("bob/skills") != 0.4 or runs[0].info.status != "FINISHED":
            return f"{name} is {runs[0].info.status} with {runs[0].data.metrics}"
    return ""


def _empty(rounds: Rounds) -> Path:
    rounds.fresh()
    for path in rounds.folder.iterdir():
        remove(path)
    return rounds.folder


def _one_index(rounds: Rounds, draw: Generator) -> Outcome:
    folder, where = _empty(rounds), f"{LOGGERS} trainings, one new SQLite"
    homes = [folder / f"{number}" for number in range(LOGGERS)]
    for number, home in enumerate(homes):
        home.mkdir()
        rounds.fork(lambda home=home, seed=number: _lineage(home, ["r001"], seed)).wait()

    def train(home: Path) -> None:
        os.chdir(home)
        _train("r001")

    runs = [rounds.fork(lambda home=home: train(home)) for home in homes]
    for run in runs:
        run.wait()
    told = "".join(run.said for run in runs)
    for home in homes:
        if left := _left(rounds, home):
            return where, "NOT EXACTLY ONCE", left + told[-1000:]
    if "locked" in told or "Traceback" in told or any(run.code for run in runs):
        return where, "TROUBLE", told[-1500:]
    warned = "Warning" in told
    return where, f"{'warned, then ' * warned}all exactly once", told[-1500:] * warned


def _left(rounds: Rounds, home: Path, **more: str) -> str:
    """Make MLflow agree with a repository's files; return what it then has not exactly once."""

    def sync() -> None:
        os.chdir(home)
        mirror.sync()
        print("LEFT:", _once(["r001"]))

    run = rounds.fork(sync, **more)
    run.wait()
    return "" if "LEFT: \n" in run.said else run.said[-1000:]


# F11: MLflow is away.


AWAY = ("down", "read-only", "slow", "deaf")
SLOW = 2.0  # seconds until an answer comes: MLflow's own patience is not at its end
OF_ONE_WAY = ("host", "connection", "accept-encoding")  # headers of the way to this proxy
HELD = 10.0  # seconds, at most, that a training may be held up in all


class _Proxy(BaseHTTPRequestHandler):
    """Hands requests on to a server, or not, as a file says."""

    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        how = self.server.mode.read_text()
        reads = self.command == "GET" or "search" in self.path
        if how == "slow":
            time.sleep(SLOW)
        if how == "read-only" and not reads:
            self._answer(503, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "no"}', [])
        elif how != "down":
            far = HTTPConnection("127.0.0.1", self.server.far, timeout=60)
            own = {k: v for k, v in self.headers.items() if k.lower() not in OF_ONE_WAY}
            far.request(self.command, self.path, body, own)
            answer = far.getresponse()
            data = answer.read()
            if how != "deaf" or reads:
                self._answer(answer.status, data, answer.getheaders())
            far.close()
        if how == "down" or (how == "deaf" and not reads):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _answer(self, status: int, data: bytes, headers: Sequence[tuple[str, str]]) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() == "content-type":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


_SERVER: list[str] = []  # where the server is reached, once it runs


def _server(rounds: Rounds) -> str:
    """Return the address of an MLflow server behind what can take it away; started once."""
    if _SERVER:
        return _SERVER[0]
    ports = [_free(), _free()]
    (rounds.at / "mode").write_text("up")
    remove(rounds.at / "server.db")
    words = [sys.executable, "-m", "mlflow", "server", "--port", str(ports[0]), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{rounds.at}/server.db"]
    words += ["--artifacts-destination", str(rounds.at / "artifacts")]
    with (rounds.at / "server.txt").open("wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    atexit.register(os.killpg, server.pid, signal.SIGKILL)

    def hand_on() -> None:
        proxy: Any = ThreadingHTTPServer(("127.0.0.1", ports[1]), _Proxy)
        proxy.mode, proxy.far = rounds.at / "mode", ports[0]
        proxy.serve_forever()

    proxy = rounds.fork(hand_on)
    atexit.register(proxy.kill)
    for _ in range(600):
        try:
            far = HTTPConnection("127.0.0.1", ports[1], timeout=5)
            far.request("GET", "/health")
            if far.getresponse().status == 200:
                _SERVER.append(f"http://127.0.0.1:{ports[1]}")
                return _SERVER[0]
        except OSError:
            pass
        time.sleep(0.2)
    sys.exit(f"the MLflow server did not start: {(rounds.at / 'server.txt').read_text()[-1000:]}")


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def lose_index(rounds: Rounds, draw: Generator, number: int) -> Outcome:
    """F11: a server that is away, refuses to write, is slow, or whose answers get lost."""
    uri, how = _server(rounds), AWAY[number % len(AWAY)]
    whole, mode = number // len(AWAY) % 2, rounds.at / "mode"
    where = f"{how}, {'all the time' if whole else 'in the middle'}"
    folder, told = _empty(rounds), rounds.at / "held.json"

    def train() -> None:
        _lineage(folder, ["r001"], seed=number + 1)
        held = _train("r001", lambda: mode.write_text(how))
        told.write_text(json.dumps(held))

    mode.write_text(how if whole else "up")
    run = rounds.fork(train, MLFLOW_TRACKING_URI=uri)
    run.wait()
    mode.write_text("up")
    if run.code or "Traceback" in run.said:
        return where, "TROUBLE", run.said[-1500:]
    left = _left(rounds, folder, MLFLOW_TRACKING_URI=uri)
    held = float(json.loads(told.read_text()))
    said = f"held up {held:.1f} s: {run.said[-500:]}"
    if left:
        return where, "NOT EXACTLY ONCE", left + said
    return where, "HELD UP" if held > HELD else "in the end all, exactly once", said
