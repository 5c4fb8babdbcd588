import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from alicebob.cli import main
from alicebob.experiment import plan
from alicebob.experiment.diff import difference
from alicebob.experiment.edit import add
from alicebob.experiment.tables import table, write_plots
from alicebob.tracking import live, sync

PARAMS = (Path(__file__).parent.parent / "params.yaml").read_text()


def number(value):
    return {"mean": value, "low": value - 0.1, "high": value + 0.1, "n": 10}


def metrics(round_id, value):
    play = {name: number(value) for name in ("progress", "score", "reward", "achievements")}
    split = {
        "skills": {"success": number(value), "by_skill": {"eat_cow": number(value)}},
        "open_play": play,
    }
    data = {"episodes": 5, "skills": 7, "valid_share": 1.0}
    return {"round": round_id, "test": split, "validation": split, "data": data}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository after two rounds: parameters, metrics, a curve and feedback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "metrics").mkdir()
    for round_id, value in (("r000", 0.1), ("r001", 0.4)):
        text = json.dumps(metrics(round_id, value))
        (tmp_path / "metrics" / f"{round_id}.json").write_text(text)
    bob, told = tmp_path / "models/bob/r001", tmp_path / "data/feedback/r001"
    bob.mkdir(parents=True)
    told.mkdir(parents=True)
    curve = [{"step": 2, "loss": 1.5}, {"step": 4, "loss": 0.5}]
    (bob / "training.json").write_text(json.dumps({"curve": curve}))
    (told / "feedback.md").write_text("# Feedback\n\nHe cannot eat a cow.\n")
    row = {"tried": 4, "succeeded": 1, "failure": "died", "evidence": ["e1"]}
    feedback = {"skills": {"eat_cow": row}, "explore": {"eat_cow": 1.0}}
    (told / "feedback.json").write_text(json.dumps(feedback))
    lock = {"stages": {"train@r001": {"outs": [{"path": "models/bob/r001", "md5": "abc.dir"}]}}}
    (tmp_path / "dvc.lock").write_text(json.dumps(lock))
    plan.write()
    return tmp_path


def runs(project):
    from mlflow import MlflowClient

    client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    found = client.search_runs([client.get_experiment_by_name("alicebob").experiment_id])
    return client, {run.info.run_name: run for run in found}


def test_sync_shows_rounds_side_by_side_and_doubles_nothing(project):
    assert sync() == 2
    assert sync() == 0
    client, found = runs(project)
    parent = next(run for name, run in found.items() if name.startswith("lineage"))
    assert len(found) == 3
    first = found["r001"]
    assert first.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert first.data.tags["dvc.train.bob"] == "abc.dir"
    assert first.data.metrics["test.skills.success"] == 0.4
    assert first.data.params["train.init"] == "base"
    history = client.get_metric_history(parent.info.run_id, "test.open_play.progress")
    assert [(m.step, m.value) for m in history] == [(0, 0.1), (1, 0.4)]
    curve = client.get_metric_history(first.info.run_id, "curve.loss")
    assert [(m.step, m.value) for m in curve] == [(2, 1.5), (4, 0.5)]
    files = {f.path for f in client.list_artifacts(first.info.run_id, "feedback")}
    assert {"feedback/feedback.md", "feedback/skills.json"} <= files


def test_only_what_changed_is_sent_again_and_a_lost_index_is_rebuilt(project, monkeypatch):
    sync()
    changed = metrics("r001", 0.4)
    changed["test"]["skills"]["success"]["mean"] = 0.6
    (project / "metrics/r001.json").write_text(json.dumps(changed))
    outs = [{"path": "data/skills/r001", "md5": "0123456789.dir"}]
    lock = {"stages": {"skills@r001": {"outs": outs}}}
    (project / "dvc.lock").write_text(json.dumps(lock))
    assert sync() == 1
    client, found = runs(project)
    for run in (found["r001"], found[next(n for n in found if n.startswith("lineage"))]):
        histories = [
            [m.value for m in client.get_metric_history(run.info.run_id, name) if m.step == 1]
            for name in ("test.skills.success", "test.open_play.progress")
        ]
        assert histories == [[0.4, 0.6], [0.4]]
    inputs = [i.dataset for i in found["r001"].inputs.dataset_inputs]
    assert [(i.name, i.digest) for i in inputs] == [("skills/r001", "01234567")]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/another.db")
    assert sync() == 2
    assert len(runs(project)[1]) == 3


def test_what_a_round_took_is_not_that_of_one_whose_id_goes_on_with_a_dash(project):
    (project / "logs").mkdir()
    for name, seconds in (("r001-train", 7.0), ("r001-b-train", 9.0)):
        (project / f"logs/{name}.json").write_text(json.dumps({"seconds": seconds}))
    sync()
    costs = {n: v for n, v in runs(project)[1]["r001"].data.metrics.items() if "cost" in n}
    assert costs == {"cost.train.seconds": 7.0}


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:9", "postgresql://127.0.0.1:9/mlflow", "sqlite:///metrics", "what://"]
)
def test_work_goes_on_without_mlflow(project, monkeypatch, capfd, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    begun = time.monotonic()
    assert sync() == 0
    assert time.monotonic() - begun < 20  # MLflow alone would ask a database for nearly 2 minutes
    with live("train", "r001") as report:
        report({"loss": 1.0}, 1)
    told = capfd.readouterr().err
    assert "MLflow was not reached" in told
    assert "alicebob sync" in told
    assert "Traceback" not in told


def test_curves_sent_live_are_not_sent_twice(project):
    with live("train", "r001") as report:
        report({"loss": 1.5, "step": 2}, 2)
    sync()
    client, found = runs(project)
    curve = client.get_metric_history(found["r001"].info.run_id, "curve.loss")
    assert [(m.step, m.value) for m in curve] == [(2, 1.5), (4, 0.5)]


def test_a_round_is_added_with_its_changes_and_comments_stay(project):
    assert add(None, None, {"train.epochs": 2}) == "r004"
    assert add("r002b", "r001", {"method": "explore_first"}) == "r002b"
    text = (project / "params.yaml").read_text()
    assert "  r004: {prev: r003, train: {epochs: 2}}\n" in text
    assert "  r002b: {prev: r001, method: explore_first}\n" in text
    kept = [line.partition("#")[2].strip() for line in PARAMS.splitlines() if "#" in line]
    assert [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line] == kept


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["--from", "r009"], "Unknown round 'r009'", 2),
        (["r001"], "Round r001 is in params.yaml already", 2),
        (["train.lr=1"], "Unknown parameter 'train.lr'", 2),
        (["seed=1"], "seed is shared by all rounds", 2),
        (["method=exi"], "Unknown method 'exi'. Did you mean 'exif'?", 2),
    ],
)
def test_a_wrong_round_changes_nothing(project, words, message, code):
    result = CliRunner().invoke(main, ["round", "add", *words])
    assert (result.exit_code, message in result.output) == (code, True), result.output
    assert (project / "params.yaml").read_text() == PARAMS


def test_rounds_are_listed_and_compared(project):
    assert "r001   r000    0.400 ±0.100" in table()
    add("r001b", "r000", {"train.epochs": 2})
    (project / "metrics/r001b.json").write_text(json.dumps(metrics("r001b", 0.3)))
    lines = {line.split()[0]: line.split()[1:] for line in difference("r001", "r001b").splitlines()}
    assert lines["train.epochs"] == ["1.0", "2.0"]
    assert lines["test.skills.success"] == ["0.4", "0.3"]
    write_plots()
    rows = (project / "plots/rounds.csv").read_text().splitlines()
    assert rows[0].startswith("round,skills_success,open_play_progress")
    assert [row.split(",")[:2] for row in rows[1:]] == [
        ["r000", "0.1"],
        ["r001", "0.4"],
        ["r001b", "0.3"],
    ]
