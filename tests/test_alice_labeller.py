from dataclasses import replace

import numpy as np

from alicebob.alice import words
from alicebob.alice.labeller import label
from alicebob.trace import Episode, Outcome, Turn


def turn(number, action, intent, *events):
    return Turn(f"obs {number}", action, events=events, tags=(f"intent:{intent}",))


def episode(*rows, outcome=Outcome.TURN_LIMIT, name="e1"):
    turns = tuple(turn(n, *row) for n, row in enumerate(rows))
    events = {event: 1 for t in turns for event in t.events}
    return Episode(name, "crafter", 7, turns=turns, outcome=outcome, summary={"events": events})


WALK = [
    ("move_up", "explore"),
    ("move_left", "use tree"),
    ("move_left", "use tree"),
    ("do", "use tree", "collect_wood"),
    ("make_wood_sword", "make_wood_sword"),
    ("noop", "wait"),
]


def test_a_cut_runs_from_the_intent_to_the_event():
    (skill,) = label([episode(*WALK)], "r001", open_play=False)
    assert (skill.start, skill.end, skill.name) == (1, 4, "collect_wood")
    assert skill.id == "r001-e1-0001-collect_wood"
    assert [t.thought for t in skill.turns] == ["collect_wood"] * 3
    assert all(t.tags == () for t in skill.turns)


def test_thoughts_can_be_left_out():
    (skill,) = label([episode(*WALK)], "r001", open_play=False, thoughts=False)
    assert {t.thought for t in skill.turns} == {""}


def test_long_cuts_lose_their_beginning_and_long_waits_are_dropped():
    walk = [("move_left", "use tree")] * 8 + [("move_up", "use tree")]
    far = episode(*walk, ("do", "use tree", "collect_wood"))
    (skill,) = label([far], "r001", open_play=False, max_turns=5)
    assert (skill.start, skill.end) == (5, 10)
    slept = episode(*[("sleep", "sleep")] * 9, ("sleep", "sleep", "wake_up"))
    assert label([slept], "r001", open_play=False, max_turns=5) == []


def test_what_came_in_passing_is_cut_short():
    usual = [episode(("do", "use stone", "collect_stone"), name=f"u{n}") for n in range(2)]
    dug = episode(*[("move_left", "use iron")] * 6, ("do", "use iron", "collect_stone"))
    skill = label([*usual, dug], "r001", open_play=False)[-1]
    assert (skill.start, skill.end) == (5, 7)


def test_open_play_says_what_turns_were_for_and_marks_the_aimless():
    skill = label([episode(*WALK)], "r001", open_play_share=1.0)[-1]
    assert skill.name == "open_play"
    assert len(skill.turns) == len(WALK)
    assert [t.thought for t in skill.turns[:4]] == ["explore"] + ["collect_wood"] * 3
    assert [("aimless" in t.tags) for t in skill.turns] == [False] * 4 + [True] * 2


def test_a_turn_was_not_for_what_came_after_much_else():
    for others, aimless in ((3, False), (9, True)):
        rows = [("move_left", "use tree"), *[("do", "use zombie")] * others]
        rows += [("move_left", "use tree")] * 40 + [("do", "use tree", "collect_wood")]
        skill = label([episode(*rows)], "r001", open_play_share=1.0)[-1]
        assert ("aimless" in skill.turns[0].tags) == aimless
        assert "aimless" in skill.turns[1].tags
        assert skill.turns[20].thought == "collect_wood"


def test_looking_for_a_thing_counts_when_it_was_found_and_is_exploring_otherwise():
    rows = [("move_left", "find tree"), ("do", "use tree", "collect_wood"), ("noop", "find cow")]
    skill = label([episode(*rows)], "r001", open_play_share=1.0)[-1]
    assert [t.thought for t in skill.turns] == ["collect_wood", "collect_wood", "explore"]


def test_turns_before_a_death_are_not_learnt_from():
    rows = [("do", "use tree", "collect_wood")] * 20
    skill = label([episode(*rows, outcome=Outcome.FAILURE)], "r001", open_play_share=1.0)[-1]
    assert "aimless" not in skill.turns[0].tags
    assert "aimless" in skill.turns[-1].tags


def test_instructions_vary_and_are_made_of_the_events_words():
    draw = np.random.default_rng(0)
    said = {words.instruction("make_wood_pickaxe", draw) for _ in range(100)}
    assert words.plain("make_wood_pickaxe") == "Make wood pickaxe."
    assert len(said) > 2
    assert all("wood pickaxe" in text for text in said)
    assert words.instruction("xyzzy", draw) == "Xyzzy."
    assert words.goal("eat_cow") == "eat cow"


def test_the_same_episodes_give_the_same_skills():
    episodes = [episode(*WALK, name=f"e{n}") for n in range(5)]
    assert label(episodes, "r001") == label(episodes, "r001")


def test_what_had_happened_before_is_told_from_what_is_new():
    rows = [("do", "use tree", "collect_wood")] * 2 + [("do", "use cow", "eat_cow")]
    skill = label([episode(*rows)], "r001", open_play_share=1.0)[-1]
    assert ["again" in turn.tags for turn in skill.turns] == [False, True, False]


def test_what_was_gathered_again_and_never_used_is_aimless():
    seen = ["have nothing", "have wood1", "have wood2", "have wood3", "have wood2", "have wood2"]
    rows = [("do", "use tree", "collect_wood")] * 3 + [("place_table", "place_table"), ("noop", "")]
    played = episode(*rows)
    turns = tuple(replace(t, observation=o) for t, o in zip(played.turns, seen, strict=False))
    skill = label([replace(played, turns=turns, final=seen[-1])], "r001", open_play_share=1.0)[-1]
    assert ["aimless" in turn.tags for turn in skill.turns[:3]] == [False, True, False]
