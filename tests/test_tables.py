"""What the rounds' figures say side by side, and that one can see which of them compare."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from evaluated import figures, lay_out, note, number, write

from alicebob.cli import main
from alicebob.experiment import plan
from alicebob.experiment.diff import between
from alicebob.experiment.edit import add
from alicebob.experiment.keep import kept
from alicebob.experiment.lock import Lock
from alicebob.experiment.places import place
from alicebob.experiment.report import draw
from alicebob.experiment.results import HEADLINE, SPENT, flat_metrics, headline
from alicebob.experiment.tables import write_plots
from alicebob.experiment.tree import branches
from alicebob.figures import share
from alicebob.tracking import reading

ROOT = Path(__file__).parent.parent
WIDE = 160  # columns of a terminal


def run(*words):
    return CliRunner().invoke(main, words)


def rows(text):
    return {line.split()[0]: line for line in text.splitlines() if line}


def change(project, old, new):
    path = project / "params.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay_out({"r000": 0.1, "r001": 0.4, "r002": 0.5, "r003": 0.6})
    return tmp_path


def test_figures_have_their_intervals_and_rounds_that_are_as_planned_no_note(project):
    listed = run("round", "list")
    assert (listed.exit_code, listed.stderr) == (0, "")
    assert "0.4 [0.3, 0.5]" in rows(listed.stdout)["r001"]
    assert "note" not in rows(listed.stdout)["round"]
    change(project, "  every: 150 ", "  every: 150  # a comment is no change ")
    assert run("round", "list").stdout == listed.stdout


def test_the_tree_shows_under_each_round_what_goes_on_from_it_and_what_that_changes(project):
    add("r002b", "r001", {"method": "step", "train": {"init": "parent"}})
    drawn = run("round", "tree")
    assert (drawn.exit_code, drawn.stderr) == (0, "")
    lines = [line.rstrip() for line in drawn.stdout.splitlines()]
    starts = ["r000 ", "└─ r001 ", "   ├─ r002 ", "   │  └─ r003 "]
    assert all(line.startswith(s) for line, s in zip(lines[1:5], starts, strict=True))
    assert lines[5].startswith("   └─ r002b ")
    assert lines[5].split()[2:] == ["step", "-", "-", "train.init=parent"]
    assert lines[2].split()[2:] == ["exif", "0.40", "0.40"]
    change(project, "r001: {prev: r000}", "r001: {prev: r000, note: '\x1b[31m'}")
    assert "\x1b" not in run("round", "tree").stdout


@pytest.mark.parametrize(
    ("old", "new", "stale"),
    [
        ("r002: {prev: r001}", "r002: {prev: r001, train: {epochs: 2}}", ["r002", "r003"]),
        ("r002: {prev: r001}", "r002: {prev: r000}", ["r002", "r003"]),
        ("strength: 2.0", "strength: 3.0", ["r001", "r002", "r003"]),
        ("  layers: 3", "  layers: 2", ["r000", "r001", "r002", "r003"]),
    ],
)
def test_rounds_that_would_be_made_anew_are_stale(project, old, new, stale):
    change(project, old, new)
    listed = rows(run("round", "list").stdout)
    assert [name for name, line in listed.items() if line.endswith("stale")] == stale


def test_a_round_is_stale_while_what_it_came_from_is_made_anew(project):
    note(changed=["models/bob/r001"], stages=["train@r001"])
    listed = rows(run("round", "list").stdout)
    stale = [name for name, line in listed.items() if line.endswith("stale")]
    assert stale == ["r001", "r002", "r003"]


def test_figures_that_were_made_otherwise_are_marked_as_not_to_be_compared(project):
    change(project, "seed: 1 ", "seed: 2 ")
    listed = rows(run("round", "list").stdout)
    assert all(listed[r].endswith("stale, another seed") for r in ("r000", "r001", "r003"))
    assert run("init", "--preset", "webshop").exit_code == 0
    listed = rows(run("round", "list").stdout)
    for name in ("r000", "r001", "r002", "r003"):
        assert re.search(r"stale, .*another env, .*another evaluate$", listed[name])


def test_a_round_evaluated_otherwise_than_the_others_is_marked_and_gets_no_difference(project):
    add("r001b", "r000", {"evaluate.worlds": 2})
    write({"r001b": 0.9})
    note()
    listed = rows(run("round", "list").stdout)
    assert listed["r001b"].endswith("  another evaluate")
    assert listed["r001"].endswith("]")
    compared = run("round", "diff", "r001", "r001b").stdout
    assert "r001 and r001b were evaluated with another evaluate: do not compare." in compared
    assert "[+" not in compared
    assert "difference" not in compared


def test_two_rounds_are_compared_with_the_interval_of_their_difference(project):
    add("r001b", "r000", {"train.epochs": 2})
    write({"r001b": 0.9})
    note()
    found = rows(run("round", "diff", "r001", "r001b").stdout)
    assert found["train.epochs"].split() == ["train.epochs", "1.0", "2.0"]
    assert re.fullmatch(
        r"test.skills.success +0.4 \[0.3, 0.5\] +0.9 \[0.8, 1\] +\+0.5 \[\+0.359, \+0.641\] +"
        "beyond the interval",
        found["test.skills.success"],
    )
    change(project, "epochs: 2}", "epochs: 3}")
    again = run("round", "diff", "r001", "r001b").stdout
    assert "r001b is stale: 'dvc repro' would make it anew." in again
    assert rows(again)["train.epochs"].split()[-1] == "2.0"  # it was made with that


def test_names_that_a_world_gave_cannot_drive_the_terminal(project):
    write({"r001": 0.4, "r002": 0.5}, **{"\x1b[31mred\nnews": 0.9})
    write({"r001": 0.4}, **{"\x1b[31mred\nnews": 0.2})
    note()
    compared = run("round", "diff", "r001", "r002").stdout
    assert "\x1b" not in compared
    assert "\\x1b[31mred news " in compared
    (project / "metrics/r001.json").write_text(
        json.dumps(figures("r001", 0.4) | {"data": {"\x1b[2J": True}})
    )
    assert "\x1b" not in run("round", "list").output


def test_the_difference_of_two_shares_is_that_of_the_published_method():
    """Newcombe 1998, table II, method 10: 56 of 70 less 48 of 80."""
    found = between(share(48, 80), share(56, 70))
    assert [round(found[name], 4) for name in ("mean", "low", "high")] == [0.2, 0.0524, 0.3339]
    alone = {"mean": 0.5, "low": None, "high": None, "n": 1}
    assert between(alone, share(1, 2)) == {"mean": 0.0, "low": None, "high": None}


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"torn",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b'{"round": "r002", "test": {}}',
        b'{"round": "r001"}',
        b'{"round": "r001", "test": {}, "made_with": 3}',
        b'{"round": "r001", "test": {"x": NaN}}',
        b'{"round": "r001", "test": {"x": true}}',
        b'{"round": "r001", "test": {"x": 1' + b"0" * 400 + b"}}",
        b'{"round": "r001", "test": {"x": {"mean": "0.4", "low": 0, "high": 1, "n": 3}}}',
        b'{"round": "r001", "test": {"x": {"mean": 0.4, "low": 0.5, "high": 1, "n": 3}}}',
        b'{"round": "r001", "test": {"x": {"mean": 0.4}}}',
        b'{"a":' * 100_000,
    ],
)
def test_damaged_figures_are_one_sentence_and_hide_no_other_round(project, damage):
    (project / "metrics/r001.json").write_bytes(damage)
    listed = run("round", "list")
    assert listed.exit_code == 1
    assert re.fullmatch(
        r"Error: metrics/r001.json is damaged \(.*\); run 'dvc repro evaluate@r001' to make it "
        r"again\.\n",
        listed.stderr,
    )
    assert rows(listed.stdout)["r001"].endswith("damaged")
    assert "0.5 [0.4, 0.6]" in rows(listed.stdout)["r002"]
    compared = run("round", "diff", "r001", "r002")
    assert (compared.exit_code, compared.stdout) == (1, "")
    assert compared.stderr == listed.stderr
    write_plots()  # a stage ends with it, and does not fail for another round's file
    drawn = (project / "plots/rounds.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in drawn] == ["round", "r000", "r002", "r003"]


@pytest.mark.parametrize("name", ["dvc.lock", "params.yaml"])
def test_the_figures_are_shown_where_nothing_can_be_said_of_them(project, name):
    damage = "stages: [1, 2]\n" if name == "dvc.lock" else "trian: 3\n"
    (project / name).write_text(damage + (project / name).read_text().replace("stages:", "old:"))
    listed = run("round", "list")
    assert name in listed.stderr
    assert listed.stderr.startswith("Error: ")
    assert listed.stderr.count("\n") == 1
    assert listed.exit_code in (1, 2)
    assert "0.5 [0.4, 0.6]" in rows(listed.stdout)["r002"]


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"params": 3}'])
@pytest.mark.parametrize("locked", [True, False])
def test_a_damaged_plan_is_named_when_parameters_are_compared(project, damage, locked):
    (project / "data/plan/r002/train.json").write_text(damage)
    if not locked:
        (project / "dvc.lock").unlink()
    compared = run("round", "diff", "r001", "r002")
    assert compared.exit_code == 1
    assert "data/plan/r002/train.json is damaged" in compared.stderr
    assert "run 'dvc repro plan'" in compared.stderr


def test_rounds_compare_without_the_plan_as_in_a_fresh_clone(project):
    shutil.rmtree(project / "data")
    found = run("round", "diff", "r000", "r001")
    assert found.exit_code == 0, found.output
    assert rows(found.stdout)["train.budget"].split() == ["train.budget", "-", "400000"]
    change(project, "budget: 400000", "budget: 500000")
    lost = run("round", "diff", "r000", "r001")
    assert lost.exit_code == 2
    assert "data/plan/r001/train.json is not what r001 was made with" in lost.stderr


def test_a_clone_into_which_nothing_was_pulled_shows_the_headlines(project):
    shutil.rmtree(project / "metrics")
    shutil.rmtree(project / "data")
    listed = run("round", "list")
    assert (listed.exit_code, listed.stderr) == (0, "")
    assert rows(listed.stdout)["r001"].split()[:4] == ["r001", "r000", "0.4", "0.4"]
    assert "note" not in rows(listed.stdout)["round"]
    (project / "headlines/r001.json").write_text('{"skills": "many"}')
    listed = run("round", "list")
    assert listed.exit_code == 1
    assert "Error: headlines/r001.json is damaged (skills is 'many')" in listed.stderr
    assert "r002" in rows(listed.stdout)


@pytest.mark.parametrize("damage", ["", "[1]", "{"])
def test_a_damaged_log_is_named_where_speeds_are_read(project, damage):
    (project / "logs").mkdir()
    (project / "logs/r001-train.json").write_text(damage)
    estimated = run("estimate")
    assert estimated.exit_code == 1
    assert estimated.stderr.startswith("Error: logs/r001-train.json is damaged")
    assert "delete it" in estimated.stderr


def test_one_who_is_not_evaluated_and_one_who_is_not_there_are_said_to_be_so(project):
    add("r004", None, {})
    assert "run 'dvc repro evaluate@r004' first" in run("round", "diff", "r001", "r004").stderr
    assert "Unknown round 'r009'" in run("round", "diff", "r001", "r009").stderr


def test_the_headline_is_a_few_numbers_that_every_world_has():
    found = headline(figures("r001", 0.4))
    assert found == {
        **dict.fromkeys(("skills", "progress", "score", "reward", "invalid", "alice"), 0.4),
        "valid": 1.0,
        "env_steps": 300,
        "tokens": 70,
    }
    assert len({*HEADLINE, *SPENT}) <= 12
    short = figures("r001", 0.4)
    short["test"]["skills"]["success"] = {"mean": None, "low": None, "high": None, "n": 0}
    assert "skills" not in headline(short)


def test_a_mean_without_bounds_is_a_number_all_the_same():
    short = figures("r001", 0.4)
    short["alice"]["progress"] = {"mean": 0.2, "low": None, "high": None, "n": 1}
    flat = flat_metrics(short)
    assert flat["alice.progress"] == 0.2
    assert "alice.progress.low" not in flat
    assert not [name for name in flat if name.startswith("made_with")]


def test_dvc_shows_metrics_and_experiments_that_can_be_read(project):
    """In a terminal of 160 columns, with the files of four rounds."""
    shutil.copyfile(ROOT / "dvc.yaml", project / "dvc.yaml")
    (project / ".dvc").mkdir()
    (project / ".dvc/config").write_text("[core]\n    analytics = false\n")

    def dvc(*words):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *words],
            env={**os.environ, "COLUMNS": str(WIDE), "DVC_NO_ANALYTICS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "Rounds"]):
        named = ["-c", "user.name=A", "-c", "user.email=a@b"]
        subprocess.run(["git", *named, *words], check=True, capture_output=True)
    shown = dvc("metrics", "show").splitlines()
    assert len(shown) == 5
    assert max(map(len, shown)) <= WIDE
    names = dvc("exp", "show", "--csv").partition("\n")[0].split(",")
    told = [name for name in names if ":" in name and not name.startswith("data/")]
    assert len(told) <= 4 * 12
    draw()
    dvc("plots", "show")
    page = (project / "dvc_plots/index.html").read_text()
    assert len(re.findall(r"<img[^>]*\.svg", page)) == 3
    assert "https://" not in page  # it can be looked at without a network
    change(project, "r003: {prev: r002}", "r003: {prev: r002, train: {epochs: 2}}")
    write({"r003": 0.7})
    # As docs/metrics.md has it: what differs, and no hashes.
    words = ["exp", "show", "--only-changed", "--drop", "data/", "--drop", "models/"]
    shown = dvc(*words, "--no-pager").splitlines()
    assert "headlines/r003.json" in "".join(shown)
    assert max(map(len, shown)) <= WIDE


def test_branches_begin_where_a_round_is_not_its_parents_first_child():
    rounds = {
        "r001": {"prev": "r000"},
        "r002": {"prev": "r001"},
        "r002b": {"prev": "r001"},
        "r003": {"prev": "r002"},
        "r003b": {"prev": "r002b"},
        "r001c": {"prev": "r000"},
    }
    assert branches(rounds) == {
        "r000": ["r000", "r001", "r002", "r003"],
        "r002b": ["r000", "r001", "r002b", "r003b"],
        "r001c": ["r000", "r001c"],
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train=5", "train.epochs=2"], "train is given as a whole and train.epochs within it"),
        (['train={"epochs": 2}', "train.batch=3"], "train is given as a whole"),
        (["train.batch=3", 'train={"epochs": 2}'], "train is given as a whole"),
        (["prev=r001"], "given as --from"),
    ],
)
def test_what_contradicts_itself_is_refused(project, words, message):
    before = (project / "params.yaml").read_text()
    result = run("round", "add", *words)
    assert (result.exit_code, message in result.stderr) == (2, True), result.output
    assert (project / "params.yaml").read_text() == before


@pytest.mark.parametrize(
    ("values", "parent", "said"),
    [
        ({"r002": 0.5, "r003": 0.6}, "r003", "No round before r003 is better: on from r003."),
        ({"r002": 0.5, "r003": 0.4}, "r003", "No round before r003"),  # within the interval
        ({"r002": 0.9, "r003": 0.6}, "r002", "r003 is worse on validation than r002: on from r002"),
        ({"r001": 0.9, "r002": 0.5, "r003": 0.3}, "r001", "r003 is worse on validation than r001"),
        ({"r002": 0.3, "r003": 0.1}, "r002", "r003 is worse on validation than r002"),
    ],
)
def test_a_round_that_got_worse_is_not_gone_on_from(project, values, parent, said):
    write(values)
    result = run("round", "add", "--keep-better")
    assert (result.exit_code, said in result.stderr) == (0, True), result.output
    assert f"r004: {{prev: {parent}}}" in (project / "params.yaml").read_text()


def test_only_validation_says_what_is_worse_and_a_figure_that_rose_speaks_for_it(project):
    path, after = (project / f"metrics/{r}.json" for r in ("r002", "r003"))
    better, worse = json.loads(path.read_text()), json.loads(after.read_text())
    better["test"] = figures("r002", 0.9)["test"]
    better["validation"]["skills"]["success"] = number(0.9)
    path.write_text(json.dumps(better))
    worse["validation"]["open_play"]["progress"] = number(0.9)
    after.write_text(json.dumps(worse))
    assert kept() == ("r003", "r003")
    worse["validation"]["open_play"]["progress"] = number(0.5)
    after.write_text(json.dumps(worse))
    assert kept() == ("r003", "r002")
    assert kept("r002") == ("r002", "r002")


def test_what_cannot_be_compared_is_not_said_to_be_worse(project):
    add("r001b", "r000", {"evaluate.worlds": 2})
    write({"r001b": 0.9})
    refused = run("round", "add", "--from", "r001b", "--keep-better")
    assert refused.exit_code != 0
    assert "r000 and r001b were evaluated with another evaluate" in refused.stderr
    add("r004", "r003", {})
    assert "metrics/r004.json is missing" in run("round", "add", "--keep-better").stderr
    assert "r009" in run("round", "add", "--from", "r009", "--keep-better").stderr


def test_a_change_that_ends_in_any_error_is_undone(project, monkeypatch):
    before = (project / "params.yaml").read_text()
    monkeypatch.setattr("alicebob.experiment.edit.check", lambda rounds: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        add(None, None, {})
    assert (project / "params.yaml").read_text() == before


def test_round_ids_may_hold_dashes(project):
    """In the tree, in what DVC makes of it, and in the files."""
    change(project, "r003: {prev: r002}", "r001-b: {prev: r001}")
    plan.write()
    write({"r001-b": 0.3})
    note()
    listed = rows(run("round", "list").stdout)
    assert listed["r001-b"].endswith("]")
    assert listed["r001"].endswith("]")
    assert json.loads((project / "data/plan/r001-b/round.json").read_text())["prev"] == "r001"


def report(kind, name, found):
    path = place(kind, "r001") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))


def test_what_became_of_a_models_answers_is_shown_with_the_rounds_figures(project):
    plain = run("round", "show", "r001")
    assert plain.exit_code == 0
    assert rows(plain.stdout)["test.skills.success"].split()[1] == "0.4"
    assert "Alice's model" not in plain.stdout
    tally = {"asked": 20, "repaired": 3, "rejected": 7}
    agree = {"both": 4, "neither": 5, "judge_only": 3, "environment_only": 1}
    report("episodes", "report.json", {"turns": tally | {"asked": 100, "repaired": 0}})
    report("skills", "report.json", {"instruction": tally | {"refused": []}, "agree": share(8, 10)})
    report("feedback", "asked.json", {"judge": tally | {"agreement": agree}})
    shown = rows(run("round", "show", "r001").stdout)
    assert shown["explore"].split()[1:3] == ["100", "0.93"]
    assert shown["label"].split()[1:3] == ["20", "0.5"]
    assert "  0.15 [" in shown["label"]
    assert "  0.35 [" in shown["label"]
    assert "  0.8 [" in shown["label"]
    assert f"  {9 / 13:.4g} [" in shown["judge"]
    assert "think" not in shown
    told = run("round", "show", "r001").stdout
    assert "With what was refused, and why: data/skills/r001/report.json\n" in told
    values = reading.read("r001", Lock()).values
    assert values["spoken/label.rejected"] == 0.35
    assert values["spoken/judge.asked"] == 20


@pytest.mark.parametrize("found", [{"judge": 3}, {"judge": {"asked": 1}}, ["judge"]])
def test_a_report_that_is_damaged_is_named(project, found):
    report("feedback", "asked.json", found)
    shown = run("round", "show", "r001")
    assert shown.exit_code == 1
    assert "data/feedback/r001/asked.json is damaged" in shown.stderr
    unknown = run("round", "show", "r009")
    assert unknown.exit_code == 2
