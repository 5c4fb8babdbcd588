"""Curves: what training tells while it runs, sent to the round's run.

A training that goes on after a kill goes on in its run, where no point is sent twice; one that
begins anew has a new run. Invariant: no trouble with MLflow stops a stage. Does not: send what is
in the files in the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from alicebob.environment import rank
from alicebob.experiment.lock import Lock, stages_of
from alicebob.experiment.params import read_yaml
from alicebob.experiment.stages import address
from alicebob.experiment.tree import branches, tree
from alicebob.tracking.index import (
    DEFAULT_URI,
    PROCESS,
    ROUND,
    Index,
    process,
    reaching,
)
from alicebob.tracking.mirror import branch_run
from alicebob.tracking.naming import CURVE, titled
from alicebob.tracking.reading import curve_points, lineage_mark, params_of

__all__ = ["Report", "live"]

Report = Callable[[Mapping[str, float], int], None]


@contextmanager
def live(stage: str, round_id: str) -> Iterator[Report]:
    """Yield a function that sends a training curve to the round's run while a stage runs.

    Only training has a curve; other stages get a function that does nothing, and import nothing.
    """
    if stage != "train" or rank() != 0:
        yield lambda values, step: None
        return
    curve = monitor = None
    with reaching("training goes on without live curves"):
        curve = _Curve(round_id)
        monitor = curve.monitor()

    def report(values: Mapping[str, float], step: int) -> None:
        nonlocal curve
        if curve is None:
            return
        try:
            curve.send(values, step)
        except Exception as error:  # noqa: BLE001 - see reaching; one failure ends the live curve
            curve = None
            click.echo(f"Warning: MLflow was lost ({type(error).__name__}).", err=True)

    try:
        yield report
    finally:
        if monitor is not None:
            with reaching("system metrics are incomplete"):
                monitor.finish()


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

    def send(self, values: Mapping[str, float], step: int) -> None:
        """Send a point, unless it is there already."""
        points = curve_points(values, step)
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
