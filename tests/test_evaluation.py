import pytest

from alicebob.envs import make
from alicebob.evaluation import report, tasks
from alicebob.figures import mean
from alicebob.settings import Evaluate
from alicebob.trace import Episode, Outcome, Turn


def episode(name, target="", outcome=Outcome.TURN_LIMIT, events=(), reward=0.0, progress=0.0):
    return Episode(
        id=name,
        environment="crafter",
        seed=1,
        turns=(Turn("o", "noop", reward=reward), Turn("o", "fly", tags=("invalid_action",))),
        outcome=outcome,
        summary={"events": dict.fromkeys(events, 1), "progress": progress},
        meta={"target": target} if target else {},
    )


def test_the_report_keeps_trials_and_open_play_apart():
    episodes = [
        episode("a", "eat_cow", Outcome.SUCCESS, ["eat_cow"]),
        episode("b", "eat_cow"),
        episode("c", "wake_up", Outcome.FAILURE, ["collect_wood"]),
        episode("d", events=["collect_wood", "eat_cow"], reward=2.0, progress=2 / 22),
        episode("e", events=["collect_wood"], reward=1.0, progress=1 / 22),
    ]
    figures = report(episodes, score=lambda rates: 100 * rates["collect_wood"])
    assert figures["skills"]["by_skill"]["eat_cow"]["mean"] == 0.5
    assert figures["skills"]["success"]["mean"] == 0.25
    assert figures["skills"]["success"]["n"] == 3
    play = figures["open_play"]
    assert play["score"]["mean"] == 100
    assert play["reward"]["mean"] == 1.5
    assert play["achievements"] == mean([2.0, 1.0])
    assert play["progress"]["mean"] == pytest.approx(1.5 / 22, abs=1e-6)
    assert play["by_event"]["eat_cow"]["mean"] == 0.5
    assert figures["invalid_actions"]["mean"] == 0.5


def test_hopeless_episodes_are_counted_where_there_may_be_some():
    episodes = [episode("a", outcome=Outcome.HOPELESS), episode("b"), episode("c"), episode("d")]
    assert "hopeless" not in report(episodes, score=lambda rates: 0.0)
    assert report(episodes, score=lambda rates: 0.0, hopeless=10)["hopeless"]["mean"] == 0.25


def test_every_task_of_an_evaluation_may_end_as_hopeless():
    amount = Evaluate(worlds=1, open_play=2, max_turns=50, hopeless=7, width=4)
    found = tasks("test", make("crafter"), amount, 1, range(1000), "r001")
    assert {task.hopeless for task in found} == {7}
    assert {task.target for task in found} >= {"", "collect_wood"}
