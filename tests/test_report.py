"""The report says what the files say, needs nothing else, and runs nothing that others wrote."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from evaluated import lay_out, number

from alicebob import dataset
from alicebob.cli import main
from alicebob.envs import make
from alicebob.envs.hooks import anchors_of
from alicebob.experiment.charts import curve, heat
from alicebob.experiment.report import as_html, as_markdown, draw
from alicebob.policies import Reply, Task
from alicebob.rollout import play

SPEC = "crafter?limit=2000&observation=compact"
HOSTILE = (
    '</pre><script>alert(1)</script><img src=x onerror="alert(2)">\n```\n# [a](http://b)\x1b[2J'
)
TAGS = {"html", "meta", "title", "style", "h1", "h2", "h3", "p", "table", "tr", "th", "td", "img"}
TAGS |= {"details", "summary", "pre", "svg", "rect", "line", "circle", "text"}


class Walker:
    def start(self, wave):
        pass

    def act(self, lives):
        return [Reply(("move_left", HOSTILE, "move_up")[live.draw.integers(3)]) for live in lives]

    def finish(self, live):
        return {}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository after two rounds, with feedback and an episode that are hostile."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    lay_out({"r000": 0.1, "r001": 0.4})
    task = Task("r001-validation-open_play-00", 5, HOSTILE, {}, 12)
    episode = next(play([make(SPEC)], Walker(), [task], SPEC))
    for folder in ("evaluations", "feedback"):
        Path("data", folder, "r001").mkdir(parents=True)
    dataset.write_episodes(Path("data/evaluations/r001/validation.parquet"), [episode])
    said = {"episode": episode.id, "target": "eat_cow", "success": False, "reason": "died"}
    Path("data/feedback/r001/verdicts.json").write_text(json.dumps([said | {"detail": HOSTILE}]))
    Path("data/feedback/r001/feedback.md").write_text(f"He cannot eat a cow. {HOSTILE}")
    return tmp_path


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.words.append(data)


def test_a_page_shows_figures_feedback_and_a_replay_and_nothing_of_others_runs(project):
    text = as_html()
    page = Page(text)
    assert page.tags <= TAGS
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/gif;base64,")
    assert "\x1b" not in text
    words = " ".join(page.words)
    assert "skills 0.1 [0, 0.2] → 0.4 [0.3, 0.5]" in words
    assert "He cannot eat a cow. </pre><script>" in words
    assert "Alice: died" in words
    assert "GPT-4o 33%" in words
    assert len(text) < 1_000_000


def test_markdown_says_the_same_and_what_others_wrote_is_code_or_plain(project):
    text = as_markdown()
    outside = [line for line in text.splitlines() if not line.startswith("    ")]
    assert not re.search(r"<\w|\]\(|://|\x1b", "\n".join(outside))
    assert "| r001 | exif | 0.4 (0.3, 0.5) |" in text
    assert "| eat_cow | 10% | 40% |" in text
    assert "    He cannot eat a cow." in text


def test_an_episode_that_does_not_replay_is_told_instead(project):
    path = Path("data/evaluations/r001/validation.parquet")
    (episode,) = dataset.read_episodes(path)
    dataset.write_episodes(path, [episode.evolve(seed=6)])
    assert "does not replay" in as_html()
    assert "data:image" not in as_html()


def test_the_command_writes_both_and_shows_them_with_the_lineage(project):
    from mlflow import MlflowClient

    from alicebob.tracking import sync

    sync()
    result = CliRunner().invoke(main, ["report", "all.html"])
    assert (result.exit_code, result.stderr) == (0, "Wrote all.html and all.md.\n")
    client = MlflowClient("sqlite:///mlflow.db")
    experiment = client.get_experiment_by_name("alicebob").experiment_id
    (run,) = client.search_runs([experiment], "tags.`alicebob.branch` = 'r000'")
    assert {f.path for f in client.list_artifacts(run.info.run_id)} == {"all.html", "all.md"}


def test_without_figures_it_is_said_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay_out({})
    result = CliRunner().invoke(main, ["report"])
    assert result.exit_code == 2
    assert "No round is evaluated yet; run 'dvc repro' first." in result.stderr
    assert not Path("report.html").exists()


def points(drawn):
    found = ElementTree.fromstring(drawn).iter("{http://www.w3.org/2000/svg}circle")
    return {next(iter(c)).text: (float(c.get("cx")), float(c.get("cy"))) for c in found}


def test_a_curve_goes_from_parent_to_child_and_more_is_higher():
    name = "test.open_play.progress"
    means = {r: {name: number(v)} for r, v in (("r000", 0.2), ("r001", 0.6), ("r001b", 0.4))}
    drawn = curve(means, {"r001": "r000", "r001b": "r000"}, {"<others>": 0.5})
    at = points(drawn)
    assert at["r001: 0.6"][1] < at["r001b: 0.4"][1] < at["r000: 0.2"][1]
    assert at["r000: 0.2"][0] < at["r001: 0.6"][0] == at["r001b: 0.4"][0]
    assert "&lt;others&gt; 50%" in drawn


def test_a_map_has_a_cell_for_each_round_and_the_best_of_the_last_first():
    name = "test.skills.by_skill."
    means = {
        "r000": {f"{name}a": number(0.5), f"{name}b": number(0.0)},
        "r001": {f"{name}a": number(0.25), f"{name}b": number(1.0)},
    }
    texts = [e.text for e in ElementTree.fromstring(heat(means, name)).iter() if e.text]
    assert texts[1:] == ["r000", "r001", "b", "0%", "100%", "a", "50%", "25%"]
    assert ElementTree.fromstring(heat({}, name)) is not None


def test_pictures_are_drawn_for_dvc_and_a_damaged_round_leaves_them(project):
    draw()
    before = Path("plots/curve.svg").read_text()
    assert before.count("<circle") == 4
    Path("metrics/r001.json").write_text("torn")
    draw()
    assert Path("plots/curve.svg").read_text() == before


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"GPT-4o": 0.331}, {"GPT-4o": 0.331}),
        ({"GPT-4o": 33.1}, {}),
        ({"GPT-4o": "a third"}, {}),
        ([0.331], {}),
        (None, {}),
    ],
)
def test_what_others_have_reached_is_shares_by_name_or_no_hook(given, found):
    world = type("World", (), {"anchors": given})
    assert anchors_of(world) == found
