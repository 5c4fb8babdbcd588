from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from alicebob import words
from alicebob.alice.grid import ROOM
from alicebob.alice.grid.label import label, names, reworded
from alicebob.alice.grid.think import bare, think
from alicebob.envs import World
from alicebob.settings import Skills
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


def skills(episodes, **options):
    return [think(skill) for skill in label(episodes, "r001", **options)]


def test_a_cut_runs_from_the_intent_to_the_event():
    (skill,) = skills([episode(*WALK)], open_play=False)
    assert (skill.start, skill.end, skill.name) == (1, 4, "collect_wood")
    assert skill.id == "r001-e1-0001-collect_wood"
    assert [t.thought for t in skill.turns] == ["collect_wood"] * 3
    assert all(t.tags == () for t in skill.turns)


def test_on_the_way_to_what_an_action_stands_by_its_side_is_thought_of():
    way = ("intent:make_wood_sword by table",)
    turns = (
        Turn("next nothing\nknow table_left table_up", "move_left", tags=way),
        Turn("next tree_left\nsee tree_left table_up", "move_right", tags=way),
        Turn("", "make_wood_sword", events=("make_wood_sword",), tags=("intent:make_wood_sword",)),
    )
    (skill,) = skills([replace(episode(), turns=turns)], open_play=False)
    assert [t.thought for t in skill.turns] == [
        "make_wood_sword, table_left",
        "make_wood_sword",
        "make_wood_sword",
    ]


def test_thoughts_can_be_left_out():
    (skill,) = map(bare, label([episode(*WALK)], "r001", open_play=False))
    assert {t.thought for t in skill.turns} == {""}
    assert all(t.tags == () for t in skill.turns)


def test_a_label_keeps_what_turns_were_for_and_thinks_nothing():
    told = label([episode(*WALK)], "r001", open_play_share=1.0, told="Do much.")
    assert [skill.instruction for skill in told][-1] == "Do much."
    for skill in told:
        assert {t.thought for t in skill.turns} == {""}
        assert [t.tags[0] for t in skill.turns] == [
            f"intent:{intent}" for _, intent, *_ in WALK[skill.start : skill.end]
        ]
    assert told[-1].turns[-1].tags == ("intent:wait", "aimless", "again")
    assert think(told[-1]).turns[-1].tags == ("aimless", "again", "aim:wait")


def test_the_room_labels_as_the_parameters_say_and_the_world_tells():
    params = SimpleNamespace(
        skills=Skills(open_play=True, open_play_share=1.0, max_turns=2, validation_share=0.1),
        alice=SimpleNamespace(without=[]),
    )
    played = [episode(*WALK)]
    cut, whole = ROOM.label(played, "r001", World("crafter"), params)
    assert (cut.start, cut.end) == (2, 4)
    assert whole.instruction == "Survive and achieve as much as you can."
    params.skills = params.skills.model_copy(update={"open_play": False})
    assert ROOM.label(played, "r001", World("crafter"), params) == [cut]
    assert {name.partition(".")[0] for name in ROOM.reads["label"]} == {"skills"}


def test_a_thought_says_on_which_side_its_thing_was_in_sight():
    rows = [("move_left", "find tree"), ("move_up", "use tree"), ("do", "use tree", "collect_wood")]
    seen = ["see tree_left", "see tree_left", "next tree_left"]
    played = episode(*rows)
    turns = tuple(replace(t, observation=o) for t, o in zip(played.turns, seen, strict=True))
    for skill in skills([replace(played, turns=turns)], open_play_share=1.0):
        thoughts = [t.thought for t in skill.turns][-2:]
        assert thoughts == ["collect_wood", "collect_wood"]
    assert skill.turns[0].thought == "collect_wood, tree_left"


def test_an_instruction_names_an_event_by_a_word_that_is_not_its_verb():
    (skill,) = label([episode(*WALK)], "r001", open_play=False)
    assert names(skill)
    assert names(reworded(skill, "Bring wood."))
    assert not names(reworded(skill, "Collect anything."))
    assert names(reworded(replace(skill, name="sleep"), "Sleep."))


def test_long_cuts_lose_their_beginning_and_long_waits_are_dropped():
    walk = [("move_left", "use tree")] * 8 + [("move_up", "use tree")]
    far = episode(*walk, ("do", "use tree", "collect_wood"))
    (skill,) = skills([far], open_play=False, max_turns=5)
    assert (skill.start, skill.end) == (5, 10)
    slept = episode(*[("sleep", "sleep")] * 9, ("sleep", "sleep", "wake_up"))
    assert skills([slept], open_play=False, max_turns=5) == []


def test_what_came_in_passing_is_cut_short():
    usual = [episode(("do", "use stone", "collect_stone"), name=f"u{n}") for n in range(2)]
    dug = episode(*[("move_left", "use iron")] * 6, ("do", "use iron", "collect_stone"))
    skill = skills([*usual, dug], open_play=False)[-1]
    assert (skill.start, skill.end) == (5, 7)


def test_open_play_says_what_turns_were_for_and_marks_the_aimless():
    skill = skills([episode(*WALK)], open_play_share=1.0)[-1]
    assert skill.name == "open_play"
    assert len(skill.turns) == len(WALK)
    assert [t.thought for t in skill.turns[:4]] == ["explore"] + ["collect_wood"] * 3
    assert [("aimless" in t.tags) for t in skill.turns] == [False] * 4 + [True] * 2


def test_a_turn_was_not_for_what_came_after_much_else():
    for others, aimless in ((3, False), (9, True)):
        rows = [("move_left", "use tree"), *[("do", "use zombie")] * others]
        rows += [("move_left", "use tree")] * 40 + [("do", "use tree", "collect_wood")]
        skill = skills([episode(*rows)], open_play_share=1.0)[-1]
        assert ("aimless" in skill.turns[0].tags) == aimless
        assert "aimless" in skill.turns[1].tags
        assert skill.turns[20].thought == "collect_wood"


def test_looking_for_a_thing_counts_when_it_was_found_and_is_exploring_otherwise():
    rows = [("move_left", "find tree"), ("do", "use tree", "collect_wood"), ("noop", "find cow")]
    skill = skills([episode(*rows)], open_play_share=1.0)[-1]
    assert [t.thought for t in skill.turns] == ["collect_wood", "collect_wood", "explore"]


def test_turns_before_a_death_are_not_learnt_from():
    rows = [("do", "use tree", "collect_wood")] * 20
    skill = skills([episode(*rows, outcome=Outcome.FAILURE)], open_play_share=1.0)[-1]
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
    assert skills(episodes) == skills(episodes)


def test_what_had_happened_before_is_told_from_what_is_new():
    rows = [("do", "use tree", "collect_wood")] * 2 + [("do", "use cow", "eat_cow")]
    skill = skills([episode(*rows)], open_play_share=1.0)[-1]
    assert ["again" in turn.tags for turn in skill.turns] == [False, True, False]


def test_what_was_gathered_again_and_never_used_is_aimless():
    seen = ["have nothing", "have wood1", "have wood2", "have wood3", "have wood2", "have wood2"]
    rows = [("do", "use tree", "collect_wood")] * 3 + [("place_table", "place_table"), ("noop", "")]
    played = episode(*rows)
    turns = tuple(replace(t, observation=o) for t, o in zip(played.turns, seen, strict=False))
    skill = skills([replace(played, turns=turns, final=seen[-1])], open_play_share=1.0)[-1]
    assert ["aimless" in turn.tags for turn in skill.turns[:3]] == [False, True, False]


def test_what_a_turn_of_a_whole_episode_led_to_is_said_with_thoughts_or_without():
    (*_, whole) = label([episode(*WALK)], "r001", open_play_share=1.0)
    aims = [[tag for tag in t.tags if tag.startswith("aim:")] for t in think(whole).turns]
    assert aims == [[tag for tag in t.tags if tag.startswith("aim:")] for t in bare(whole).turns]
    assert [f"aim:{t.thought.partition(',')[0]}" for t in think(whole).turns] == [
        a for (a,) in aims
    ]
