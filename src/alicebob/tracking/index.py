"""Index: the runs of this repository in MLflow, found by their tags.

One parent run per lineage, a nested run per round, resumed and never doubled. Does not: know what
is sent to them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import click

from alicebob.experiment.params import read_yaml

__all__ = ["DEFAULT_URI", "Index", "lineage_mark", "reaching"]

EXPERIMENT = "alicebob"
DEFAULT_URI = "sqlite:///mlflow.db"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "GIT_PYTHON_REFRESH": "quiet",
}
BATCH = 500  # metrics in one call; the server takes at most 1,000
PATIENCE = 5.0  # seconds for a database to answer
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


class Index:
    """The runs of this repository in MLflow."""

    def __init__(self) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        uri = os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_URI)
        _probe(uri)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        found = self.client.get_experiment_by_name(EXPERIMENT)
        self.experiment = (
            found.experiment_id
            if found
            else self.client.create_experiment(
                EXPERIMENT,
                None
                if "MLFLOW_TRACKING_URI" in os.environ
                else (Path.cwd() / "mlartifacts").as_uri(),
            )
        )

    def run(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Return the id of the run with these tags, created where there is none."""
        clauses = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        found = self.client.search_runs([self.experiment], clauses, max_results=1)
        if found:
            return str(found[0].info.run_id)
        nested = {"mlflow.parentRunId": parent} if parent else {}
        run = self.client.create_run(
            self.experiment, run_name=name, tags={**tags, **nested, "mlflow.runName": name}
        )
        return str(run.info.run_id)

    def lineage(self) -> str:
        """Return the parent run of this repository's lineage."""
        mark = lineage_mark()
        return self.run(f"lineage {mark[:6]}", {"alicebob.lineage": mark})

    def round(self, round_id: str) -> str:
        """Return the run of a round."""
        tags = {"alicebob.lineage.of": lineage_mark(), "alicebob.round": round_id}
        return self.run(round_id, tags, self.lineage())

    def finish(self, run: str) -> None:
        """Show a run as finished, now."""
        self.client.set_terminated(run, "FINISHED")

    def metrics(self, run: str, values: Mapping[str, float], step: int) -> None:
        """Send values at a step in few calls."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        items = [Metric(name, float(v), now, step) for name, v in sorted(values.items())]
        for first in range(0, len(items), BATCH):
            self.client.log_batch(run, metrics=items[first : first + BATCH])


def _probe(uri: str) -> None:
    """Ask a database for a sign of life, and raise its error at once where there is none.

    MLflow itself tries again for nearly two minutes before it says that a database is not there.
    """
    scheme, _, rest = uri.partition("://")
    kind = scheme.partition("+")[0]
    if kind == "sqlite":
        path = Path(rest.partition("?")[0].removeprefix("/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
    elif kind in PORTS:
        parts = urlsplit(uri)
        if parts.hostname:
            place = parts.hostname, parts.port or PORTS[kind]
            socket.create_connection(place, timeout=PATIENCE).close()


def lineage_mark() -> str:
    """Return what tells this lineage from another: the shared choices that no round may change."""
    data = read_yaml()
    chosen = {name: data.get(name) for name in ("seed", "env", "seeds", "base")}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turn any trouble with MLflow into one warning: it is an index, the files are the truth."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - drivers, HTTP and SQL each raise their own
        reason = " ".join(str(error).split())[:160]
        click.echo(
            f"Warning: MLflow was not reached ({type(error).__name__}: {reason}); {what}. "
            "Run 'alicebob sync' when it is back.",
            err=True,
        )
