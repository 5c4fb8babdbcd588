"""What `round diff` says of two rounds: which parameter, which stages, how sure, and what of it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from evaluated import lay_out, note, write

from alicebob import dataset
from alicebob.alice.feedback import Feedback
from alicebob.cli import main
from alicebob.experiment import made
from alicebob.experiment.edit import add
from alicebob.experiment.lock import Lock
from alicebob.experiment.places import place
from alicebob.trace import Skill, Turn

HOSTILE = "Eat \x1b[31mred\x1b[0m <b>cow</b> | [here](http://evil)."


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository whose rounds r001 and r001b differ in one parameter."""
    monkeypatch.chdir(tmp_path)
    lay_out({"r000": 0.1, "r001": 0.4})
    add("r001b", "r000", {"train.epochs": 2})
    write({"r001b": 0.9})
    note()
    return tmp_path


def diff(*words):
    done = CliRunner().invoke(main, ["round", "diff", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def facts(first="r001", second="r001b"):
    return json.loads(diff(first, second, "--json"))


def taught(round_id, **kinds):
    """Write skills of a round, so many of each kind, and an instruction that all of a kind have."""
    turn = Turn("see", "do")
    skills = [
        Skill(f"{round_id}-{kind}-{n}", kind, told, round_id, "e", "crafter", n, 0, 1, (turn,))
        for kind, (count, told) in kinds.items()
        for n in range(count)
    ]
    dataset.write_skills(place("skills", round_id) / f"{round_id}.parquet", skills)


def test_rounds_that_differ_in_one_parameter_name_it_and_the_stages_that_it_runs_again(project):
    found = facts()
    assert found["parameters"] == {"train.epochs": [1.0, 2.0]}
    assert found["parents"] == ["r000", "r000"]
    assert found["run_again"] == ["train", "evaluate", "feedback"]
    because = {stage: told["because"] for stage, told in found["stages"].items()}
    assert because == {
        "explore": [],
        "skills": ["episodes"],
        "train": ["train.epochs", "skills"],
        "evaluate": ["bob", "skills", "episodes"],
        "feedback": ["evaluations", "episodes", "skills"],
    }
    text = diff("r001", "r001b")
    assert "Parameters that differ: train.epochs.\n" in text
    assert "Stages that differ because of that: train, evaluate, feedback.\n" in text


def test_a_stage_whose_outputs_have_the_same_hash_is_the_same_and_changes_nothing_after_it(project):
    """As where the longer training ended in the same adapter."""
    lock = json.loads(Path("dvc.lock").read_text())
    paths = [str(place("bob", round_id)) for round_id in ("r001", "r001b")]
    for entry in lock["stages"].values():
        for item in (*entry["deps"], *entry["outs"]):
            item["md5"] = "b0b" if item["path"] in paths else item["md5"]
    Path("dvc.lock").write_text(json.dumps(lock))
    found = facts()["stages"]
    assert found["train"] == {"outputs": "same", "because": ["train.epochs", "skills"]}
    assert "bob" not in found["evaluate"]["because"]
    assert facts()["run_again"] == ["train"]


def test_rounds_of_other_parents_differ_because_of_what_these_left(project):
    write({"r002": 0.5})
    note()
    found = facts("r001", "r002")
    assert (found["parents"], found["parameters"]) == (["r000", "r001"], {})
    assert "the parent's bob" in found["stages"]["explore"]["because"]
    assert found["run_again"] == list(found["stages"])


def test_figures_say_in_words_whether_a_difference_is_shown(project):
    write({"r001b": 0.45})
    note()
    (found,) = {told["said"] for told in facts()["figures"].values()}
    assert found == "no difference shown"
    write({"r001b": 0.9})
    note()
    found = facts()["figures"]
    assert next(iter(found)) == "test.skills.success"
    assert {told["said"] for told in found.values()} == {"beyond the interval"}
    assert found["test.skills.success"]["difference"]["low"] > 0.3
    assert "Figures that differ beyond the interval of the difference: " in diff("r001", "r001b")


def test_skills_are_gained_lost_and_changed_with_examples(project):
    taught("r001", wake_up=(2, "Wake up."), eat_cow=(1, "Eat a cow."))
    taught("r001b", eat_cow=(3, "Beef!"), place_stone=(1, HOSTILE))
    found = facts()["skills"]
    assert {kind: (told["change"], told["counts"]) for kind, told in found.items()} == {
        "wake_up": ("lost", [2, 0]),
        "eat_cow": ("changed", [1, 3]),
        "place_stone": ("gained", [0, 1]),
    }
    assert [found[kind]["examples"] for kind in ("wake_up", "eat_cow")] == [["Wake up."], ["Beef!"]]
    (place("skills", "r001") / "r001.parquet").write_bytes(b"torn")
    done = CliRunner().invoke(main, ["round", "diff", "r001", "r001b"])
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: data/skills/r001/r001.parquet cannot be read as skills")


def test_what_others_wrote_drives_no_terminal_and_is_text_in_markdown(project):
    taught("r001", eat_cow=(1, "Eat."))
    taught("r001b", eat_cow=(2, HOSTILE))
    prose = f"# Feedback\n\n{HOSTILE}\n\nMore.\n"
    Feedback("r001b", {}, {"eat_cow": 1.0}, prose).save(place("feedback", "r001b"))
    text, page = diff("r001", "r001b"), diff("r001", "r001b", "--markdown")
    assert "\x1b" not in text + page
    assert text.count("Eat \\x1b[31mred") == 2
    assert page.count("&lt;b&gt;cow&lt;/b&gt;") == 2
    assert "](http" not in page
    assert "| eat_cow | - | 1.00 |" in page
    assert facts()["feedback"]["r001b"] == {"explore": {"eat_cow": 1.0}, "prose": prose}


def ran(round_id, project, **others):
    """Note every stage of a round as if it had just ended here."""
    lock = Lock()
    for stage in lock.of(round_id):
        inputs = [Path(path) for path in lock.of(round_id)[stage].deps]
        made.note(stage, round_id, inputs, "c0de", project / "none")
        path = made.MADE / round_id / f"{stage}.json"
        found = json.loads(path.read_text())
        found["ran"] |= others
        path.write_text(json.dumps(found))


def test_rounds_say_with_which_code_and_versions_they_were_made(project):
    assert "logs/made/r001 is not here" in diff("r001", "r001b")
    ran("r001", project)
    ran("r001b", project, torch="9.9")
    found = facts()
    assert list(found["made"]) == ["torch"]
    assert found["made"]["torch"][1] == "9.9"
    assert not [said for said in found["notes"] if "logs/made" in said]
    noted = made.versions(made.records("r001", Lock()))
    assert {"git.commit", "code", "python", "machine", "alicebob", "mlflow"} <= noted.keys()
    note(changed=["data/skills/r001b"])  # DVC brought other skills: the stages that read them
    assert set(made.records("r001b", Lock())) == {"explore", "skills"}


def test_a_damaged_record_is_named(project):
    ran("r001", project)
    (made.MADE / "r001/train.json").write_text('{"read": {}, "ran": {}, "asked": {"judge": {}}}')
    done = CliRunner().invoke(main, ["round", "diff", "r001", "r001b"])
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "Error: logs/made/r001/train.json is damaged (asked.judge.text); delete"
    )
