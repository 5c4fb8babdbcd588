"""Index: the runs of this repository in MLflow, found by their tags.

A run only ever gains what it lacks: when the files no longer say what it holds, another takes its
place and it is marked as superseded. Invariant: what MLflow keeps on this disk lies where the
project lies, also after that was moved. Does not: know what is sent to the runs.
"""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from alicebob.tracking.reach import DEFAULT_URI, PATIENCE, probe, quiet, status, tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Span, TraceInfo

__all__ = [
    "BRANCH",
    "CURRENT",
    "LINEAGE",
    "PROCESS",
    "ROUND",
    "Index",
    "process",
    "running",
]

EXPERIMENT = "alicebob"
ARTIFACTS = "mlartifacts"  # beside the database
LINEAGE = "alicebob.lineage"
ROUND = "alicebob.round"
BRANCH = "alicebob.branch"
PROCESS = "alicebob.process"  # who is sending, while a run is running
SUPERSEDED = "alicebob.superseded"
#: What is true of the runs that hold, as MLflow's search takes it.
CURRENT = f"tags.`{ROUND}` IS NOT NULL and tags.`{SUPERSEDED}` IS NULL"
PARENT = "mlflow.parentRunId"
BATCH = {"metrics": 500, "params": 100}  # in one call; the server takes at most 1,000 and 100


class Index:
    """The runs of one lineage of this repository in MLflow; raises whatever MLflow raises."""

    def __init__(self, lineage: str) -> None:
        quiet()
        uri = tracking_uri()
        probe(uri)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from mlflow import MlflowClient

        self.lineage = lineage
        self.client = MlflowClient(uri)
        own = "MLFLOW_TRACKING_URI" not in os.environ
        home = (Path.cwd() / ARTIFACTS).as_uri() if own else None
        found = self.client.get_experiment_by_name(EXPERIMENT) or self._begin(home)
        self._told, self.experiment = found.tags, found.experiment_id
        if home and found.artifact_location != home:
            _move(self.experiment, found.artifact_location, home)

    def _begin(self, home: str | None) -> Any:
        """Return the experiment, made unless another process has just done so."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_experiment(EXPERIMENT, home)
        except MlflowException:
            if self.client.get_experiment_by_name(EXPERIMENT) is None:
                raise
        return self.client.get_experiment_by_name(EXPERIMENT)

    def describe(self, tags: Mapping[str, str]) -> None:
        """Set those tags of the experiment that differ."""
        for name, value in tags.items():
            if self._told.get(name) != value:
                self.client.set_experiment_tag(self.experiment, name, value)

    def runs(self, kind: str, name: str) -> list[Any]:
        """Return the runs of a round (`ROUND`) or a branch (`BRANCH`), the newest first.

        Those that were superseded come last.
        """
        clauses = f"tags.`{LINEAGE}` = '{self.lineage}' and tags.`{kind}` = '{name}'"
        order = ["attributes.start_time DESC", "attributes.run_id"]
        found = self.client.search_runs([self.experiment], clauses, order_by=order)
        return sorted(found, key=lambda run: SUPERSEDED in run.data.tags)

    def create(self, kind: str, name: str, title: str, parent: str = "") -> Any:
        """Return a new run of a round or a branch, below its parent where one is given."""
        tags = {LINEAGE: self.lineage, kind: name} | ({PARENT: parent} if parent else {})
        return self.client.create_run(self.experiment, run_name=title, tags=tags)

    def current(self, run: Any, title: str, parent: str = "") -> bool:
        """Show a run below its parent as the one that holds; return whether it did not before."""
        tags, run_id = run.data.tags, run.info.run_id
        if parent and tags.get(PARENT) != parent:
            self.client.set_tag(run_id, PARENT, parent)
        elif not parent and PARENT in tags:
            self.client.delete_tag(run_id, PARENT)
        if run.info.run_name != title:
            self.client.update_run(run_id, name=title)
        if SUPERSEDED in tags:
            self.client.delete_tag(run_id, SUPERSEDED)
        return SUPERSEDED in tags

    def supersede(self, run: Any, title: str, by: str, parent: str = "") -> None:
        """Mark a run as one that another has taken the place of."""
        tags, run_id = run.data.tags, run.info.run_id
        if parent and tags.get(PARENT) != parent:
            self.client.set_tag(run_id, PARENT, parent)
        if tags.get(SUPERSEDED) != by:
            self.client.set_tag(run_id, SUPERSEDED, by)
            self.client.update_run(run_id, name=f"{title} (superseded)")
        if run.info.status == "RUNNING":
            self.client.set_terminated(run_id, "KILLED")

    def left(self) -> list[Any]:
        """Return the runs that look as if they were running and whose process has gone."""
        found = self.client.search_runs([self.experiment], "attributes.status = 'RUNNING'")
        return [run for run in found if PROCESS in run.data.tags and not running(run)]

    def finish(self, run: str) -> None:
        """Show a run as finished, now."""
        self.client.set_terminated(run, "FINISHED")

    def params(self, run: str, values: Mapping[str, str]) -> None:
        """Send parameters in few calls; MLflow never changes one that it has."""
        from mlflow.entities import Param

        items, size = [Param(name, value) for name, value in values.items()], BATCH["params"]
        for first in range(0, len(items), size):
            self.client.log_batch(run, params=items[first : first + size])

    def metrics(self, run: str, values: Mapping[str, float], step: int) -> None:
        """Send values at a step in few calls."""
        self.points(run, {(name, step): value for name, value in values.items()})

    def points(self, run: str, values: Mapping[tuple[str, int], float], model: str = "") -> None:
        """Send values by name and step in few calls, as a model's where one is named."""
        from mlflow.entities import Metric

        now, size, of = int(time.time() * 1000), BATCH["metrics"], model or None
        items = [
            Metric(name, float(v), now, step, model_id=of)
            for (name, step), v in sorted(values.items())
        ]
        for first in range(0, len(items), size):
            self.client.log_batch(run, metrics=items[first : first + size])

    def traces(self, run: str, told: Sequence[tuple[TraceInfo, list[Span]]]) -> None:
        """Send a run's traces, all their spans in one call.

        Those that are there give way, or stay where this user may delete none.
        """
        from mlflow.tracing.client import TracingClient

        client = TracingClient(self.client.tracking_uri)
        search, own = self.client.search_traces, f"attribute.run_id = '{run}'"
        found = search([self.experiment], own, max_results=500, include_spans=False)
        known = {trace.info.trace_id for trace in found}
        if old := [info.trace_id for info, _ in told if info.trace_id in known]:
            try:
                self.client.delete_traces(self.experiment, trace_ids=old)
            except Exception as error:
                if status(error) != 403:
                    raise
                told = [each for each in told if each[0].trace_id not in old]
        for info, _ in told:
            client.start_trace(info)
        client.log_spans(self.experiment, [span for _, spans in told for span in spans])

    def tags(self, run: str, values: Mapping[str, str]) -> None:
        """Set tags, at most a hundred, in one call."""
        from mlflow.entities import RunTag

        self.client.log_batch(run, tags=[RunTag(name, value) for name, value in values.items()])

    def history(self, run: Any, prefix: str) -> list[tuple[tuple[str, int], float]]:
        """Return all that was ever sent under names that begin so, by name and step."""
        return [
            ((name, point.step), point.value)
            for name in run.data.metrics
            if name.startswith(prefix)
            for point in self.client.get_metric_history(run.info.run_id, name)
        ]


def _move(experiment: str, old: str, new: str) -> None:
    """Let the artifacts of a project that was moved or copied be where it lies now.

    MLflow notes absolute places, and offers no way to change them.
    """
    if not old.startswith("file:") or not old.endswith(f"/{ARTIFACTS}"):
        return  # somebody put it there
    places = (("experiments", "artifact_location"), ("runs", "artifact_uri"))
    path = DEFAULT_URI.rpartition("/")[2]
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as database, database:
        for table, column in places:
            database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE experiment_id = ? AND substr({column} || '/', 1, ?) = ?",
                (new, len(old) + 1, int(experiment), len(old) + 1, f"{old}/"),
            )


def process() -> str:
    """Return what stands for this process in the tag `PROCESS`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def running(run: Any) -> bool:
    """Tell whether somebody is still sending to a run; one who was killed is not."""
    host, _, number = run.data.tags.get(PROCESS, "").rpartition(":")
    gone = host == socket.gethostname() and not psutil.pid_exists(int(number))
    return bool(run.info.status == "RUNNING" and host and not gone)
