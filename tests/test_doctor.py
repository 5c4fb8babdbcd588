"""The doctor says what a crash has left, mends what is safe to mend, and nothing unasked."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from evaluated import lay_out

from alicebob.cli import main
from alicebob.experiment.work import Folder


@pytest.fixture
def project(tmp_path, monkeypatch, empty):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    shutil.copyfile(empty, "mlflow.db")
    lay_out({"r000": 0.1, "r001": 0.4})
    return tmp_path


def doctor(*words):
    done = CliRunner().invoke(main, ["doctor", *words])
    return done.exit_code, done.stdout


def test_where_nothing_is_amiss_it_says_so(project):
    assert doctor() == (0, "Nothing is amiss.\n")


def lay(name, text):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


MENDED = {
    ".dvc/tmp/rwlock": ('{"write": {"x": {"pid": 1}}}', "is damaged, and DVC refuses to run"),
    "dvc.lock": ("stages: [", "dvc.lock is damaged"),
    "metrics/.r001.json.part": ("{", "is half written"),
    ".work/explore/r001/scratch/a.jsonl.damaged": ("x", "lines that were damaged"),
}


@pytest.mark.parametrize("name", MENDED)
def test_what_is_safe_to_mend_is_told_first_and_mended_when_asked(project, name):
    text, told = MENDED[name]
    lay(name, text)
    code, said = doctor()
    assert (code, said.startswith("Found: "), told in said) == (1, True, True), said
    assert Path(name).read_text() == text
    code, said = doctor("--repair")
    assert (code, said.startswith("Mended: "), said.count("\n")) == (0, True, 1), said
    assert not Path(name).exists()
    assert doctor() == (0, "Nothing is amiss.\n")


@pytest.mark.parametrize(
    "name",
    ["metrics/r001.json", "data/feedback/r001/feedback.json", "data/feedback/r001/verdicts.json"],
)
def test_what_dvc_makes_again_is_left_to_it(project, name):
    lay(name, "torn")
    code, said = doctor("--repair")
    assert (code, "'dvc repro' makes it again" in said) == (1, True)
    assert said.startswith(f"Found: {name} ")
    assert Path(name).read_text() == "torn"


def test_finished_work_that_has_changed_is_named(project):
    folder = Folder("explore", "r001")
    folder.out.mkdir(parents=True)
    (folder.out / "a").write_text("a")
    folder.close()
    assert doctor()[0] == 0
    (folder.out / "a").write_text("b")
    code, said = doctor()
    assert (code, ".work/explore/r001 is not as it was finished" in said) == (1, True)


def test_while_somebody_is_at_work_nothing_of_theirs_is_a_leftover(project):
    lay("metrics/.r001.json.part", "{")
    lay(".dvc/tmp/rwlock", "")
    with Folder("train", "r001").held():
        code, said = doctor("--repair")
    assert (code, "is at work in .work/train/r001" in said) == (1, True)
    assert Path("metrics/.r001.json.part").exists()
    assert Path(".dvc/tmp/rwlock").exists()


def test_a_run_whose_process_was_killed_is_no_longer_shown_as_running(project):
    from mlflow import MlflowClient

    from alicebob.tracking import live

    with live("train", "r001") as report:
        report({"loss": 1.0}, 1)
    assert doctor()[0] == 0  # this process is there
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("alicebob").experiment_id
    (run,) = client.search_runs([experiment], "tags.`alicebob.round` = 'r001'")
    host, _, _ = run.data.tags["alicebob.process"].rpartition(":")
    client.set_tag(run.info.run_id, "alicebob.process", f"{host}:{2**22 + 1}")
    assert "MLflow shows r001 · exif · crafter as running" in doctor()[1]
    assert client.get_run(run.info.run_id).info.status == "RUNNING"
    assert doctor("--repair")[0] == 0
    assert client.get_run(run.info.run_id).info.status == "KILLED"


def test_a_torn_plan_of_rounds_is_one_sentence(project):
    Path("params.yaml").write_text("rounds: [")
    done = CliRunner().invoke(main, ["doctor"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert json.dumps(done.stderr).startswith('"Error: params.yaml')
