"""Mirror: the files of the rounds, sent to their runs in MLflow until both say the same.

Invariant: what did not change is not sent again, and the fingerprint of a round, sent last, says
that all of it is there. Does not: read an output larger than its metrics, curve and feedback.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alicebob.experiment.params import read_yaml
from alicebob.experiment.places import place
from alicebob.experiment.plan import settings_of
from alicebob.experiment.tables import flat_metrics
from alicebob.experiment.tree import ROOT_ROUND, ancestors, tree
from alicebob.tracking.index import Index, reaching

__all__ = ["sync"]

OF_ROOT = ("base", "start", "baseline")  # the stages of r000


def sync() -> int:
    """Make MLflow agree with the files; return how many rounds changed.

    A round whose lock entries and files are as they were when it was last sent is left alone, so
    that calling it again costs little. Gives a warning, and returns 0, where MLflow is not reached.
    """
    changed = 0
    with reaching("the index is not up to date"):
        index = Index()
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


def _send(index: Index, parent: str, round_id: str, depth: int, lock: Mapping[str, Any]) -> bool:
    """Send one round, where it differs from what was sent before."""
    entries = {
        name: entry
        for name, entry in lock.items()
        if name.endswith(f"@{round_id}") or (round_id == ROOT_ROUND and name in OF_ROOT)
    }
    metrics = json.loads(place("metrics", round_id).read_text(encoding="utf-8"))
    facts = _facts(round_id)
    written = place("feedback", round_id) / "feedback.md"
    told = written.read_text(encoding="utf-8") if written.exists() else ""
    text = json.dumps([entries, metrics, facts, told], sort_keys=True)
    mark = hashlib.sha256(text.encode()).hexdigest()
    run = index.round(round_id)
    sent = index.client.get_run(run).data
    if sent.tags.get("alicebob.fingerprint") == mark:
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
        _curve(index, run, round_id)
    client.log_artifact(run, str(place("metrics", round_id)))
    client.set_tag(run, "alicebob.fingerprint", mark)  # last: its presence means all was sent
    index.finish(run)
    return True


def _facts(round_id: str) -> dict[str, float]:
    """Return what differs from run to run: seconds, speed, memory, by stage."""
    facts: dict[str, float] = {}
    for path in sorted(Path("logs").glob(f"{round_id}-*.json")):
        whose, _, stage = path.stem.rpartition("-")
        if whose == round_id:  # an id may have a dash of its own
            found = json.loads(path.read_text(encoding="utf-8"))
            facts |= {f"cost.{stage}.{name}": value for name, value in found.items()}
    return facts


def _tags(entries: Mapping[str, Any]) -> dict[str, str]:
    tags = {"git.commit": _commit()}
    for name, entry in sorted(entries.items()):
        for out in entry.get("outs", []):
            tags[f"dvc.{name.partition('@')[0]}.{Path(out['path']).parts[-2]}"] = out["md5"]
    return tags


def _params(index: Index, run: str, round_id: str) -> None:
    """Log the parameters the round's stages read; those of an earlier run of it are replaced."""
    from mlflow.entities import Param, RunTag

    flat = settings_of(round_id)
    known = index.client.get_run(run).data.params
    new = [Param(name, str(value)) for name, value in flat.items() if name not in known]
    # MLflow never changes a parameter once logged: what differs now goes into a tag beside it.
    moved = [
        RunTag(f"param.{name}", str(value))
        for name, value in flat.items()
        if name in known and known[name] != str(value)
    ]
    index.client.log_batch(run, params=new, tags=moved)


def _inputs(index: Index, run: str, round_id: str, entries: Mapping[str, Any]) -> None:
    """Name the datasets of the round, by DVC path and hash, without reading them."""
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource
    from mlflow.entities import DatasetInput, InputTag

    inputs = index.client.get_run(run).inputs.dataset_inputs
    known = {(i.dataset.name, i.dataset.digest) for i in inputs}
    hashes = {out["path"]: out["md5"] for e in entries.values() for out in e.get("outs", [])}
    found = []
    for kind in ("episodes", "skills", "evaluations"):
        path = str(place(kind, round_id))
        name, digest = f"{kind}/{round_id}", hashes.get(path, "")[:8]
        if path in hashes and (name, digest) not in known:
            source = LocalArtifactDatasetSource(path)
            dataset = MetaDataset(source, name=name, digest=digest)
            tags = [InputTag("mlflow.data.context", kind), InputTag("dvc.md5", hashes[path])]
            found.append(DatasetInput(dataset._to_mlflow_entity(), tags))
    if found:
        index.client.log_inputs(run, found)


def _table(index: Index, run: str, round_id: str) -> None:
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


def _curve(index: Index, run: str, round_id: str) -> None:
    """Send the training curve, unless it was sent live already."""
    path = place("bob", round_id) / "training.json"
    sent = {metric.step for metric in index.client.get_metric_history(run, "curve.loss")}
    for entry in json.loads(path.read_text(encoding="utf-8"))["curve"]:
        step = int(entry.get("step", 0))
        if step not in sent or "eval_loss" in entry:
            values = {f"curve.{n}": v for n, v in entry.items() if n not in ("step", "epoch")}
            index.metrics(run, values, step)


def _lock() -> dict[str, Any]:
    """Return the entries of dvc.lock, by stage and round."""
    path = Path("dvc.lock")
    return read_yaml(path).get("stages", {}) if path.exists() else {}


def _commit() -> str:
    """Return the commit that is checked out, or none."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "none"
