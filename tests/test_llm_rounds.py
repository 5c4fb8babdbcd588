"""A whole round with a language model in every role, through DVC's stages."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from answering import LABEL, counsel, drill
from ruamel.yaml import YAML
from test_rounds import command, tiny_rounds

from alicebob.alice.model.asking import FIRST
from alicebob.alice.model.role import WHERE
from alicebob.dataset import read_episodes, read_skills
from alicebob.envs import make
from alicebob.experiment import made
from alicebob.experiment.lock import Lock

URL, KEY = f"{WHERE}_URL", f"{WHERE}_KEY"
CANARY = "sk-canary-4711"
EVIDENCE = "r001-validation-eat_cow-00"
MODEL = "answering"
VERBS = ("explore", "label", "think", "judge", "advise")


@pytest.fixture(scope="module")
def project(tmp_path_factory, base, crafter, random_episodes):
    """A project with tiny parameters, whose Bob is a model that can also play Alice."""
    folder = tmp_path_factory.mktemp("llm")
    tiny_rounds().lay_out(folder)
    actions = crafter().reset(seed=0)[1]["admissible_actions"]
    suite = [trial.name for trial in make("crafter").suite()]
    drill(base, folder / MODEL, random_episodes, actions, suite, EVIDENCE)
    yaml = YAML()
    data = yaml.load(folder / "params.yaml")
    data["bob"] |= {"model": MODEL, "preamble": "full", "context": 400, "turns": 2}
    data["train"]["pack_tokens"] = 400
    data["explore"] |= {"episodes": 4, "max_turns": 40, "generation": 20}  # as shipped: unread
    data["skills"]["max_turns"] = 1
    data["evaluate"] |= {"worlds": 1, "open_play": 1, "max_turns": 10}
    data["alice"] |= dict.fromkeys(VERBS, "model")
    data["alice"] |= {"model": f"served:{MODEL}", "temperature": 0.4, "top_p": 0.9}
    data["alice"] |= {"max_new_tokens": 120, "labels": 3, "turns": 2}
    data["rounds"] = {
        "r001": {"prev": "r000"},
        "self": {"prev": "r001", "alice": {"model": "bob", "adapter": "parent"}},
    }
    yaml.dump(data, folder / "params.yaml")
    return folder


@pytest.fixture
def served(project, serve):
    """Serve the project's model from its own folder, so that its name is the one in params.yaml."""
    with serve(MODEL, project) as url:
        yield url


def look(project, round_id):
    """Return what is told of a round: its exploration, its skills and its feedback."""
    parts = ("episodes", "skills", "feedback")
    return [project / f"data/{part}/{round_id}" for part in parts]


@pytest.mark.slow
def test_a_round_with_a_model_in_every_role_then_with_bob_as_his_own_alice(
    project, served, monkeypatch
):
    from mlflow import MlflowClient

    monkeypatch.setenv(URL, served)
    monkeypatch.setenv(KEY, CANARY)
    run = command(project, "-m", "dvc", "repro")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    spoken = 0  # the model is tiny and draws: in one of the rounds all that it says may be rejected
    for round_id in ("r001", "self"):
        episodes, skills, feedback = look(project, round_id)
        played = list(read_episodes(episodes))
        assert len(played) == 4
        assert all(e.instruction == "" and e.budget["reply_tokens"] > 0 for e in played)
        assert any(turn.thought for turn in played[0].turns)
        prompt = (episodes / "prompt-00.md").read_text()
        assert "There is no task" in prompt
        report = json.loads((skills / "report.json").read_text())
        labelled = report["instruction"]
        said = [s for s in read_skills(skills) if s.round == round_id and s.name != "open_play"]
        assert {s.instruction for s in said} <= {LABEL["instruction"]}
        assert len(said) <= labelled["asked"] - labelled["rejected"]
        spoken += len(said)
        asked = json.loads((feedback / "asked.json").read_text())
        assert asked["judge"]["asked"] == 22
        assert sum(asked["judge"]["agreement"].values()) == 22 - asked["judge"]["rejected"]
    assert spoken
    written = json.loads((project / "data/feedback/r001/feedback.json").read_text())
    reported = json.loads((project / "data/feedback/r001/asked.json").read_text())
    asked, judged = reported["feedback"], reported["judge"]
    told = (project / "data/episodes/self/prompt-00.md").read_text()
    prose = counsel(EVIDENCE)["prose"]
    unjudged = judged["rejected"] == judged["asked"]
    assert asked["asked"] == (not unjudged)
    if unjudged or asked["rejected"]:  # the model is tiny and draws: what it spoils must be said
        assert written["explore"] == {}
        assert ("Nothing was judged" if unjudged else "rejected") in written["prose"]
        assert "What you wrote" not in told
    else:
        assert written["explore"] == {"eat_cow": 1.0}
        assert prose in written["prose"]
        assert any(prose in line for line in told.splitlines() if line.startswith("> "))
    assert "What you wrote" not in (project / "data/episodes/r001/prompt-00.md").read_text()
    again = command(project, "-m", "dvc", "repro")
    assert "Running stage" not in again.stdout
    assert (project / ".work/alice/r001.jsonl").stat().st_size > 0  # what counts towards the caps
    monkeypatch.chdir(project)
    asked = made.asked(made.records("r001", Lock()))
    assert {"explore", "label", "think", "judge"} <= asked.keys()
    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("alicebob").experiment_id
    found = client.search_traces([experiment], "tags.verb = 'judge' and tags.round = 'r001'")
    assert len(found) == len(asked["judge"].calls) >= FIRST
    found = run.stdout + run.stderr
    assert CANARY not in found
    for path in sorted(project.rglob("*")):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_a_dead_endpoint_stops_the_stage_in_one_sentence(project, monkeypatch, tmp_path):
    monkeypatch.setenv(URL, "http://127.0.0.1:9/v1")
    monkeypatch.delenv(KEY, raising=False)
    yaml = YAML(typ="safe")
    assert "r001" in yaml.load(project / "params.yaml")["rounds"]
    before = sorted((project / "data/episodes").glob("*"))
    shutil.rmtree(project / ".work/explore", ignore_errors=True)  # what is finished asks nobody
    run = subprocess.run(
        [sys.executable, "stages/explore.py", "r001"],
        cwd=project,
        env={
            **os.environ,
            "PYTHONPATH": str(project / "src"),
            "ALICEBOB_ALICE_MAX_REQUESTS": "3",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    assert sorted((project / "data/episodes").glob("*")) == before
    assert Path(project / ".work").exists()
