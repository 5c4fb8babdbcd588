"""Mirror: the files of the rounds, sent to their runs in MLflow until both say the same.

A branch of the tree of rounds is a run with one point per round, and its rounds are nested in it.
Invariants: a run holds nothing that the files do not say, or it is marked as superseded; the
fingerprint of a round, sent last, says that all of it is there; trouble with one round ends no
other's. Does not: read the files.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from alicebob.errors import AliceBobError, DamagedData
from alicebob.experiment.examples import examples, explored
from alicebob.experiment.lock import Lock, PlanLost, stages_of
from alicebob.experiment.params import read_yaml
from alicebob.experiment.places import place
from alicebob.experiment.stages import address
from alicebob.experiment.tree import ROOT_ROUND, branches, tree
from alicebob.experiment.work import Folder
from alicebob.tracking import models
from alicebob.tracking.index import BRANCH, CURRENT, ROUND, Index, running
from alicebob.tracking.naming import CURVE, MACHINE, answer, titled
from alicebob.tracking.notes import NOTE, of_experiment, of_lineage, of_round
from alicebob.tracking.prompts import LINKED, registered
from alicebob.tracking.reach import anew, reaching, refused, shown
from alicebob.tracking.reading import Told, lineage_mark, read, worlds
from alicebob.tracking.traces import EXPLORED, TRACES, call, trace
from alicebob.untrusted import printable

__all__ = ["attach", "branch_run", "ended", "left", "sync"]

FINGERPRINT = "alicebob.fingerprint"
POINT = "alicebob.point."
TABLE = "feedback/skills.json"
IN_TIME = 60.0  # seconds that the end of a stage gives MLflow, and one sync another
VERBS = {
    "feedback": "advise",
    "backward": "label",
    "committee": "judge",
}  # by prompt, else as it is
NO_FIGURES = (MACHINE, CURVE, "system/")  # how the other metrics of a run begin


def ended(stage: str, round_id: str) -> None:
    """Bring a round to MLflow when its last stage has published; no trouble stops the stage."""
    if stage != stages_of(round_id)[-1]:
        return
    try:
        sync(address(stage, round_id), IN_TIME)
    except Exception as error:  # noqa: BLE001 - the stage is done, whatever this was
        click.echo(f"Warning: MLflow is not up to date: {printable(str(error))}", err=True)


def sync(finished: str = "", patience: float = math.inf) -> int | None:
    """Make MLflow agree with the files; return how many rounds changed, None if not all was done.

    A round that is as it was when it was last sent is left alone, so that calling it again costs
    little, and so is one that is being run again. Gives a warning where MLflow is not reached, or
    not done within `patience` seconds. `finished` is a stage that DVC has yet to note. Raises
    AliceBobError where files are damaged or MLflow refuses something, when the rest is sent.
    """
    until = time.monotonic() + patience
    lock, lines = Lock(finished), branches(tree(read_yaml()))
    rounds = dict.fromkeys(round_id for line in lines.values() for round_id in line)
    told, troubles = _read(rounds, lock, quiet=bool(finished))
    changed = 0
    with (
        reaching("the index is not up to date") as missed,
        Folder("mlflow", "sync").held(IN_TIME),
    ):
        index = Index(lineage_mark(lock))
        for head, line in lines.items():
            own = [round_id for round_id in line[line.index(head) :] if round_id in told]
            if not own:
                continue
            here = {depth: told[r] for depth, r in enumerate(line) if r in told}
            series = branch_run(index, head, here, len(line))
            for round_id in own:
                if time.monotonic() > until:
                    raise TimeoutError(f"{patience:.0f} seconds were not enough")
                try:
                    changed += _send(index, here, line.index(round_id), series)
                except DamagedData as error:
                    troubles.append(error)
                except Exception as error:
                    if not refused(error):
                        raise
                    reason = f"MLflow refused {round_id} ({shown(error)}).{anew()}"
                    troubles.append(AliceBobError(reason))
            _points(index, series, here)
        if told:
            index.describe(of_experiment(index.experiment, list(told.values()), CURRENT))
            models.champion(index, list(told.values()))
    if len(troubles) > 1:
        raise AliceBobError(" ".join(map(str, troubles)))
    for trouble in troubles:
        raise trouble
    return None if missed else changed


def attach(*paths: Path) -> None:
    """Show files about all rounds with each branch of the lineage; trouble is a warning."""
    with reaching("the report is not shown there"):
        index = Index(lineage_mark(Lock()))
        for head in branches(tree(read_yaml())):
            for run in index.runs(BRANCH, head)[:1]:
                for path in paths:
                    index.client.log_artifact(run.info.run_id, str(path))


def left(repair: bool) -> list[str]:
    """Return the names of runs whose process was killed; show them as such where `repair` says."""
    names: list[str] = []
    with reaching("runs that were killed are not looked for"):
        index = Index(lineage_mark(Lock()))
        for run in index.left():
            names.append(str(run.info.run_name))
            if repair:
                index.client.set_terminated(run.info.run_id, "KILLED")
    return names


def _read(
    rounds: Iterable[str], lock: Lock, quiet: bool
) -> tuple[dict[str, Told], list[AliceBobError]]:
    """Return what the files say of the evaluated rounds, and what could not be read."""
    told: dict[str, Told] = {}
    troubles: list[AliceBobError] = []
    for round_id in rounds:
        if not place("metrics", round_id).exists():
            continue
        try:
            found = read(round_id, lock)
            if not lock.whole(round_id) or worlds(round_id, lock) != worlds(ROOT_ROUND, lock):
                raise PlanLost("its figures are not those that dvc.lock names; run 'dvc repro'.")
            told[round_id] = found
        except DamagedData as error:
            troubles.append(error)
        except PlanLost as error:
            if not quiet:
                click.echo(f"Note: {round_id} is left as it was: {error}", err=True)
    return told, troubles


def branch_run(index: Index, head: str, here: Mapping[int, Told], length: int) -> Any:
    """Return the run of a branch that has no other points than these, by depth; made if need be.

    Of a round that is being run again, and so not in `here`, the point may stay.
    """
    runs = index.runs(BRANCH, head)
    run = next((r for r in runs if _fits(r, here, length)), None)
    title = _title(index, head, here) if here or run is None else run.info.run_name
    run = run or index.create(BRANCH, head, title)
    index.current(run, title)
    for other in runs:
        if other is not run:
            index.supersede(other, title, run.info.run_id, run.info.run_id)
    return run


def _title(index: Index, head: str, here: Mapping[int, Told]) -> str:
    """Return what a branch's row says: where, by how much Bob got better, and which it is."""
    name = f"lineage {index.lineage[:6]}" + ("" if head == ROOT_ROUND else f" {head}")
    if not here:
        return name
    first, last = here[min(here)], here[max(here)]
    said = (last.params.get("env.spec", ""), answer(first.values, last.values), name)
    return " · ".join(filter(None, said))


def _fits(run: Any, here: Mapping[int, Told], length: int) -> bool:
    sent = {
        int(name.removeprefix(POINT)): value
        for name, value in run.data.tags.items()
        if name.startswith(POINT)
    }
    return all(
        depth < length and (depth not in here or here[depth].point == value)
        for depth, value in sent.items()
    )


def _points(index: Index, series: Any, here: Mapping[int, Told]) -> None:
    """Send the points that the run of a branch lacks, and its description."""
    run = series.info.run_id
    note = of_lineage([here[depth] for depth in sorted(here)])
    if series.data.tags.get(NOTE) != note:
        index.tags(run, {NOTE: note})
    new = [depth for depth in here if f"{POINT}{depth}" not in series.data.tags]
    for depth in new:
        index.metrics(run, here[depth].values, depth)
        index.tags(run, {f"{POINT}{depth}": here[depth].point})
    if new:
        index.finish(run)


def _send(index: Index, here: Mapping[int, Told], depth: int, series: Any) -> bool:
    """Bring one round to its run, where that differs; another one where it holds something else."""
    told, parent = here[depth], series.info.run_id
    runs, title = index.runs(ROUND, told.id), titled(told.id, told.params)
    held = next((r for r in runs if _holds(r, told)), None)
    run = held or next((r for r in runs if _agrees(index, r, told)), None)
    run = run or index.create(ROUND, told.id, title, parent)
    back = index.current(run, title, parent)
    for other in runs:
        if other is not run and not running(other):
            index.supersede(other, title, run.info.run_id)
    if held is None:
        index.tags(run.info.run_id, {NOTE: of_round(told, here.get(depth - 1))})
        _fill(index, run, told, depth)
    else:
        _noted(index, run, told, depth)
    return held is None or back


def _holds(run: Any, told: Told) -> bool:
    """Tell whether all was sent to a run, and its figures are still there and the same."""
    sent = run.data.tags.get(FINGERPRINT) == told.mark
    return sent and told.values.keys() <= run.data.metrics.keys() and _same(run, told)


def _same(run: Any, told: Told) -> bool:
    """Tell whether a run has no parameter, figure or dataset that the files do not have."""
    figures = {n: v for n, v in run.data.metrics.items() if not n.startswith(NO_FIGURES)}
    inputs = {i.dataset.name: i.dataset.digest for i in run.inputs.dataset_inputs}
    known = {name: _digest(md5) for name, (_, md5) in told.datasets.items()}
    return (
        all(told.params.get(name) == value for name, value in run.data.params.items())
        and all(told.values.get(name) == value for name, value in figures.items())
        and all(known.get(name, digest) == digest for name, digest in inputs.items())
    )


def _agrees(index: Index, run: Any, told: Told) -> bool:
    """Tell whether all that a run holds is what the files say; it may lack some of it."""
    curve = index.history(run, CURVE) if _same(run, told) else None
    return curve is not None and (
        len(dict(curve)) == len(curve) and all(told.curve.get(k) == v for k, v in curve)
    )


def _fill(index: Index, run: Any, told: Told, depth: int) -> None:
    """Send what a run lacks of a round."""
    client, run_id = index.client, run.info.run_id
    sent = dict(index.history(run, CURVE))
    index.params(run_id, {n: v for n, v in told.params.items() if n not in run.data.params})
    model = models.model_of(index, run, told)
    _metrics(index, run, {**told.values, **told.costs}, depth, model)
    index.points(run_id, {at: v for at, v in told.curve.items() if at not in sent})
    experiment = os.environ.get("DVC_EXP_NAME")
    named = {"dvc.experiment": experiment} if experiment else {}
    index.tags(run_id, {**told.tags, **told.ran, **named})
    _inputs(index, run, told)
    for path in told.files:
        client.log_artifact(run_id, str(path), "feedback" if path.parent.name == told.id else None)
    _table(index, run, told.table)
    _traces(index, run_id, told)
    models.register(index, run, told, model)
    index.tags(run_id, {FINGERPRINT: told.mark})  # last: its presence means that all was sent
    index.finish(run_id)


def _metrics(
    index: Index, run: Any, values: Mapping[str, float], depth: int, model: str = ""
) -> None:
    """Send values that a run does not have."""
    had = run.data.metrics
    new = {(n, depth): v for n, v in values.items() if had.get(n) != v}
    index.points(run.info.run_id, new, model)


def _noted(index: Index, run: Any, told: Told, depth: int) -> None:
    """Send what was not known of a round when it was sent, perhaps by a clone."""
    _metrics(index, run, told.costs, depth)
    tags = {n: v for n, v in told.tags.items() if n != "git.commit"} | dict(told.ran)
    if lacking := {n: v for n, v in tags.items() if run.data.tags.get(n) != v}:
        index.tags(run.info.run_id, lacking)
    _inputs(index, run, told)
    if LINKED not in run.data.tags:
        _asked(index, run.info.run_id, told)


def _traces(index: Index, run: str, told: Told) -> None:
    """Show some of the round's episodes, turn by turn, with what Alice says of them."""
    judge = told.params.get("alice.model", "") if told.params.get("alice.judge") == "model" else ""
    at = run, index.experiment
    shown = [trace(e, v, *at, judge, round=told.id) for e, v in examples(told.id, TRACES)]
    if shown:
        index.traces(run, shown)
    _asked(index, run, told)


def _asked(index: Index, run: str, told: Told) -> None:
    """Show what Alice asked a language model, and with which versions of her prompts."""
    if not told.asked:
        return
    at, model = (run, index.experiment), told.params.get("alice.model", "")
    own = explored(told.id, EXPLORED) if "explore" in told.asked else []
    shown = [trace(e, None, *at, "", round=told.id, verb="explore") for e in own]
    linked = registered(index, told.asked)
    for name, each in told.asked.items():
        tags = {"round": told.id, LINKED: linked[name]}
        shown += [call(VERBS.get(name, name), c, *at, model, **tags) for c in each.calls]
    if shown:
        index.traces(run, shown)
    every = [link for links in linked.values() for link in json.loads(links)]
    index.tags(run, {LINKED: json.dumps(every)})  # last: then all was sent


def _digest(md5: str) -> str:
    return md5[:8]


def _inputs(index: Index, run: Any, told: Told) -> None:
    """Name the datasets of the round that the run lacks, by DVC path and hash."""
    known = {i.dataset.name for i in run.inputs.dataset_inputs}
    new = {name: at for name, at in told.datasets.items() if name not in known}
    if not new:
        return
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource
    from mlflow.entities import DatasetInput, InputTag

    found = []
    for name, (path, md5) in new.items():
        dataset = MetaDataset(LocalArtifactDatasetSource(path), name=name, digest=_digest(md5))
        tags = [InputTag("mlflow.data.context", name.partition("/")[0]), InputTag("dvc.md5", md5)]
        found.append(DatasetInput(dataset._to_mlflow_entity(), tags))
    index.client.log_inputs(run.info.run_id, found)


def _table(index: Index, run: Any, columns: Mapping[str, Sequence[Any]]) -> None:
    """Show Alice's verdict on each skill as a table; a later one takes its place."""
    if not columns:
        return
    if "mlflow.loggedArtifacts" not in run.data.tags:
        index.client.log_table(run.info.run_id, dict(columns), TABLE)
        return
    rows = [list(row) for row in zip(*columns.values(), strict=True)]  # log_table would append
    index.client.log_dict(run.info.run_id, {"columns": list(columns), "data": rows}, TABLE)
