"""MLflow says what the files say, and nothing else, whatever was changed, damaged or killed."""

import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from evaluated import lay_out, note, write

from alicebob.cli import main
from alicebob.experiment import made, plan
from alicebob.experiment.edit import add
from alicebob.experiment.work import Folder
from alicebob.tracking import ended, live, sync
from alicebob.tracking.reach import _make

ROOT = Path(__file__).parent.parent
CURVE = [
    {"step": 2, "loss": 1.5, "epoch": 0.5},
    {"step": 2, "eval_loss": 1.4, "epoch": 0.5},
    {"step": 4, "loss": 0.5, "epoch": 1.0},
    {"step": 4, "eval_loss": 0.6, "epoch": 1.0},
]


@pytest.fixture
def use(empty, tmp_path, monkeypatch):
    """Use another index, an empty one."""

    def used(name):
        shutil.copyfile(empty, tmp_path / name)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/{name}")

    return used


@pytest.fixture
def project(tmp_path, monkeypatch, use):
    """A repository after two rounds: parameters, metrics, a curve and feedback."""
    monkeypatch.chdir(tmp_path)
    use("mlflow.db")
    lay_out({"r000": 0.1, "r001": 0.4})
    trained("r001")
    told("r001", "He cannot eat a cow.")
    return tmp_path


def trained(round_id, curve=CURVE):
    folder = Path("models/bob") / round_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "training.json").write_text(json.dumps({"curve": curve}))


def told(round_id, prose, tried=4):
    folder = Path("data/feedback") / round_id
    folder.mkdir(parents=True, exist_ok=True)
    row = {"tried": tried, "succeeded": 1, "failure": "died", "evidence": ["e1"]}
    feedback = {"skills": {"eat_cow": row}, "explore": {"eat_cow": 1.0}}
    feedback |= {"round": round_id, "prose": prose}
    (folder / "feedback.json").write_text(json.dumps(feedback))
    (folder / "feedback.md").write_text(f"# Feedback\n\n{prose}\n")


def change(old, new):
    text = Path("params.yaml").read_text()
    assert old in text
    Path("params.yaml").write_text(text.replace(old, new, 1))


def again(values, changed=()):
    """Let rounds be run again with params.yaml as it is."""
    write(values)
    note(changed=changed)


def client():
    from mlflow import MlflowClient

    return MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))


def runs():
    """Return the runs by round, and those of branches as "lineage HEAD"."""
    found = client().search_runs([client().get_experiment_by_name("alicebob").experiment_id])
    names = {}
    for run in found:
        tags = run.data.tags
        head = tags.get("alicebob.branch", "").removeprefix("r000")
        name = tags.get("alicebob.round") or f"lineage {head}".strip()
        marked = "alicebob.superseded" in tags
        assert run.info.run_name.endswith(" (superseded)") == marked
        names.setdefault(name + " (superseded)" * marked, []).append(run)
    return names


def only(name):
    (run,) = runs()[name]
    return run


def history(run, name):
    return [(m.step, m.value) for m in client().get_metric_history(run.info.run_id, name)]


def test_sync_shows_rounds_side_by_side_and_doubles_nothing(project):
    assert sync() == 2
    assert sync() == 0
    assert sorted(runs()) == ["lineage", "r000", "r001"]
    lineage, first = only("lineage"), only("r001")
    assert first.data.tags["mlflow.parentRunId"] == lineage.info.run_id
    assert re.fullmatch("[0-9a-f]{32}", first.data.tags["dvc.train.bob"])
    assert first.data.metrics["bob/skills"] == 0.4
    assert first.data.params["train.init"] == "base"
    assert first.data.params["method"] == "exif"
    assert {lineage.info.status, first.info.status} == {"FINISHED"}
    assert history(lineage, "bob/progress") == [(0, 0.1), (1, 0.4)]
    assert history(first, "training/loss") == [(2, 1.5), (4, 0.5)]
    assert history(first, "training/eval_loss") == [(2, 1.4), (4, 0.6)]
    files = {f.path for f in client().list_artifacts(first.info.run_id, "feedback")}
    assert {"feedback/feedback.md", "feedback/skills.json"} <= files
    inputs = [i.dataset.name for i in first.inputs.dataset_inputs]
    assert sorted(inputs) == ["episodes/r001", "evaluations/r001", "skills/r001"]


def test_the_first_page_says_whether_bob_got_better_and_for_what(project):
    Path("logs").mkdir()
    Path("logs/r001-train.json").write_text(json.dumps({"seconds": 90.0}))
    sync()
    names = [only(name).info.run_name for name in ("r000", "r001")]
    assert names == ["r000 · untrained · crafter", "r001 · exif · crafter"]
    lineage = only("lineage")
    assert lineage.info.run_name.startswith("crafter · skills 0.1 → 0.4 · lineage ")
    note = lineage.data.tags["mlflow.note.content"]
    assert note.startswith("**skills 0.1 → 0.4** from r000 to r001, on the test worlds of crafter.")
    assert "| r001 | exif | `████░░░░░░ 0.4` | 0.4 | 0.4 | 0.4 | 0.4 | 1.5 | 70 |" in note
    assert "test.skills.success | 0.4 [0.3, 0.5]" in only("r001").data.tags["mlflow.note.content"]
    assert not [name for name in only("r001").data.metrics if name.endswith((".low", ".high"))]


def test_a_view_of_the_rounds_shows_those_that_hold_and_figures_that_there_are(project):
    sync()
    change("r001: {prev: r000}", "r001: {prev: r000, train: {epochs: 2}}")
    again({"r001": 0.7}, ["models/bob/r001", "data/evaluations/r001"])
    sync()
    tags = client().get_experiment_by_name("alicebob").tags
    view = json.loads(tags["mlflow.sharedViewState.rounds"])
    found = client().search_runs(
        [only("r000").info.experiment_id], view["searchFilter"], order_by=[view["orderByKey"]]
    )
    assert [run.info.run_name[:4] for run in found] == ["r000", "r001"]
    assert found[1].data.metrics["bob/skills"] == 0.7
    columns = {name.removeprefix("metrics.").strip("`") for name in view["selectedColumns"]}
    assert {"bob/skills", "bob/score", "cost/tokens"} <= columns <= {*found[1].data.metrics}
    assert "viewStateShareKey=rounds" in tags["mlflow.note.content"]


def test_names_of_others_making_stay_text_in_a_description():
    from alicebob.tracking.naming import view
    from alicebob.tracking.notes import of_lineage
    from alicebob.tracking.reading import Told

    params = {"env.spec": "<img src=x onerror=alert(1)> | [a](http://b)\n# c", "method": "exif"}
    empty = {"costs": {}, "curve": {}, "datasets": {}, "files": [], "table": {}}
    tags = {"git.commit": "none"}
    told = Told(id="r000", params=params, figures={}, values={}, tags=tags, **empty)
    note = of_lineage([told] * 99)
    assert "<img" not in note
    assert "http://" not in note
    assert "\n# c" not in note
    assert len(note) < 5000
    assert view(set(), "x")["selectedColumns"] == []


def test_the_end_of_a_rounds_last_stage_brings_it_before_dvc_has_noted_it(project):
    lock = json.loads(Path("dvc.lock").read_text())
    del lock["stages"]["feedback@r001"]
    Path("dvc.lock").write_text(json.dumps(lock))
    for stage in ("explore", "skills", "train", "evaluate"):
        ended(stage, "r001")
    assert client().get_experiment_by_name("alicebob") is None
    ended("feedback", "r001")
    first = only("r001")
    assert first.info.status == "FINISHED"
    assert len(first.inputs.dataset_inputs) == 3
    assert only("r000").info.status == "FINISHED"
    assert "dvc.feedback.feedback" not in first.data.tags
    note()
    assert sync() == 0  # nothing of it has changed, and a clone need not send it again
    assert "dvc.feedback.feedback" in only("r001").data.tags
    assert sorted(runs()) == ["lineage", "r000", "r001"]


def test_no_trouble_with_the_index_stops_a_stage(project, capfd, monkeypatch):
    Path("metrics/r000.json").write_text("torn")
    ended("feedback", "r001")
    told = capfd.readouterr().err
    assert "Warning: MLflow is not up to date: metrics/r000.json is damaged" in told
    assert only("r001").info.status == "FINISHED"
    monkeypatch.setattr("alicebob.tracking.mirror.Lock", lambda *stages: 1 / 0)
    ended("feedback", "r001")
    assert "Warning: MLflow is not up to date: division by zero" in capfd.readouterr().err


def test_what_was_run_with_other_parameters_is_another_run_and_comes_back(project):
    sync()
    first = only("r001").info.run_id
    change("r001: {prev: r000}", "r001: {prev: r000, train: {epochs: 2}}")
    again({"r001": 0.7}, ["models/bob/r001", "data/evaluations/r001"])
    trained("r001", [{"step": 2, "loss": 1.0}])
    assert sync() == 1
    new, old = only("r001"), only("r001 (superseded)")
    assert old.info.run_id == first
    assert old.data.tags["alicebob.superseded"] == new.info.run_id
    assert (old.data.params["train.epochs"], new.data.params["train.epochs"]) == ("1.0", "2.0")
    assert not [tag for tag in new.data.tags if tag.startswith("param")]
    assert history(new, "training/loss") == [(2, 1.0)]
    assert history(only("lineage"), "bob/skills") == [(0, 0.1), (1, 0.7)]
    change(", train: {epochs: 2}", "")
    again({"r001": 0.4})
    trained("r001")
    assert sync() == 1
    assert only("r001").info.run_id == first
    assert only("r001 (superseded)").info.run_id == new.info.run_id
    assert "alicebob.superseded" not in only("r001").data.tags
    assert history(only("r001"), "training/loss") == [(2, 1.5), (4, 0.5)]
    assert history(only("lineage"), "bob/skills") == [(0, 0.1), (1, 0.4)]
    assert only("r001").data.tags["mlflow.parentRunId"] == only("lineage").info.run_id
    gone = only("lineage (superseded)").data.tags
    assert gone["mlflow.parentRunId"] == only("lineage").info.run_id
    assert sync() == 0


def test_other_results_of_the_same_parameters_are_another_run_too(project):
    """As after a change of the code: no run holds two values at one step."""
    sync()
    again({"r001": 0.5}, ["data/evaluations/r001"])
    assert sync() == 1
    assert history(only("r001"), "bob/skills") == [(1, 0.5)]
    assert history(only("r001 (superseded)"), "bob/skills") == [(1, 0.4)]
    assert only("r000")


def test_parameters_are_those_of_the_lock_whatever_the_file_says_now(project, capfd, use):
    change("  learning_rate: 2.0e-3", "  learning_rate: 9.0e-3")
    use("one.db")
    assert sync() == 2
    assert only("r001").data.params["train.learning_rate"] == "0.002"
    # Planned anew and not yet run: what the figures were made with is nowhere any more.
    plan.write()
    assert sync() == 0
    assert "Note: r001 is left as it was: data/plan/r001/train.json" in capfd.readouterr().err
    assert only("r001").data.params["train.learning_rate"] == "0.002"
    use("two.db")
    assert sync() == 1
    assert sorted(runs()) == ["lineage", "r000"]


def test_a_round_that_is_being_run_again_is_left_as_it_was(project, capfd):
    sync()
    note(changed=["models/bob/r001"], stages=["train@r001"])
    assert sync() == 0
    assert "Note: r001 is left as it was" in capfd.readouterr().err
    assert history(only("lineage"), "bob/skills") == [(0, 0.1), (1, 0.4)]


def test_another_lineage_is_another_chart_and_gets_none_of_the_old_figures(project):
    sync()
    change("seed: 1 ", "seed: 2 ")
    write({"r000": 0.2})  # r001 was not run yet
    note(stages=["base", "start", "baseline"])
    sync()
    lineages = runs()["lineage"]
    assert sorted(len(history(run, "bob/skills")) for run in lineages) == [1, 2]
    assert len(runs()["r001"]) == 1


def test_each_branch_has_a_series_of_its_own(project):
    add("r001b", "r000", {"train.epochs": 2})
    again({"r001b": 0.9})
    sync()
    assert history(only("lineage"), "bob/skills") == [(0, 0.1), (1, 0.4)]
    branch = only("lineage r001b")
    assert history(branch, "bob/skills") == [(0, 0.1), (1, 0.9)]
    assert only("r001b").data.tags["mlflow.parentRunId"] == branch.info.run_id
    add("r002b", "r001b", {})
    again({"r002b": 1.0})
    sync()
    assert history(only("lineage r001b"), "bob/skills") == [(0, 0.1), (1, 0.9), (2, 1.0)]
    assert history(only("lineage"), "bob/skills") == [(0, 0.1), (1, 0.4)]


def test_only_what_changed_is_sent_again_and_a_lost_index_is_rebuilt(project, use):
    sync()
    told("r001", "He can eat a cow now.", tried=8)
    assert sync() == 1
    first = only("r001")
    assert history(first, "bob/skills") == [(1, 0.4)]
    table = client().load_table(first.info.experiment_id, "feedback/skills.json")
    assert list(table["tried"]) == [8]
    use("another.db")
    assert sync() == 2
    assert sorted(runs()) == ["lineage", "r000", "r001"]


def test_what_a_round_took_is_not_that_of_one_whose_id_goes_on_with_a_dash(project):
    Path("logs").mkdir()
    for name, seconds in (("r001-train", 7.0), ("r001-b-train", 9.0)):
        Path(f"logs/{name}.json").write_text(json.dumps({"seconds": seconds}))
    sync()
    costs = {n: v for n, v in only("r001").data.metrics.items() if n.startswith("machine/")}
    assert costs == {"machine/train.seconds": 7.0, "machine/minutes": 0.12}


def test_a_clone_without_logs_is_up_to_date_and_takes_no_costs_away(project, monkeypatch):
    Path("logs").mkdir()
    log = Path("logs/r001-train.json")
    log.write_text(json.dumps({"seconds": 7.0}))
    sync()
    for here, seconds in ((None, 7.0), (9.0, 9.0)):
        log.write_text(json.dumps({"seconds": here})) if here else log.unlink()
        assert sync() == 0
        assert only("r001").data.metrics["machine/train.seconds"] == seconds
    monkeypatch.setattr(made, "versions", lambda records: {"torch": "another"})
    assert sync() == 0


ODD = ("took a step (any)", "a/b", "a_b", "a//b", "..", "ö 漢", "x" * 400, "x" * 401, "", "a\nb")


def test_names_that_mlflow_refuses_are_cleaned_and_stay_apart(project):
    write({"r000": 0.1, "r001": 0.4}, **dict(zip(ODD, [n / 20 for n in range(10)], strict=True)))
    note()
    assert sync() == 2
    found = only("r001").data.metrics
    shares = sorted(v for n, v in found.items() if n.startswith("by event/"))
    assert shares == [n / 20 for n in range(10)]
    assert found["by event/a_b"] == 0.1
    assert re.search(r"by event/took a step _any_-[0-9a-f]{6}\b", " ".join(found))


DAMAGES = {
    "metrics/r001.json": "torn",
    "data/feedback/r001/feedback.json": "[1]",
    "data/plan/r001/train.json": "{",
    "models/bob/r001/training.json": '{"curve": [{"step": "two"}]}',
    "logs/r001-train.json": "",
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_named_and_keeps_no_other_round_back(project, name):
    again({"r002": 0.6})
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(DAMAGES[name])
    result = CliRunner().invoke(main, ["sync"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {name} ")
    assert "MLflow" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(runs()) == ["lineage", "r000", "r002"]
    assert history(only("lineage"), "bob/skills") == [(0, 0.1), (2, 0.6)]


def test_two_damaged_files_are_both_named(project):
    for round_id in ("r000", "r001"):
        Path(f"metrics/{round_id}.json").write_text("torn")
    result = CliRunner().invoke(main, ["sync"])
    assert (result.exit_code, result.stderr.count("is damaged")) == (1, 2)
    Path("dvc.lock").write_text("stages: [")
    result = CliRunner().invoke(main, ["sync"])
    assert (result.exit_code, "Error: dvc.lock is damaged" in result.stderr) == (1, True)


def test_what_mlflow_refuses_of_one_round_keeps_no_other_back(project, monkeypatch):
    import mlflow
    from mlflow.exceptions import MlflowException

    refusal = MlflowException.invalid_parameter_value("no such thing")
    log = mlflow.MlflowClient.log_inputs

    def refuse(self, run_id, *given, **named):
        if self.get_run(run_id).data.tags["alicebob.round"] == "r000":
            raise refusal
        return log(self, run_id, *given, **named)

    monkeypatch.setattr(mlflow.MlflowClient, "log_inputs", refuse)
    result = CliRunner().invoke(main, ["sync"])
    assert result.exit_code == 1
    told, then = "MLflow refused r000 (MlflowException: no such thing).", "makes it anew."
    assert result.stderr.startswith(f"Error: {told} If ")
    assert result.stderr.endswith(f"mlflow.db is damaged, delete it; 'alicebob sync' {then}\n")
    assert "alicebob.fingerprint" in only("r001").data.tags
    assert "alicebob.fingerprint" not in only("r000").data.tags
    monkeypatch.undo()


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:9", "postgresql://127.0.0.1:9/mlflow", "sqlite:///metrics", "what://"]
)
def test_work_goes_on_without_mlflow(project, monkeypatch, capfd, uri):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    begun = time.monotonic()
    assert sync() is None
    assert time.monotonic() - begun < 20  # MLflow alone would ask a database for nearly 2 minutes
    with live("train", "r001") as report:
        report({"loss": 1.0}, 1)
    told = capfd.readouterr().err
    assert "MLflow was not reached" in told
    assert "alicebob sync" in told
    assert "Traceback" not in told


def test_a_password_in_the_address_is_not_printed(project, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hush-hush@127.0.0.1:9")
    sync()
    told = capfd.readouterr().err
    assert "MLflow was not reached" in told
    assert "hush-hush" not in told


@pytest.mark.parametrize(
    ("status", "said"),
    [(401, "MLflow knows no such user or password"), (403, "MLflow lets this user")],
)
def test_who_is_not_let_in_is_told_so_and_not_to_wait(project, monkeypatch, status, said):
    class Denying(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(status)

    with HTTPServer(("127.0.0.1", 0), Denying) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        result = CliRunner().invoke(main, ["sync"])
        server.shutdown()
    assert result.exit_code == 1
    (told,) = [line for line in result.stderr.splitlines() if line.startswith("Warning")]
    assert said in told
    assert told.endswith("Run 'alicebob sync' when that is mended.")


def test_a_slow_index_does_not_hold_a_stage_up(project, capfd):
    assert sync(patience=-1.0) is None
    assert "seconds were not enough" in capfd.readouterr().err


def test_an_index_that_never_answers_does_not_hold_training_up(project, capfd, monkeypatch):
    monkeypatch.setattr("alicebob.tracking.curves.IN_TIME", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        with live("train", "r001") as report:
            for entry in CURVE:
                report(entry, entry["step"])
        assert "MLflow is slow; 'alicebob sync' sends the rest" in capfd.readouterr().err


def test_a_database_is_made_whole_and_one_that_another_process_made_meanwhile_stays(tmp_path):
    for there in (False, True):
        path = tmp_path / f"{there}.db"
        if there:
            path.write_text("another's")
        _make(path)
        assert list(tmp_path.glob("*.part")) == []
    assert path.read_text() == "another's"
    with closing(sqlite3.connect(tmp_path / "False.db")) as database:
        assert database.execute("SELECT name FROM experiments").fetchall() == [("Default",)]


def test_a_database_whose_damage_shows_late_is_named_too(project, monkeypatch, capfd):
    from mlflow.exceptions import MlflowException

    def reads(*_):
        raise MlflowException("(sqlite3.DatabaseError) database disk image is malformed [SQL: x]")

    monkeypatch.setattr("alicebob.tracking.mirror._send", reads)
    assert sync() is None
    told = "mlflow.db is damaged (database disk image is malformed); delete it, and 'alicebob sync'"
    assert told in capfd.readouterr().err


@pytest.mark.parametrize("kept", [0.9, 0.5])
def test_a_damaged_database_is_named_and_made_anew_when_it_was_deleted(project, capfd, kept):
    sync()
    data = Path("mlflow.db").read_bytes()
    Path("mlflow.db").write_bytes(data[: int(len(data) * kept)])
    assert sync() is None
    told = capfd.readouterr().err
    assert "mlflow.db is damaged (" in told
    assert told.endswith("); delete it, and 'alicebob sync' makes it anew from the files.\n")
    Path("mlflow.db").unlink()
    again = [sys.executable, "-m", "alicebob", "sync"]  # MLflow here still has the other one open
    done = subprocess.run(again, capture_output=True, text=True, check=True)
    assert done.stderr == "MLflow: 2 rounds brought up to date.\n"


def test_a_figure_that_was_changed_in_the_database_is_not_taken_for_the_rounds(project):
    sync()
    with closing(sqlite3.connect("mlflow.db")) as database, database:
        database.execute(
            "UPDATE latest_metrics SET value = 0.9 WHERE key = 'bob/skills' AND step=1"
        )
    assert sync() == 1
    assert only("r001").data.metrics["bob/skills"] == 0.4
    assert only("r001 (superseded)").data.metrics["bob/skills"] == 0.9


def test_one_sync_waits_for_another(project, capfd, monkeypatch):
    monkeypatch.setattr("alicebob.tracking.mirror.IN_TIME", 0.1)
    with Folder("mlflow", "sync").held():
        assert sync() is None
    assert f"Process {os.getpid()} is at work in .work/mlflow/sync" in capfd.readouterr().err
    assert sync() == 2


def test_curves_sent_live_are_not_sent_twice(project):
    for entry in CURVE[:2]:
        with live("train", "r001") as report:  # twice: it was killed, and goes on
            report(entry, entry["step"])
    assert only("r001").info.status == "RUNNING"
    with live("train", "r001") as report:
        report(CURVE[0], 2)
    sync()
    first = only("r001")
    assert first.info.status == "FINISHED"
    assert history(first, "training/loss") == [(2, 1.5), (4, 0.5)]
    assert history(first, "training/eval_loss") == [(2, 1.4), (4, 0.6)]
    assert sync() == 0


def test_a_training_that_begins_anew_has_a_run_of_its_own(project):
    sync()
    change("r001: {prev: r000}", "r001: {prev: r000, train: {epochs: 2}}")
    plan.write()
    with live("train", "r001") as report:
        report({"loss": 9.0}, 2)
    first, new = sorted(runs()["r001"], key=lambda run: run.info.status)
    assert (first.info.status, new.info.status) == ("FINISHED", "RUNNING")
    assert history(first, "training/loss") == [(2, 1.5), (4, 0.5)]
    assert new.data.params["train.epochs"] == "2.0"
    sync()  # while it runs: neither is marked
    assert len(runs()["r001"]) == 2
    # It was killed and the change taken back: what it left is no round's.
    end_process_of(new)
    change(", train: {epochs: 2}", "")
    again({})
    sync()
    assert only("r001").info.run_id == first.info.run_id
    assert only("r001 (superseded)").info.status == "KILLED"


def end_process_of(run):
    """Let the process that sent to a run be one that is not there any more."""
    host, _, _ = run.data.tags["alicebob.process"].rpartition(":")
    client().set_tag(run.info.run_id, "alicebob.process", f"{host}:{2**22 + 1}")


def test_a_curve_that_is_not_the_files_is_superseded(project):
    with live("train", "r001") as report:
        report({"loss": 77.0}, 2)
    end_process_of(only("r001"))
    sync()
    assert history(only("r001"), "training/loss") == [(2, 1.5), (4, 0.5)]
    assert history(only("r001 (superseded)"), "training/loss") == [(2, 77.0)]


@pytest.fixture
def git(project, monkeypatch):
    made.commit.cache_clear()
    yield lambda *words: subprocess.run(
        ["git", "-c", "user.name=A", "-c", "user.email=a@b", *words],
        check=True,
        capture_output=True,
    )
    made.commit.cache_clear()


def test_the_commit_of_another_users_checkout_is_found(git, monkeypatch):
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "Begin")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    refused = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    assert "dubious ownership" in refused.stderr
    sync()
    assert re.fullmatch("[0-9a-f]{40}", only("r001").data.tags["git.commit"])


def test_where_there_is_no_commit_it_is_said_why(git, monkeypatch):
    sync()
    assert "not a git repository" in only("r001").data.tags["git.commit"]


@pytest.mark.parametrize("repository", [True, False])
def test_make_rounds_tells_dvc_of_no_git_only_where_there_is_none(
    tmp_path, monkeypatch, repository
):
    """Also in another user's checkout, which git does not open without being told to."""
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", ".venv/.ready"):
        (tmp_path / name).touch()
    for name in ("dvc", "alicebob"):
        (tmp_path / f".venv/bin/{name}").write_text(f'#!/bin/sh\necho {name} "$@" >> log\n')
        (tmp_path / f".venv/bin/{name}").chmod(0o755)
    if repository:
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    subprocess.run(["make", "-s", "rounds"], cwd=tmp_path, check=True)
    said = (tmp_path / "log").read_text().splitlines()
    no_git = ["dvc config --local core.no_scm true"]
    assert said == [*([] if repository else no_git), *RUNS]


RUNS = ["dvc repro", "alicebob sync", "alicebob report", "alicebob round list"]


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_artifacts_lie_where_the_project_lies(tmp_path, monkeypatch, how):
    first, second = tmp_path / "erste Stätte 50%", tmp_path / "zweite_Stätte 50%"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def bring(folder, prose):
        monkeypatch.chdir(folder)
        told("r001", prose)
        done = subprocess.run([sys.executable, "-m", "alicebob", "sync"], capture_output=True)
        assert done.returncode == 0, done.stderr
        (kept,) = folder.rglob("mlartifacts/*/artifacts/feedback/feedback.md")
        assert prose in kept.read_text()
        with closing(sqlite3.connect(folder / "mlflow.db")) as database:
            places = [place for (place,) in database.execute("SELECT artifact_uri FROM runs")]
        assert len(places) == 3
        assert all(place.startswith((folder / "mlartifacts").as_uri() + "/") for place in places)

    first.mkdir()
    monkeypatch.chdir(first)
    lay_out({"r000": 0.1, "r001": 0.4})
    bring(first, "Here.")
    (shutil.move if how == "moved" else shutil.copytree)(first, second)
    bring(second, "There.")
    assert first.exists() == (how == "copied")
    if how == "copied":
        assert "Here." in next(first.rglob("mlartifacts/**/feedback.md")).read_text()
        bring(first, "Here again.")


def test_a_round_is_added_with_its_changes_and_comments_stay(project):
    before = Path("params.yaml").read_text()
    assert add(None, None, {"train.epochs": 2}) == "r004"
    assert add("r002b", "r001", {"method": "explore_first"}) == "r002b"
    text = Path("params.yaml").read_text()
    assert "  r004: {prev: r003, train: {epochs: 2}}\n" in text
    assert "  r002b: {prev: r001, method: explore_first}\n" in text
    kept = [line.partition("#")[2].strip() for line in before.splitlines() if "#" in line]
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
    before = Path("params.yaml").read_text()
    result = CliRunner().invoke(main, ["round", "add", *words])
    assert (result.exit_code, message in result.output) == (code, True), result.output
    assert Path("params.yaml").read_text() == before
