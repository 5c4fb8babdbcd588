"""Methods compared over seeds: which lineages are run, and what is said of what came out."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from alicebob.cli import main
from alicebob.cli.pairs import pairs
from alicebob.errors import UnknownName, UsageError
from alicebob.experiment import arms, presets
from alicebob.experiment.arms import Arm, arms_of
from alicebob.experiment.compare import Compared

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import tiny_rounds  # noqa: E402


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    return tmp_path


def figure(mean):
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 10}


def lineage(*rounds):
    """Each round is its skills, the steps and the tokens that it spent."""
    return [
        {
            "test.skills.success": figure(skills),
            "budget.explore.env_steps": {"mean": steps},
            "budget.train.tokens": {"mean": tokens},
        }
        for skills, steps, tokens in rounds
    ]


def compared(values, equal="rounds"):
    labels = list(dict.fromkeys(label for label, _ in values))
    seeds = sorted({seed for _, seed in values})
    some = [Arm(label, ("exif",) * (len(values[label, seeds[0]]) - 1)) for label in labels]
    return Compared(some, seeds, values, equal)


def cells(found):
    head, *rows = found.rows()
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


@pytest.mark.parametrize(
    ("workers", "state"), [({"w1": [{"args": ["rev1"]}]}, "Running"), ({}, "Failed")]
)
def test_what_a_worker_has_yet_to_take_in_has_not_failed(monkeypatch, workers, state):
    gone = subprocess.Popen(["true"])
    gone.wait()
    tasks = SimpleNamespace(
        status=lambda: [{"name": "exif.s1", "status": "Running", "rev": "rev1"}],
        proc=SimpleNamespace(get=lambda rev: SimpleNamespace(pid=gone.pid)),
        worker_status=lambda: workers,
    )
    repo = SimpleNamespace(experiments=SimpleNamespace(celery_queue=tasks))
    monkeypatch.setattr("dvc.repo.Repo", lambda: nullcontext(repo))
    assert arms._status() == {"exif.s1": state}


@pytest.mark.parametrize(
    ("last", "settling", "told"),
    [("Success", 60.0, ["running", "success"]), ("Failed", 0.0, ["running", "failed"])],
)
def test_what_seems_to_have_failed_is_told_when_it_stays_so(monkeypatch, last, settling, told):
    told_so_far = iter(["Running", "Failed", "Failed", *[last] * 9])
    monkeypatch.setattr(arms, "_status", lambda: {"a": next(told_so_far)})
    monkeypatch.setattr(arms, "revisions", dict)
    monkeypatch.setattr(arms, "POLL", 0.0)
    monkeypatch.setattr(arms, "SETTLING", settling)
    lines = []
    failed = arms.run(["a"], 1, lines.append)
    assert lines == [f"a: {state}" for state in told]
    assert failed == ["a"] * (last == "Failed")


def test_an_arm_is_a_method_for_each_round_or_one_for_all(project):
    short, mixed, named = arms_of(["exif", "exif step", "low: exif train.epochs=2"], pairs)
    assert short.methods == ("exif",) * 3
    assert short.label == "exif.exif.exif"
    assert mixed.methods == ("exif", "step")
    assert mixed.rounds == ["r001", "r002"]
    assert (named.label, dict(named.settings)) == ("low", {"train.epochs": 2})


@pytest.mark.parametrize("preset", ["laptop", "webshop"])
def test_shipped_comparisons_name_methods_and_parameters_that_there_are(project, preset):
    presets.apply(preset)
    for name in arms.known():
        found = arms_of([name], pairs)
        assert len(found) > 2
        for arm in found:
            arm.check()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("exif bob.context=900", "train.pack_tokens must be at least bob.context"),
        ("exif train.epoch=2", "Unknown parameter 'train.epoch'"),
    ],
)
def test_an_arm_that_cannot_run_is_told_before_any_is_queued(project, words, told, monkeypatch):
    monkeypatch.setattr(arms, "_dvc", lambda *words: pytest.fail("something was queued"))
    with pytest.raises(UsageError, match=f"The arm 'odd' cannot run: .*{told}"):
        arms.queue(arms_of(["exif", f"odd: {words}"], pairs), [1])


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        (["exif nix"], UnknownName, "nix"),
        (["train.epochs=2"], UsageError, "names no method"),
        (["exif", "exif exif exif"], UsageError, "Two arms are called"),
    ],
)
def test_what_is_no_arm_is_refused_in_a_sentence(project, words, kind, told):
    with pytest.raises(kind, match=told):
        arms_of(words, pairs)


def test_an_experiment_has_another_name_where_anything_but_the_rounds_is_another(project):
    (arm,) = arms_of(["exif step"], pairs)
    name = arm.experiment(1)
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("r003: {prev: r002}", ""))
    assert arm.experiment(1) == name
    (project / "params.yaml").write_text(text.replace("worlds: 6", "worlds: 5"))
    assert arm.experiment(1) != name
    assert arm.experiment(2) != arm.experiment(1)


def test_dvc_reads_what_it_is_told_as_it_was_meant(project):
    from dvc.utils.hydra import apply_overrides
    from ruamel.yaml import YAML

    words = """x: exif step 'alice.personas=["a, b", "c: d"]' 'bob.template={"think": false}'"""
    (arm,) = arms_of([words], pairs)
    apply_overrides("params.yaml", arm.overrides(7))
    found = YAML(typ="safe").load(project / "params.yaml")
    assert found["seed"] == 7
    assert found["rounds"] == {
        "r001": {"prev": "r000", "method": "exif"},
        "r002": {"prev": "r001", "method": "step"},
    }
    assert found["alice"]["personas"] == ["a, b", "c: d"]
    assert found["bob"]["template"] == {"think": False}


def test_a_difference_is_shown_only_where_the_seeds_agree():
    better = {("a", s): lineage((0, 0, 0), (0.5 + s / 100, 9, 9)) for s in (1, 2, 3)}
    surely = {("b", s): lineage((0, 0, 0), (0.7 + s / 100, 9, 9)) for s in (1, 2, 3)}
    perhaps = {("c", s): lineage((0, 0, 0), (0.4 + s / 10, 9, 9)) for s in (1, 2, 3)}
    found = cells(compared({**better, **surely, **perhaps}))
    assert found["a"]["skills beside a"] == ""
    assert found["b"]["skills beside a"] == "+0.2 [+0.2, +0.2]"
    assert found["c"]["skills beside a"].endswith("no difference shown")
    assert found["c"]["skills"] == "0.6 [0.5, 0.7]"
    one = compared(
        {("a", 1): lineage((0, 0, 0), (0, 9, 9)), ("b", 1): lineage((0, 0, 0), (1, 9, 9))}
    )
    assert cells(one)["b"]["skills beside a"] == "+1, one seed: no difference shown"


def test_at_equal_budgets_an_arm_counts_at_its_last_round_within_the_smallest():
    values = {
        ("dear", 1): lineage((0.0, 0, 0), (0.3, 100, 10), (0.9, 100, 10)),
        ("cheap", 1): lineage((0.0, 0, 0), (0.2, 50, 20), (0.4, 50, 20)),
    }
    assert cells(compared(values))["dear"]["skills"] == "0.9"
    steps = cells(compared(values, "steps"))
    assert (steps["dear"]["skills"], steps["dear"]["env steps"]) == ("0.3", "100")
    assert steps["cheap"]["skills"] == "0.4"
    tokens = cells(compared(values, "tokens"))
    assert (tokens["dear"]["skills"], tokens["cheap"]["skills"]) == ("0.9", "0.2")


def test_what_is_not_finished_is_shown_as_such_and_the_table_is_written(tmp_path):
    arm = Arm("late", ("exif",))
    found = compared({("a", 1): lineage((0.1, 0, 0), (0.5, 9, 9))})
    both = Compared([*found.arms, arm], [1], found.found, "rounds")
    assert cells(both)["late"]["seeds"] == "0/1"
    table, figures, picture = both.write(tmp_path)
    assert "| late | 0/1 |" in table.read_text()
    assert json.loads(figures.read_text())[0]["arm"] == "a"
    assert picture.read_text().startswith("<?xml")
    first = picture.read_bytes()
    both.write(tmp_path)
    assert picture.read_bytes() == first


def test_without_a_commit_there_is_a_sentence_that_says_what_to_do(project):
    done = CliRunner().invoke(main, ["compare", "exif"])
    assert done.exit_code == 2
    assert "git init" in done.stderr
    wrong = CliRunner().invoke(main, ["compare", "exif", "--seeds", "1,x"])
    assert wrong.exit_code == 2
    assert "no seeds" in wrong.stderr


@pytest.mark.slow
def test_lineages_run_as_experiments_of_dvc_each_once(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    tiny_rounds.lay_out(project)
    (project / ".gitignore").write_bytes((ROOT / ".gitignore").read_bytes())
    env = tiny_rounds.environment(project)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["add", "--all"], ["commit", "-qm", "begin"]):
        subprocess.run([*git, *words], cwd=project, env=env, check=True)

    def compare(*more):
        words = [sys.executable, "-m", "alicebob", "compare", "exif", "r: exif rft", "--seeds", "1"]
        return subprocess.run(
            [*words, *more], cwd=project, env=env, capture_output=True, text=True, check=False
        )

    done = compare()
    assert done.returncode == 0, done.stderr
    assert "Queued 2 of 2" in done.stderr
    assert {"running", "success"} <= {line.rpartition(": ")[2] for line in done.stderr.splitlines()}
    assert [line.split()[:3] for line in done.stdout.splitlines()[1:]] == [
        ["exif.exif", "1/1", "2"],
        ["r", "1/1", "2"],
    ]
    again = compare()
    assert "Queued 0 of 2" in again.stderr
    assert again.stdout == done.stdout
    assert compare("--table").stdout == done.stdout
    assert not os.path.exists(project / "metrics")  # the workspace is as it was
