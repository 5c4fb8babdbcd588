import pytest

from alicebob import make
from alicebob.alice.feedback import Feedback
from alicebob.alice.grid.advise import advise
from alicebob.alice.grid.affordance import Change
from alicebob.alice.grid.interface import faced_in
from alicebob.alice.grid.judge import judge
from alicebob.alice.grid.memory import Knowledge
from alicebob.trace import Episode, Outcome, Turn


def knowing():
    knowledge = Knowledge(episodes=10, events={"collect_wood": 9, "make_wood_sword": 3})
    wood = Change(gains={"wood": 1}, events={"collect_wood": 1})
    knowledge.intent("use tree").success({}, "tree", wood)
    sword = Change(uses={"wood": 1}, gains={"wood_sword": 1}, events={"make_wood_sword": 1})
    knowledge.intent("make_wood_sword").success({"wood": 1, "near:table": 1}, "grass", sword)
    return knowledge


def trial(number, target, turns, outcome=Outcome.TURN_LIMIT):
    return Episode(
        id=f"r001-validation-{target}-{number:02d}",
        environment="crafter",
        seed=number,
        turns=tuple(turns),
        outcome=outcome,
        meta={"target": target},
    )


def turns(*pairs, tags=()):
    return [Turn(observation, action, tags=tags) for observation, action in pairs]


def reason(episode):
    (verdict,) = judge([episode], knowing())
    return verdict.reason


def test_each_failure_gets_its_reason():
    bare = "have nothing\nfacing up grass\nnext nothing"
    assert reason(trial(0, "collect_wood", turns((bare, "do"), (bare, "noop")))) == "never_tried"
    at_tree = "have nothing\nfacing up tree\nnext tree_up"
    assert reason(trial(0, "collect_wood", turns((at_tree, "do"), ("x", "noop")))) == "out_of_turns"
    lone = turns((bare, "make_wood_sword"))
    assert reason(trial(0, "make_wood_sword", lone)) == "lacked"
    stuck = turns(*[(at_tree, "do")] * 6)
    assert reason(trial(0, "collect_wood", stuck)) == "loop"
    assert reason(trial(0, "collect_wood", turns((bare, "do")), Outcome.FAILURE)) == "died"
    odd = turns((bare, "dance"), tags=("invalid_action",))
    assert reason(trial(0, "collect_wood", odd)) == "invalid"
    assert reason(trial(0, "collect_wood", [], Outcome.SUCCESS)) == ""


def test_feedback_counts_cites_and_wishes_for_what_fails():
    bare = "have nothing\nfacing up grass\nnext nothing"
    episodes = [trial(n, "make_wood_sword", turns((bare, "noop"))) for n in range(4)]
    episodes += [trial(n, "collect_wood", [], Outcome.SUCCESS) for n in range(4)]
    feedback = advise(
        "r001", judge(episodes, knowing()), episodes, knowing(), {"make_wood_sword": 3}
    )
    row = feedback.skills["make_wood_sword"]
    assert (row["tried"], row["succeeded"], row["failure"]) == (4, 0, "never_tried")
    assert row["evidence"][0] == "r001-validation-make_wood_sword-00"
    assert list(feedback.explore) == ["make_wood_sword"]
    assert "r001-validation-make_wood_sword-00" in feedback.prose
    assert Feedback.from_json(feedback.to_json()) == feedback


def test_rarer_skills_are_wished_for_more():
    episodes = [trial(0, name, turns(("x", "noop"))) for name in ("collect_wood", "eat_plant")]
    explore = advise(
        "r001", judge(episodes, knowing()), episodes, knowing(), {"collect_wood": 400}
    ).explore
    assert explore["eat_plant"] > explore["collect_wood"] > 0


def test_what_a_model_wrote_is_quoted_short_and_harmless():
    hostile = "`</script>\n# Heading " + "x" * 500
    episodes = [trial(0, "collect_wood", turns((hostile, hostile), tags=("invalid_action",)))]
    prose = advise("r001", judge(episodes, knowing()), episodes, knowing(), {}).prose
    assert "<" not in prose
    assert "\n# Heading" not in prose
    assert "x" * 50 not in prose


def test_nothing_looked_at_is_no_wish():
    assert Feedback.empty("r000").explore == {}
    assert advise("r000", [], [], Knowledge(), {}).explore == {}


@pytest.mark.parametrize("observation", ["compact", "smartplay"])
def test_the_faced_thing_is_read_from_what_the_environment_says(observation):
    env = make("crafter", observation=observation)
    text, info = env.reset(seed=3)
    for action in ("move_left", "move_up", "move_up", "move_right", "move_down") * 8:
        (dx, dy), view = info["facing"], info["view"]
        assert faced_in(text) == view[3 + dy][4 + dx]
        text, *_, info = env.step(action)
