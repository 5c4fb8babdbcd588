"""Two clones share a lineage through S3, PostgreSQL and MLflow, as docs/deploy.md says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import servers
from test_docs import FENCED, ROOT

PAGE = FENCED.findall((ROOT / "docs/deploy.md").read_text(encoding="utf-8"))
ADDRESS = "git@example.org:team/rounds.git"  # of the page
PEOPLE = {"alice": "hush-hush-alice", "bob": "hush-hush-bobby"}
ROUNDS = {f"r00{n}" for n in range(5)}

pytestmark = pytest.mark.slow
if missing := servers.missing():
    told = f"no round trip: {', '.join(missing)} not installed (make .venv/.remote, postgresql)"
    pytest.skip(told, allow_module_level=True)


def block(info):
    (text,) = [text for found, text in PAGE if found == info]
    return text


def run(text, folder, env, told=0, **more):
    """Run a block or a command; return what it printed."""
    python = more.pop("python", False)
    words = [sys.executable, "-c", text] if python else ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(
        words, cwd=folder, env=env, capture_output=True, text=True, start_new_session=True, **more
    )
    assert done.returncode == told, f"{text}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def env():
    """Yield the environment of who runs rounds, when an administrator has let both in."""
    (auth,) = [text for info, text in PAGE if info == "text" and text.startswith("[mlflow]")]
    with servers.stack(block("sh needs-postgresql"), auth) as env:
        env |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        for who in ("AUTHOR", "COMMITTER"):
            env |= {f"GIT_{who}_NAME": "test", f"GIT_{who}_EMAIL": "test@localhost"}
        root = {"MLFLOW_TRACKING_USERNAME": "admin"}
        root["MLFLOW_TRACKING_PASSWORD"] = servers.SECRETS["MLFLOW_AUTH_ADMIN_PASSWORD"]
        for name, password in PEOPLE.items():
            text = block("python needs-mlflow").replace('"alice"', repr(name))
            text = text.replace("http://127.0.0.1:5000", env["MLFLOW_TRACKING_URI"])
            run(text, "/", env | root, python=True, input=f"{password}\n")
        yield env


def person(env, name, folder):
    """Return the environment of somebody who works in a clone."""
    who = {"MLFLOW_TRACKING_USERNAME": name, "MLFLOW_TRACKING_PASSWORD": PEOPLE[name]}
    return env | who | {"PYTHONPATH": str(folder / "src")}


@pytest.fixture(scope="module")
def first(env, finished, tmp_path_factory):
    """A clone that has sent its rounds, and run one more as a job."""
    folder = tmp_path_factory.mktemp("first")
    shutil.copytree(finished, folder / "rounds", symlinks=True)
    here, own = folder / "rounds", person(env, "alice", folder / "rounds")
    run("git init -q --bare ../rounds.git && git remote add origin ../rounds.git", here, own)
    run("git push -qu origin HEAD", here, own)
    run(block("sh needs-s3"), here, own)
    run(block("sh needs-s3 needs-mlflow"), here, own)
    return here


@pytest.fixture(scope="module")
def second(env, first, tmp_path_factory):
    """Another's clone, and what the commands that pull it printed."""
    folder = tmp_path_factory.mktemp("second")
    text = block("sh needs-s3 needs-git").replace(ADDRESS, str(first.parent / "rounds.git"))
    return folder / "rounds", run(text, folder, person(env, "bob", folder / "rounds"))


def client(env):
    from mlflow import MlflowClient

    return MlflowClient(env["MLFLOW_TRACKING_URI"])


@pytest.fixture
def bob(env, monkeypatch):
    """The clients of one who ran nothing."""
    for name, value in person(env, "bob", Path("/")).items():
        if name.startswith(("MLFLOW", "AWS")):
            monkeypatch.setenv(name, value)
    return client(env)


def rounds(client):
    found = client.search_runs([client.get_experiment_by_name("alicebob").experiment_id])
    tagged = [(run.data.tags.get("alicebob.round"), run) for run in found]
    return [(name, run) for name, run in tagged if name]


def test_two_clones_agree_on_every_hash_and_nothing_is_computed_again(env, first, second):
    there, told = second
    assert "Data and pipelines are up to date." in told
    assert "Running stage" not in told
    assert "MLflow: 0 rounds brought up to date." in told
    assert (there / "dvc.lock").read_bytes() == (first / "dvc.lock").read_bytes()
    assert "evaluate@r004" in (there / "dvc.lock").read_text()
    own = person(env, "bob", there)
    assert run("git status --porcelain", there, own) == ""
    assert json.loads(run("dvc status --json", there, own)) == {}
    assert not (there / "logs").exists()  # what a machine took is its own


def test_the_server_shows_each_round_once_with_figures_and_files(first, second, bob, tmp_path):
    found = rounds(bob)
    assert sorted(name for name, _ in found) == sorted(ROUNDS)
    run = dict(found)["r004"]
    assert run.info.status == "FINISHED"
    assert {"bob/skills", "machine/minutes", "training/loss"} <= run.data.metrics.keys()
    brought = bob.download_artifacts(run.info.run_id, "feedback/feedback.md", str(tmp_path))
    assert Path(brought).read_bytes() == (first / "data/feedback/r004/feedback.md").read_bytes()
    assert run.info.artifact_uri.startswith("mlflow-artifacts:")


def test_files_lie_in_s3_and_the_lineage_has_no_secret(env, first, second, bob):
    import boto3

    s3 = boto3.client("s3")
    for bucket, wanted in (("mlflow", "/feedback.md"), ("rounds", "crafter/files/md5/")):
        keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
        assert any(wanted in key for key in keys), keys
    text = run("git log -p --all -- . ':!src'", first, env)
    assert "s3://rounds/crafter" in text
    assert not [word for word in (*servers.SECRETS.values(), *PEOPLE.values()) if word in text]


def test_a_wrong_password_is_one_sentence_and_loses_nothing(env, first, second):
    there, _ = second
    wrong = person(env, "bob", there) | {"MLFLOW_TRACKING_PASSWORD": "not-the-password"}
    told = run("alicebob sync", there, wrong, told=1)
    assert "Warning: MLflow knows no such user or password (MLFLOW_TRACKING_USERNAME" in told
    assert "Traceback" not in told
    shutil.rmtree(there / ".dvc/cache")
    refused = person(env, "bob", there) | {"AWS_SECRET_ACCESS_KEY": "not-the-key"}
    told = run("dvc fetch", there, refused, told=1)
    assert "Forbidden" in told
    assert "Traceback" not in told
    again = run("dvc fetch -q && dvc repro && alicebob sync", there, person(env, "bob", there))
    assert "Running stage" not in again
    assert "MLflow: 0 rounds brought up to date." in again


def test_another_project_takes_the_champion_and_the_skills(env, first, second, tmp_path):
    own = person(env, "bob", tmp_path) | {"PYTHONPATH": str(first / "src")}
    hub = str(first.parent / "rounds.git")
    run(block("sh needs-s3 needs-git needs-elsewhere").replace(ADDRESS, hub), tmp_path, own)
    more = "import datasets\nskills = datasets.load_dataset('skills', split='train')\n"
    more += "assert len(skills) > 0 and not model.training and model.peft_config\n"
    run(block("python needs-mlflow needs-elsewhere") + more, tmp_path, own, python=True)
