"""Tracking: MLflow as an index of what the files say, that can be rebuilt at any time.

One parent run per lineage, a nested run per round, found by their tags and resumed, never doubled.
`sync` reads `dvc.lock` and the outputs and makes MLflow agree; `live` sends curves while a stage
runs. Invariant: if MLflow cannot be reached the work goes on, one warning is given, and a later
`sync` brings everything. Does not: keep anything that is not in the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from alicebob.params import ROOT_ROUND, load_params, read_yaml, tree
from alicebob.rounds import PLACES, ancestors, flat_metrics, flatten, place

__all__ = ["live", "sync"]

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

Report = Callable[[Mapping[str, float], int], None]


class _Index:
    """The runs of this repository in MLflow."""

    def __init__(self) -> None:
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        uri = os.environ.get("MLFLOW_TRACKING_URI", DEFAULT_URI)
        _probe(uri)
        import logging

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
def _reaching(what: str) -> Iterator[None]:
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
    with _reaching("training goes on without live curves"):
        index = _Index()
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
        except Exception as error:  # noqa: BLE001 - see _reaching; one failure ends the live curve
            state.clear()
            click.echo(f"Warning: MLflow was lost ({type(error).__name__}).", err=True)

    try:
        yield report
    finally:
        if monitor is not None:
            with _reaching("system metrics are incomplete"):
                monitor.finish()


def sync() -> int:
    """Make MLflow agree with the files; return how many rounds changed.

    A round whose lock entries and files are as they were when it was last sent is left alone, so
    that calling it again costs little. Gives a warning, and returns 0, where MLflow is not reached.
    """
    changed = 0
    with _reaching("the index is not up to date"):
        index = _Index()
        lock = _lock()
        rounds = tree(read_yaml())
        parent = index.lineage()
        present = [r for r in (ROOT_ROUND, *rounds) if place("metrics", r).exists()]
        for round_id in present:
            depth = len(ancestors(round_id, rounds)) - 1
            changed += _send(index, parent, round_id, depth, lock)
        if changed:
            index.finish(parent)
    return changed


def _send(index: _Index, parent: str, round_id: str, depth: int, lock: Mapping[str, Any]) -> bool:
    """Send one round, where it differs from what was sent before."""
    entries = {
        name: entry
        for name, entry in lock.items()
        if name.endswith(f"@{round_id}") or (round_id == ROOT_ROUND and "@" not in name)
    }
    metrics = json.loads(place("metrics", round_id).read_text(encoding="utf-8"))
    facts = _facts(round_id)
    written = place("feedback", round_id) / "feedback.md"
    told = written.read_text(encoding="utf-8") if written.exists() else ""
    text = json.dumps([entries, metrics, facts, told], sort_keys=True)
    mark = hashlib.sha256(text.encode()).hexdigest()
    run = index.round(round_id)
    sent = index.client.get_run(run).data
    tags = sent.tags
    if tags.get("alicebob.fingerprint") == mark:
        return False
    client = index.client
    for name, value in _tags(entries).items():
        client.set_tag(run, name, value)
    _params(index, run, round_id)
    values = flat_metrics(metrics)
    new = {n: v for n, v in (values | facts).items() if sent.metrics.get(n) != v}
    # The parent first: what is in the round's own run counts as sent to both.
    index.metrics(parent, {name: v for name, v in new.items() if name in values}, depth)
    index.metrics(run, new, depth)
    _inputs(index, run, round_id, entries)
    for name in ("feedback.md", "feedback.json", "verdicts.json"):
        path = place("feedback", round_id) / name
        if path.exists():
            client.log_artifact(run, str(path), "feedback")
    _table(index, run, round_id)
    if (place("bob", round_id) / "training.json").exists():
        _curve(index, run, round_id, tags)
    client.log_artifact(run, str(place("metrics", round_id)))
    client.set_tag(run, "alicebob.fingerprint", mark)  # last: its presence means all was sent
    index.finish(run)
    return True


def _facts(round_id: str) -> dict[str, float]:
    """Return what differs from run to run: seconds, speed, memory, by stage."""
    facts: dict[str, float] = {}
    for path in sorted(Path("logs").glob(f"{round_id}-*.json")):
        stage = path.stem.partition("-")[2]
        found = json.loads(path.read_text(encoding="utf-8"))
        facts |= {f"cost.{stage}.{name}": value for name, value in found.items()}
    return facts


def _tags(entries: Mapping[str, Any]) -> dict[str, str]:
    tags = {"git.commit": _commit()}
    for name, entry in sorted(entries.items()):
        for out in entry.get("outs", []):
            tags[f"dvc.{name.partition('@')[0]}.{Path(out['path']).parts[-2]}"] = out["md5"]
    return tags


def _params(index: _Index, run: str, round_id: str) -> None:
    """Log the round's merged parameters; those of an earlier run of the round are replaced."""
    from mlflow.entities import Param, RunTag

    flat = flatten(load_params(round_id).model_dump(mode="json"))
    known = index.client.get_run(run).data.params
    new = [Param(name, str(value)) for name, value in flat.items() if name not in known]
    # MLflow never changes a parameter once logged: what differs now goes into a tag beside it.
    moved = [
        RunTag(f"param.{name}", str(value))
        for name, value in flat.items()
        if name in known and known[name] != str(value)
    ]
    index.client.log_batch(run, params=new, tags=moved)


def _inputs(index: _Index, run: str, round_id: str, entries: Mapping[str, Any]) -> None:
    """Name the datasets of the round, by DVC path and hash, without reading them."""
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource
    from mlflow.entities import DatasetInput, InputTag

    inputs = index.client.get_run(run).inputs.dataset_inputs
    known = {(i.dataset.name, i.dataset.digest) for i in inputs}
    hashes = {out["path"]: out["md5"] for e in entries.values() for out in e.get("outs", [])}
    found = []
    for kind in ("episodes", "skills", "evaluations"):
        path = PLACES[kind].format(round=round_id)
        name, digest = f"{kind}/{round_id}", hashes.get(path, "")[:8]
        if path in hashes and (name, digest) not in known:
            source = LocalArtifactDatasetSource(path)
            dataset = MetaDataset(source, name=name, digest=digest)
            tags = [InputTag("mlflow.data.context", kind), InputTag("dvc.md5", hashes[path])]
            found.append(DatasetInput(dataset._to_mlflow_entity(), tags))
    if found:
        index.client.log_inputs(run, found)


def _table(index: _Index, run: str, round_id: str) -> None:
    """Log Alice's verdict on each skill as a table."""
    path = place("feedback", round_id) / "feedback.json"
    if not path.exists():
        return
    data = json.loads(path.read_text(encoding="utf-8"))
    rows = [{"skill": name, **seen} for name, seen in sorted(data.get("skills", {}).items())]
    if not rows:
        return
    columns = {
        name: [json.dumps(r[name]) if isinstance(r[name], list) else r[name] for r in rows]
        for name in rows[0]
    }
    weights = data.get("explore", {})
    columns["explore next"] = [weights.get(row["skill"], 0.0) for row in rows]
    index.client.log_table(run, columns, artifact_file="feedback/skills.json")


def _curve(index: _Index, run: str, round_id: str, tags: Mapping[str, str]) -> None:
    """Send the training curve, unless it was sent live already."""
    path = place("bob", round_id) / "training.json"
    sent = {metric.step for metric in index.client.get_metric_history(run, "curve.loss")}
    for entry in json.loads(path.read_text(encoding="utf-8"))["curve"]:
        step = int(entry.get("step", 0))
        if step not in sent or "eval_loss" in entry:
            values = {f"curve.{n}": v for n, v in entry.items() if n not in ("step", "epoch")}
            index.metrics(run, values, step)


def _lock() -> dict[str, Any]:
    path = Path("dvc.lock")
    return read_yaml(path).get("stages", {}) if path.exists() else {}


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "none"
