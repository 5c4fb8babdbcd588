"""Reach: where MLflow is, whether it answers, and what its errors mean.

Invariant: trouble with MLflow is a warning of one line, for it is an index and the files are the
truth. Does not: know what is sent there.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import click

from alicebob.errors import AliceBobError, DamagedData
from alicebob.untrusted import hidden, printable, secrets

__all__ = [
    "DEFAULT_URI",
    "PATIENCE",
    "anew",
    "probe",
    "quiet",
    "reaching",
    "refused",
    "shown",
    "status",
    "tracking_uri",
]

DEFAULT_URI = "sqlite:///mlflow.db"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "GIT_PYTHON_REFRESH": "quiet",
}
#: What the server says no with, and what it is about.
DENIED = {
    401: "knows no such user or password (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD)",
    403: "lets this user (MLFLOW_TRACKING_USERNAME) not write there",
}
PATIENCE = 5.0  # seconds for a database to answer
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


def quiet() -> None:
    """Tell MLflow, before it is imported, to say little, to try but twice and to report nothing."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def tracking_uri() -> str:
    """Return where MLflow is: as the environment says, else a database beside params.yaml."""
    return os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_URI)


def probe(uri: str) -> None:
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


def _spoilt(error: Exception) -> DamagedData | None:
    """Return what to say of an error that a damaged database gives only where it is read."""
    path = _database(tracking_uri())
    found = re.search("[a-z ]*(?:malformed|not a database)", str(error))
    return _damaged(path, found[0]) if path and found else None


def anew() -> str:
    """Return what helps where MLflow refuses what a database of this machine holds, else ""."""
    path = _database(tracking_uri())
    return f" If {path} is damaged, delete it; 'alicebob sync' makes it anew." if path else ""


def refused(error: Exception) -> bool:
    """Tell an answer of MLflow, which the next round need not get, from having reached none."""
    if _spoilt(error):
        return False
    answered = status(error)
    if answered is not None:
        return 400 <= answered < 500 and answered not in (*DENIED, 408, 429)
    return isinstance(error, KeyError | TypeError | ValueError)


def status(error: Exception) -> int | None:
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
    except Exception as error:  # noqa: BLE001 - drivers, HTTP and SQL each raise their own
        missed.append(error)
        if known := error if isinstance(error, AliceBobError) else _spoilt(error):
            click.echo(f"Warning: {what}: {known}", err=True)
            return
        trouble, then = f"was not reached ({shown(error)})", "when it is back"
        if denial := DENIED.get(status(error) or 0):
            trouble, then = denial, "when that is mended"
        click.echo(f"Warning: MLflow {trouble}; {what}. Run 'alicebob sync' {then}.", err=True)


def shown(error: Exception) -> str:
    """Return an error of MLflow in short, without what its address may hold that is secret."""
    text = hidden(str(error), secrets(os.environ.get("MLFLOW_TRACKING_URI", "")))
    return f"{type(error).__name__}: {printable(' '.join(text.split()))[:160]}"
