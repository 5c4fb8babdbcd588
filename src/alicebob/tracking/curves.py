"""Curves: what training tells while it runs, sent to the round's run.

Invariant: no trouble with MLflow stops a stage. Does not: send what is in the files in the end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from alicebob.tracking.index import DEFAULT_URI, Index, reaching

__all__ = ["Report", "live"]

Report = Callable[[Mapping[str, float], int], None]


@contextmanager
def live(stage: str, round_id: str) -> Iterator[Report]:
    """Yield a function that sends a training curve to the round's run while a stage runs.

    Only training has a curve; other stages get a function that does nothing, and import nothing.
    """
    if stage != "train" or os.environ.get("RANK", "0") != "0":
        yield lambda values, step: None
        return
    state: dict[str, Any] = {}
    monitor = None
    with reaching("training goes on without live curves"):
        index = Index()
        state = {"index": index, "run": index.round(round_id)}
        index.client.update_run(state["run"], "RUNNING")
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        if "MLFLOW_TRACKING_URI" not in os.environ:
            import mlflow

            mlflow.set_tracking_uri(DEFAULT_URI)
        monitor = SystemMetricsMonitor(state["run"], sampling_interval=5)
        monitor.start()

    def report(values: Mapping[str, float], step: int) -> None:
        if not state:
            return
        try:
            numbers = {f"curve.{n}": v for n, v in values.items() if n not in ("step", "epoch")}
            state["index"].metrics(state["run"], numbers, step)
        except Exception as error:  # noqa: BLE001 - see reaching; one failure ends the live curve
            state.clear()
            click.echo(f"Warning: MLflow was lost ({type(error).__name__}).", err=True)

    try:
        yield report
    finally:
        if monitor is not None:
            with reaching("system metrics are incomplete"):
                monitor.finish()
