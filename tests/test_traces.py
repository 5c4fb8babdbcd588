"""Some of Bob's episodes are traces in MLflow, with Alice's verdicts, and his adapters models."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from evaluated import lay_out, note, write
from mlflow.artifacts import download_artifacts

from alicebob import dataset
from alicebob.alice.model import asking
from alicebob.cli import main
from alicebob.experiment import made
from alicebob.experiment.examples import chosen
from alicebob.experiment.lock import Lock
from alicebob.trace import Episode, Outcome, Turn
from alicebob.tracking import sync
from alicebob.tracking.traces import EXPLORED, TRACES, TURNS


@pytest.fixture
def project(tmp_path, monkeypatch, empty):
    """A repository after two rounds, with Bob's episodes of r001."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty, "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    lay_out({"r000": 0.1, "r001": 0.4})
    played([episode(n, "eat_cow", n % 2 == 0) for n in range(30)])
    judged("r001-validation-eat_cow-01", False, "died", "`do` on 3 of 3 turns")
    return tmp_path


def episode(number, target, success, turns=3):
    return Episode(
        id=f"r001-validation-{target}-{number:02d}",
        environment="crafter",
        seed=number,
        instruction="Eat a cow.",
        turns=tuple(Turn(f"see {at} \x1b[2J", f"do {at}", reward=0.5) for at in range(turns)),
        final="over",
        outcome=Outcome.SUCCESS if success else Outcome.TURN_LIMIT,
        summary={"events": {target: 1} if success else {}},
        budget={"env_steps": turns, "prompt_tokens": 10, "reply_tokens": 5},
        meta={"target": target},
    )


def played(episodes):
    folder = Path("data/evaluations/r001")
    folder.mkdir(parents=True, exist_ok=True)
    dataset.write_episodes(folder / "validation.parquet", episodes)


def judged(name, success, reason, detail):
    row = {"episode": name, "target": "eat_cow", "success": success, "reason": reason}
    Path("data/feedback/r001").mkdir(parents=True, exist_ok=True)
    rows = json.dumps([row | {"detail": detail}])
    Path("data/feedback/r001/verdicts.json").write_text(rows)


def client():
    from mlflow import MlflowClient

    return MlflowClient(os.environ["MLFLOW_TRACKING_URI"])


def experiment():
    return client().get_experiment_by_name("alicebob").experiment_id


def traces(condition=None):
    return client().search_traces([experiment()], condition, include_spans=True)


def run_of(round_id):
    (run,) = client().search_runs(
        [experiment()],
        f"tags.`alicebob.round` = '{round_id}' and tags.`alicebob.superseded` IS NULL",
    )
    return run


def test_episodes_are_traces_with_alices_verdict_as_an_assessment(project):
    sync()
    assert len(traces()) == TRACES
    condition = f"metadata.`mlflow.sourceRun` = '{run_of('r001').info.run_id}'"
    assert len(traces(condition)) == TRACES
    (found,) = traces("feedback.alice = 'false'")
    said = {a.name: a for a in found.info.assessments}
    assert (said["alice"].value, said["environment"].value, said["reward"].value) == (
        False,
        False,
        1.5,
    )
    assert said["alice"].rationale == "died: `do` on 3 of 3 turns"
    assert said["alice"].metadata["skill"] == "eat_cow"
    assert (said["alice"].source.source_type, said["alice"].source.source_id) == ("CODE", "alice")
    whole, *turns = sorted(
        found.data.spans, key=lambda span: span.start_time_ns + (span.parent_id is not None)
    )
    assert whole.inputs == {"instruction": "Eat a cow.", "seed": 1}
    assert whole.outputs == {"outcome": "turn_limit", "reward": 1.5, "events": {}}
    assert [span.outputs for span in turns] == [{"action": f"do {at}"} for at in range(3)]
    assert found.info.token_usage["total_tokens"] == 15


def test_where_none_may_be_deleted_a_round_half_sent_is_brought_to_its_end(project, monkeypatch):
    from mlflow.exceptions import RestException
    from mlflow.tracing.client import TracingClient

    def refuse(*given, **named):
        raise RestException({"error_code": "PERMISSION_DENIED", "message": "Permission denied"})

    sync()
    client().delete_tag(run_of("r001").info.run_id, "alicebob.fingerprint")
    monkeypatch.setattr(TracingClient, "delete_traces", refuse)
    assert sync() == 1
    assert sync() == 0
    assert len(traces()) == TRACES
    assert len(traces("feedback.alice = 'false'")) == 1


def test_another_verdict_takes_the_place_of_the_first(project):
    sync()
    judged("r001-validation-eat_cow-01", False, "never_tried", "")
    assert sync() == 1
    assert sync() == 0
    assert len(traces()) == TRACES
    (found,) = traces("feedback.alice = 'false'")
    (said,) = [a for a in found.info.assessments if a.name == "alice"]
    assert said.rationale == "never tried"
    assert len(found.data.spans) == 4


def test_where_a_model_judged_it_is_named_as_the_judge():
    from alicebob.alice.feedback import Verdict
    from alicebob.tracking.traces import trace

    one = episode(1, "eat_cow", False)
    verdict = Verdict(one.id, "eat_cow", False, "died")
    info, _ = trace(one, verdict, "run", "1", "Qwen/Qwen3-4B")
    source = next(a.source for a in info.assessments if a.name == "alice")
    assert (source.source_type, source.source_id) == ("LLM_JUDGE", "alice/Qwen/Qwen3-4B")


def test_of_a_long_episode_the_front_and_the_end_are_shown():
    from alicebob.tracking.traces import trace

    _, (whole, *turns) = trace(episode(1, "eat_cow", True, 100), None, "run", "1", "")
    assert len(turns) == TURNS
    assert [turns[0].name, turns[-1].name] == ["0 do 0", "99 do 99"]
    assert whole.attributes["turns left out"] == 100 - TURNS


def test_failures_and_successes_are_chosen_in_turn_of_different_skills_first():
    names = ("a", "a", "b", "c")
    lost = [episode(n, name, False) for n, name in enumerate(names)]
    won = [episode(9, "a", True)]
    found = [(e.meta["target"], e.outcome.value) for e in chosen([*won, *lost], {}, 4)]
    assert found == [
        ("a", "turn_limit"),
        ("a", "success"),
        ("b", "turn_limit"),
        ("c", "turn_limit"),
    ]


def asked(stage, **prompts):
    """Note a stage of r001 as if it had just asked a language model with these prompts."""
    folder = Path("calls")
    shutil.rmtree(folder, ignore_errors=True)
    for name, calls in prompts.items():
        asking.note(folder / f"{name}.json", calls)
    made.note(stage, "r001", map(Path, Lock().of("r001")[stage].deps), "c0de", folder)


def question(number, answer, *refused):
    return {
        "number": number,
        "question": f"Was \x1b[2J {number} \ud83d done?",
        "answer": answer,
        "refused": [{"text": text, "reason": "It holds no valid JSON object."} for text in refused],
        "seconds": [0.5, 0.25][: len(refused) + (answer is not None)],
        "prompt_tokens": 30,
        "reply_tokens": 7,
    }


def test_what_alice_asked_a_model_are_traces_with_each_try(project):
    calls = [question(0, {"success": True}), question(1, {"success": False}, "no \ud83d")]
    again = question(0, {"success": True}) | {"number": 3}  # the same was asked of another episode
    calls += [question(2, None, "no", "no"), again]
    asked("feedback", judge=calls, feedback=[], repair=[])
    asked("skills", label=[question(0, {"instruction": "Eat."})])
    sync()
    assert len(traces("tags.verb = 'judge' and tags.round = 'r001'")) == 4
    assert len(traces("tags.verb = 'label'")) == 1
    (found,) = traces("tags.came = 'mended'")
    whole, *tries = sorted(found.data.spans, key=lambda span: span.name)
    assert "\x1b" not in whole.inputs["question"]
    assert whole.outputs == {"answer": {"success": False}}
    assert [span.attributes.get("refused because", "") for span in tries] == [
        "It holds no valid JSON object.",
        "",
    ]
    assert tries[0].outputs == {"answer": "no \\ud83d"}
    assert found.info.execution_duration == 750
    assert found.info.token_usage["total_tokens"] == 37
    (found,) = traces("tags.came = 'rejected'")
    assert found.info.state == "ERROR"
    assert sync() == 0


def test_a_clone_takes_nothing_away_and_the_machine_that_knows_more_adds_it(project):
    sync()  # a clone's: it has no logs
    assert "made.python" not in run_of("r001").data.tags
    asked("feedback", judge=[question(0, {"success": True})])
    for _ in range(2):
        assert sync() == 0
        assert len(traces("tags.verb = 'judge'")) == 1
        assert {"made.python", "mlflow.linkedPrompts"} <= run_of("r001").data.tags.keys()
        shutil.rmtree(made.MADE, ignore_errors=True)  # the clone's again


def test_prompts_are_registered_by_version_and_tied_to_the_rounds_that_used_them(
    project, monkeypatch
):
    def versions(name):
        found = client().search_prompt_versions(f"alice-{name}")
        return {int(each.version): each.template for each in found}

    def linked(round_id):
        links = json.loads(run_of(round_id).data.tags["mlflow.linkedPrompts"])
        return {each["name"]: int(each["version"]) for each in links}

    asked("feedback", judge=[question(0, {"success": True})])
    sync()
    assert versions("judge") == {1: asking.template("judge")}
    assert linked("r001") == {"alice-judge": 1}
    (found,) = traces("tags.verb = 'judge'")
    assert json.loads(found.info.tags["mlflow.linkedPrompts"])[0]["name"] == "alice-judge"
    shown = client().search_prompts(f"experiment_id = '{experiment()}'")
    assert [each.name for each in shown] == ["alice-judge"]  # no other verb was a model's
    assert "mlflow.linkedPrompts" not in run_of("r000").data.tags
    monkeypatch.setattr(asking, "template", lambda name: "Judge {{turns}}.")
    asked("feedback", judge=[question(0, {"success": False})])
    judged("r001-validation-eat_cow-01", True, "done", "")
    sync()
    assert versions("judge")[2] == "Judge {{turns}}."
    assert linked("r001") == {"alice-judge": 2}


def test_where_a_model_explored_some_of_its_episodes_are_traces(project):
    dataset.write_episodes(
        Path("data/episodes/r001/episodes.parquet"),
        [episode(n, "open_play", False).evolve(id=f"r001-explore-{n}") for n in range(9)],
    )
    asked("explore", explore=[])
    sync()
    found = traces("tags.verb = 'explore'")
    assert sorted(each.info.trace_metadata["episode"] for each in found) == [
        f"r001-explore-{n}" for n in range(EXPLORED)
    ]


@pytest.mark.parametrize(
    "name", ["evaluations/r001/validation.parquet", "feedback/r001/verdicts.json"]
)
def test_a_damaged_file_is_named_and_keeps_no_other_round_back(project, name):
    Path("data", name).write_text("[1")
    result = CliRunner().invoke(main, ["sync"])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: data/{name} ")
    assert "alicebob.fingerprint" in run_of("r000").data.tags
    assert "alicebob.fingerprint" not in run_of("r001").data.tags


def test_adapters_are_versions_of_a_model_and_the_best_is_the_champion(project):
    weights = Path("models/bob/r001/adapter_model.safetensors")
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    sync()
    uri = "models:/bob-crafter@champion"
    brought = download_artifacts(uri, tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    assert Path(brought, weights.name).read_bytes() == b"weights"
    best = client().get_model_version_by_alias("bob-crafter", "champion")
    assert best.run_id == run_of("r001").info.run_id
    assert best.tags["dvc.md5"] == run_of("r001").data.tags["dvc.train.bob"]
    assert best.description.startswith("r001 · skills 0.4. ")
    assert "models/bob/r001" in best.description
    assert uri in client().get_registered_model("bob-crafter").description
    (output,) = run_of("r001").outputs.model_outputs
    model = client().get_logged_model(output.model_id)
    assert {m.key: m.value for m in model.metrics}["bob/skills"] == 0.4
    write({"r001": 0.05})
    note(changed=["models/bob/r001"])
    sync()
    assert len(client().search_model_versions("name = 'bob-crafter'")) == 3
    best = client().get_model_version_by_alias("bob-crafter", "champion")
    assert best.run_id == run_of("r000").info.run_id


def test_who_is_promoted_is_the_champion_whatever_the_figures_say(project):
    from alicebob.experiment.promote import promoted

    Path("dvc.yaml").write_text("# mine\nstages: {}\n")
    assert promoted() == ""
    for chosen_one in ("r001", "r000"):
        done = CliRunner().invoke(main, ["round", "promote", chosen_one])
        assert done.exit_code == 0, done.output
        text = Path("dvc.yaml").read_text()
        assert text == (
            "# mine\nstages: {}\n\nartifacts:\n  bob:\n"
            f"    path: models/bob/{chosen_one}\n    type: model\n"
        )
        best = client().get_model_version_by_alias("bob-crafter", "champion")
        assert best.run_id == run_of(chosen_one).info.run_id


@pytest.mark.parametrize(
    ("name", "dvc", "message"),
    [
        ("r009", "stages: {}\n", "Unknown round 'r009'"),
        ("r002", "stages: {}\n", "r002 is not evaluated yet"),
        ("r001", "artifacts:\n  mine: {path: x}\n", "dvc.yaml has other artifacts"),
    ],
)
def test_who_cannot_be_promoted_changes_nothing(project, name, dvc, message):
    Path("dvc.yaml").write_text(dvc)
    done = CliRunner().invoke(main, ["round", "promote", name])
    assert (done.exit_code, message in done.stderr) == (2, True), done.output
    assert Path("dvc.yaml").read_text() == dvc
