"""Index: the runs of this repository in MLflow, found by their tags.

A run only ever gains what it lacks: when the files no longer say what it holds, another takes its
place and it is marked as superseded. Invariant: what MLflow keeps on this disk lies where the
project lies, also after that was moved. Does not: know what is sent to the runs.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import psutil

from alicebob.errors import AliceBobError, DamagedData
from alicebob.untrusted import hidden, printable, secrets

if TYPE_CHECKING:
    from mlflow.entities import Span, TraceInfo

__all__ = [
    "BRANCH",
    "CURRENT",
    "DEFAULT_URI",
    "LINEAGE",
    "PROCESS",
    "ROUND",
    "Index",
    "process",
    "quiet",
    "reaching",
    "refused",
    "running",
    "shown",
]

EXPERIMENT = "alicebob"
DEFAULT_URI = "sqlite:///mlflow.db"
ARTIFACTS = "mlartifacts"  # beside the database
LINEAGE = "alicebob.lineage"
ROUND = "alicebob.round"
BRANCH = "alicebob.branch"
PROCESS = "alicebob.process"  # who is sending, while a run is running
SUPERSEDED = "alicebob.superseded"
#: What is true of the runs that hold, as MLflow's search takes it.
CURRENT = f"tags.`{ROUND}` IS NOT NULL and tags.`{SUPERSEDED}` IS NULL"
PARENT = "mlflow.parentRunId"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "GIT_PYTHON_REFRESH": "quiet",
}
BATCH = {"metrics": 500, "params": 100}  # in one call; the server takes at most 1,000 and 100
#: What the server says no with, and what it is about.
DENIED = {
    401: "knows no such user or password (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD)",
    403: "lets this user (MLFLOW_TRACKING_USERNAME) not write there",
}
PATIENCE = 5.0  # seconds for a database to answer
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


class Index:
    """The runs of one lineage of this repository in MLflow; raises whatever MLflow raises."""

    def __init__(self, lineage: str) -> None:
        quiet()
        uri = _uri()
        _probe(uri)
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
        """Send a run's traces, all their spans in one call; those that are there give way."""
        from mlflow.tracing.client import TracingClient

        client = TracingClient(self.client.tracking_uri)
        search, own = self.client.search_traces, f"attribute.run_id = '{run}'"
        found = search([self.experiment], own, max_results=500, include_spans=False)
        known = {trace.info.trace_id for trace in found}
        if old := [info.trace_id for info, _ in told if info.trace_id in known]:
            self.client.delete_traces(self.experiment, trace_ids=old)  # not all may do that
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


def _probe(uri: str) -> None:
    """Ask a database for a sign of life, and raise its error at once where there is none.

    MLflow itself tries again for nearly two minutes before it says that a database is not there.
    """
    kind = uri.partition("://")[0].partition("+")[0]
    if path := _database(uri):
        if not path.exists():
            _make(path)
        try:
            with closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
                database.execute("BEGIN IMMEDIATE")
                database.rollback()
                (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError:  # it is in use, or not to be written
            raise
        except sqlite3.DatabaseError as error:
            found = str(error)
        if found != "ok":
            raise _damaged(path, found)
    elif kind in PORTS:
        parts = urlsplit(uri)
        if parts.hostname:
            place = parts.hostname, parts.port or PORTS[kind]
            socket.create_connection(place, timeout=PATIENCE).close()


def _uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_URI)


def _database(uri: str) -> Path | None:
    """Return the file of a SQLite database, None for anything else."""
    scheme, _, rest = uri.partition("://")
    path = Path(rest.partition("?")[0].removeprefix("/"))
    return path if scheme.partition("+")[0] == "sqlite" else None


def _damaged(path: Path, found: str) -> DamagedData:
    return DamagedData(
        f"{path} is damaged ({printable(' '.join(found.split()))[:80]}); delete it, and "
        "'alicebob sync' makes it anew from the files."
    )


def _make(path: Path) -> None:
    """Make a SQLite database, there whole or not at all, also where several do so at once.

    MLflow itself would leave one without half of its tables, and never mend it.
    """
    from mlflow import MlflowClient

    path.parent.mkdir(parents=True, exist_ok=True)
    spare = path.with_name(f"{path.name}.{os.getpid()}.part")
    MlflowClient(f"sqlite:///{spare}").search_experiments()
    with suppress(FileExistsError):
        os.link(spare, path)
    spare.unlink()


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


def quiet() -> None:
    """Tell MLflow, before it is imported, to say little, to try but twice and to report nothing."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def process() -> str:
    """Return what stands for this process in the tag `PROCESS`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def running(run: Any) -> bool:
    """Tell whether somebody is still sending to a run; one who was killed is not."""
    host, _, number = run.data.tags.get(PROCESS, "").rpartition(":")
    gone = host == socket.gethostname() and not psutil.pid_exists(int(number))
    return bool(run.info.status == "RUNNING" and host and not gone)


def spoilt(error: Exception) -> DamagedData | None:
    """Return what to say of an error that a damaged database gives only where it is read."""
    path, found = _database(_uri()), re.search("[a-z ]*(?:malformed|not a database)", str(error))
    return _damaged(path, found[0]) if path and found else None


def refused(error: Exception) -> bool:
    """Tell an answer of MLflow, which the next round need not get, from having reached none."""
    if spoilt(error):
        return False
    status = _status(error)
    if status is not None:
        return 400 <= status < 500 and status not in (*DENIED, 408, 429)
    return isinstance(error, KeyError | TypeError | ValueError)


def _status(error: Exception) -> int | None:
    """Return the HTTP status of an answer of MLflow, None where the error is no answer."""
    from mlflow.exceptions import MlflowException

    return int(error.get_http_status_code()) if isinstance(error, MlflowException) else None


@contextmanager
def reaching(what: str) -> Iterator[list[Exception]]:
    """Turn any trouble with MLflow into one warning: it is an index, the files are the truth.

    Yields a list that holds the trouble afterwards.
    """
    missed: list[Exception] = []
    try:
        yield missed
    except AliceBobError as error:
        missed.append(error)
        click.echo(f"Warning: {what}: {error}", err=True)
    except Exception as error:  # noqa: BLE001 - drivers, HTTP and SQL each raise their own
        missed.append(error)
        if damage := spoilt(error):
            click.echo(f"Warning: {what}: {damage}", err=True)
            return
        trouble, then = f"was not reached ({shown(error)})", "when it is back"
        if denial := DENIED.get(_status(error) or 0):
            trouble, then = denial, "when that is mended"
        click.echo(f"Warning: MLflow {trouble}; {what}. Run 'alicebob sync' {then}.", err=True)


def shown(error: Exception) -> str:
    """Return an error of MLflow in short, without what its address may hold that is secret."""
    text = hidden(str(error), secrets(os.environ.get("MLFLOW_TRACKING_URI", "")))
    return f"{type(error).__name__}: {printable(' '.join(text.split()))[:160]}"
