"""Curves: what training tells while it runs, sent to the round's run.

A training that goes on after a kill goes on in its run, where no point is sent twice; one that
begins anew has a new run. Invariant: no trouble with MLflow stops a stage, or holds it up. Does
not: send what is in the files in the end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

import click

from alicebob.environment import rank
from alicebob.experiment.lock import Lock, stages_of
from alicebob.experiment.params import read_yaml
from alicebob.experiment.stages import address
from alicebob.experiment.tree import branches, tree
from alicebob.tracking.index import PROCESS, ROUND, Index, process
from alicebob.tracking.mirror import branch_run
from alicebob.tracking.naming import CURVE, titled
from alicebob.tracking.reach import DEFAULT_URI, quiet, reaching
from alicebob.tracking.reading import curve_points, lineage_mark, params_of

__all__ = ["Report", "live"]

Point = tuple[Mapping[str, float], int]
Report = Callable[[Mapping[str, float], int], None]
IN_TIME = 8.0  # seconds that the end of a training gives MLflow; `sync` sends the rest


@contextmanager
def live(stage: str, round_id: str) -> Iterator[Report]:
    """Yield a function that sends a training curve to the round's run while a stage runs.

    Only training has a curve; other stages get a function that does nothing, and import nothing.
    Training waits for MLflow at its end only, and no longer than `IN_TIME` seconds.
    """
    if stage != "train" or rank() != 0:
        yield lambda values, step: None
        return
    quiet()
    import mlflow.system_metrics.system_metrics_monitor  # noqa: F401 - no import beside others'

    told: SimpleQueue[Point | None] = SimpleQueue()
    sender = threading.Thread(target=_send, args=(round_id, told), daemon=True)
    sender.start()
    try:
        yield lambda values, step: told.put((values, step))
    finally:
        told.put(None)
        sender.join(IN_TIME)
        if sender.is_alive():
            click.echo("Warning: MLflow is slow; 'alicebob sync' sends the rest.", err=True)


def _send(round_id: str, told: SimpleQueue[Point | None]) -> None:
    """Send what is told to the round's run, in few calls, until there is no more."""
    with reaching("training goes on without live curves"):
        curve = _Curve(round_id)
        monitor = curve.monitor()
        try:
            over = False
            while not over:
                points, over = _waiting(told)
                curve.send(points)
        finally:
            monitor.finish()


def _waiting(told: SimpleQueue[Point | None]) -> tuple[dict[tuple[str, int], float], bool]:
    """Wait for a point; return all that there are then, and whether they are the last."""
    found = [told.get()]
    while not told.empty():
        found.append(told.get())
    points = [curve_points(*point) for point in found if point is not None]
    return {at: value for each in points for at, value in each.items()}, None in found


class _Curve:
    """The run of a round that is being trained, and what was sent to it."""

    def __init__(self, round_id: str) -> None:
        # What this round's stages ran with before does not count: they are run again.
        lock = Lock(*(address(stage, round_id) for stage in stages_of(round_id)))
        params = params_of(round_id, lock)
        self.index = Index(lineage_mark(lock))
        runs = self.index.runs(ROUND, round_id)
        begun = (r for r in runs if r.info.status == "RUNNING" and r.data.params == params)
        run = next(begun, None) or self._new(round_id, params)
        self.run = run.info.run_id
        self.sent = {at for at, _ in self.index.history(run, CURVE)}
        self.index.tags(self.run, {PROCESS: process()})
        self.index.client.update_run(self.run, "RUNNING")

    def _new(self, round_id: str, params: Mapping[str, str]) -> Any:
        lines = branches(tree(read_yaml()))
        head = next(h for h, line in lines.items() if round_id in line[line.index(h) :])
        series = branch_run(self.index, head, {}, len(lines[head]))
        run = self.index.create(ROUND, round_id, titled(round_id, params), series.info.run_id)
        self.index.params(run.info.run_id, params)
        return run

    def send(self, points: Mapping[tuple[str, int], float]) -> None:
        """Send points, but for those that are there already."""
        self.index.points(self.run, {at: v for at, v in points.items() if at not in self.sent})
        self.sent |= points.keys()

    def monitor(self) -> Any:
        """Return what sends this machine's load to the run until it is finished."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        if "MLFLOW_TRACKING_URI" not in os.environ:
            import mlflow

            mlflow.set_tracking_uri(DEFAULT_URI)
        monitor = SystemMetricsMonitor(self.run, sampling_interval=5)
        monitor.start()
        return monitor
