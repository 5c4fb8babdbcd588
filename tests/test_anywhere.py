import json
import os
import re
import subprocess
import sys
import time
from itertools import permutations
from pathlib import Path

import pytest
import textworld

from alicebob.alice import embedded
from alicebob.alice.anywhere import ROOM
from alicebob.alice.anywhere.memory import KEPT, Memory
from alicebob.alice.anywhere.situation import kind, situation
from alicebob.alice.room import EVIDENCE
from alicebob.alice.validity import check
from alicebob.envs import World
from alicebob.errors import AliceBobError, DamagedData, UsageError
from alicebob.experiment.params import load_params
from alicebob.policies import Live, Reply, Task
from alicebob.rollout import play
from alicebob.trace import AGAIN, INTENT, OPEN_PLAY, Outcome

HOUSE, DOOR = World("textworld:House"), World("textworld:Door")
MASTERS = (1, 2, 3, 4, 5)
STEPS = 5_000


@pytest.fixture(scope="module")
def params():
    return load_params("r001", Path(__file__).parent.parent / "params.yaml")


def tasks(number, worlds, max_turns, first=0, name="e"):
    return [Task(f"{name}-{n:03d}", first + n % worlds, max_turns=max_turns) for n in range(number)]


def explored(world, given, tmp_path, wishes=None, memory=None):
    known = Memory() if memory is None else memory
    return embedded.explore(ROOM, world, known, wishes or {}, given, 20, tmp_path / given[0].id)


def played(world, policy, given):
    env = world()
    return [episode for task in given for episode in play([env], policy, [task], world.name)]


class Random:
    def start(self, wave):
        pass

    def act(self, lives):
        listed = [live.info["admissible_actions"] for live in lives]
        drawn = (int(live.draw.integers(len(a))) for live, a in zip(lives, listed, strict=True))
        return [Reply(a[n]) for a, n in zip(listed, drawn, strict=True)]

    def finish(self, live):
        return {}


class Script(Random):
    def __init__(self, actions):
        self.actions = actions

    def act(self, lives):
        return [Reply(self.actions[len(live.turns)]) for live in lives]


class Watched:
    def __init__(self, policy):
        self.policy = policy

    def start(self, wave):
        pass

    def act(self, lives):
        replies = self.policy.act(lives)
        for live, reply in zip(lives, replies, strict=True):
            live.memory = live.memory or ROOM.watch(ROOM.memory(), live)
            live.memory.before(live, reply.action)
        return replies

    def finish(self, live):
        return {EVIDENCE: live.memory.close(live)}


# --- exploring


@pytest.mark.parametrize("same", [True, False])
def test_a_goal_eight_deep_is_found_that_random_play_does_not_find(same, tmp_path):
    world, turns = World("textworld:Tower", {"same": same}), 500
    number = STEPS // turns
    found = []
    for master in MASTERS:
        given = tasks(number, number // ROOM.visits, turns, first=1000 * master, name=f"m{master}")
        episodes, memory = explored(world, given, tmp_path)
        assert sum(len(episode.turns) for episode in episodes) <= STEPS
        found.append("find_gold" in memory.events)
        blind = played(world, Random(), given)
        assert not any(episode.summary["events"] for episode in blind)
    assert sum(found) >= 4


def test_the_tower_is_as_large_and_deep_as_it_says():
    env = textworld.Tower()
    for seed in range(5):
        env.reset(seed=seed)
        depth = {0: 0}
        for room in (queue := [0]):
            for to in env.rooms[room][1].values():
                if to not in depth:
                    depth[to] = depth[room] + 1
                    queue.append(to)
        assert len(depth) >= 200
        assert depth[env.goal[0]] + 1 >= textworld.FLOORS


def test_a_small_world_is_explored_fast(tmp_path):
    begun = time.process_time()
    episodes, _ = explored(World("textworld:Tower"), tasks(10, 2, 300), tmp_path)
    steps = sum(len(episode.turns) for episode in episodes)
    assert steps / (time.process_time() - begun) > 500


def test_every_turn_says_what_it_was_for(tmp_path):
    episodes, _ = explored(World("textworld:Tower"), tasks(8, 2, 100), tmp_path)
    intents = [turn.tags for episode in episodes for turn in episode.turns]
    assert all(len(tags) == 1 for tags in intents)
    forms = {re.sub(r"(find) [0-9a-f]{8}$|(try) .{1,40}$", r"\1\2", tags[0]) for tags in intents}
    assert forms == {f"{INTENT}find", f"{INTENT}try"}


def test_an_episode_goes_back_to_where_something_is_left_to_try(tmp_path):
    world = World("textworld:Tower")
    first, memory = explored(world, tasks(4, 1, 60), tmp_path)
    again = played(world, ROOM.explorer(memory, {}), [Task("again", 0, max_turns=60)])[0]
    tried = {(turn.observation, turn.action) for episode in first for turn in episode.turns}
    new = [turn for turn in again.turns if (turn.observation, turn.action) not in tried]
    assert len(new) >= 15
    assert again.turns[0].tags[0].startswith(f"{INTENT}find")
    # In another world the same rooms lie elsewhere, and nothing is gone back to.
    other = played(world, ROOM.explorer(memory, {}), [Task("other", 7, max_turns=60)])[0]
    assert other.turns[0].tags[0].startswith(f"{INTENT}try")


SCRIPT = """
import hashlib, json, sys
from pathlib import Path
from alicebob.alice.anywhere import ROOM
from alicebob.envs import World
from alicebob.policies import Task
from alicebob.rollout import play
memory = ROOM.memory.load(Path(sys.argv[1]))
policy, world = ROOM.explorer(memory, {"open_chest": 1.0, "take_axe": 0.5}), World(sys.argv[2])
tasks = [Task(f"t-{n}", n % 3, max_turns=80) for n in range(6)]
for task in tasks:
    episode = next(play([world()], policy, [task], world.name))
    print(hashlib.sha256(json.dumps(episode.to_json()).encode()).hexdigest())
"""


@pytest.mark.parametrize("spec", ["textworld:House", "textworld:Tower?same=true"])
def test_episodes_are_the_same_in_any_process(spec, tmp_path):
    _, memory = explored(World(spec), tasks(8, 3, 80), tmp_path)
    memory.save(tmp_path / "memory.json")
    given = [sys.executable, "-c", SCRIPT, str(tmp_path / "memory.json"), spec]
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    outs = [
        subprocess.run(
            given,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outs[0] == outs[1]
    assert len(set(outs[0].split())) == 6


def times(name, world, memory, wishes, given):
    episodes = played(world, ROOM.explorer(memory.copy(), wishes), given)
    return sum(name in episode.summary["events"] for episode in episodes)


def test_wishes_steer_to_what_was_found(tmp_path):
    world = World("textworld:Tower", {"same": True})
    _, memory = explored(world, tasks(25, 5, 200, first=1000, name="m1"), tmp_path)
    assert memory.events["find_gold"] < memory.episodes / 2
    given = tasks(30, 30, 60, first=500, name="w")
    without = times("find_gold", world, memory, {}, given)
    wished = times("find_gold", world, memory, {"find_gold": 2.0}, given)
    assert wished >= 15 > 2 * without


def test_wishes_steer_in_unknown_worlds_by_what_led_there_in_others(tmp_path):
    world = World(HOUSE.spec, {"clutter": True})
    _, memory = explored(world, tasks(24, 6, 60), tmp_path)
    without = wished = 0
    for name in ("open_chest", "read_book", "light_lamp"):
        given = tasks(60, 12, 60, first=900, name="w")
        without += times(name, world, memory, {}, given)
        wished += times(name, world, memory, {name: 2.0}, given)
    assert wished > 1.15 * without


def test_wishes_steer_where_nothing_is_reported(tmp_path):
    world = World("textworld:House", {"reports": "state"})
    _, memory = explored(world, tasks(20, 4, 60), tmp_path)
    assert memory.events == {}

    def opened(wishes):
        env, count = textworld.House("state"), 0
        policy = ROOM.explorer(memory.copy(), wishes)
        for task in tasks(40, 4, 15, name="w"):
            next(play([env], policy, [task], world.name))
            count += env.opened
        return count

    assert opened({"open_chest": 2.0}) >= opened({}) + 5


def test_a_wish_for_what_nobody_knows_is_no_trouble(tmp_path):
    _, memory = explored(HOUSE, tasks(4, 2, 40), tmp_path)
    policy = ROOM.explorer(memory, {"fly": 3.0})
    assert len(played(HOUSE, policy, [Task("x", 1, max_turns=50)])[0].turns) == 50


def test_a_world_that_lists_no_actions_is_refused():
    live = Live(Task("x", 1), "a text", {}, None)
    with pytest.raises(UsageError, match="no 'admissible_actions' in info"):
        ROOM.explorer(Memory(), {}).start([live])


# --- memory


def test_merging_keeps_no_order(tmp_path):
    episodes = played(HOUSE, ROOM.explorer(Memory(), {}), tasks(4, 2, 60))
    found = set()
    for order in permutations(episodes):
        memory = Memory()
        for episode in order:
            memory.merge(Memory.from_json(json.loads(json.dumps(episode.meta[EVIDENCE]))))
        found.add(json.dumps(memory.to_json()))
    assert len(found) == 1
    memory.save(tmp_path / "memory.json")
    assert json.dumps(Memory.load(tmp_path / "memory.json").to_json()) in found
    copy = memory.copy()
    copy.merge(memory)
    assert json.dumps(memory.to_json()) in found
    assert copy.episodes == 8


def test_what_is_written_is_bounded_and_keeps_what_was_reported():
    memory = Memory()
    for number in range(KEPT + 500):
        length, brought = (900, {"win": 1}) if number == 0 else (number % 300, {})
        place = {"go": [{"next": {str(w): 1 for w in range(20)}}, brought]}
        data = Memory().to_json() | {
            "plays": {"p": ["1", ["go"] * 900, ["k"] * 900]},
            "places": {f"{number:016x}": [3, length, "p", place]},
        }
        memory.merge(Memory.from_json(data))
    data = memory.to_json()
    assert len(data["places"]) == KEPT
    assert f"{0:016x}" in data["places"]
    worlds = data["places"][f"{0:016x}"][3]["go"][0]["next"]
    assert sum(worlds.values()) == 20
    assert len(worlds) == 9


@pytest.mark.parametrize("text", ["", "{", "[]", '{"episodes": 1}', '{"episodes": "x"}'])
def test_a_file_that_is_no_memory_is_named(text, tmp_path):
    (tmp_path / "memory.json").write_text(text)
    with pytest.raises(DamagedData, match=r"memory\.json does not hold"):
        Memory.load(tmp_path / "memory.json")


def test_numbers_that_only_count_and_white_space_tell_no_situations_apart():
    def key(text, *actions, **info):
        return situation(text, info, actions)

    assert key("Turn 3.  A door\n", "open") == key("Turn 17. A door", "open")
    assert key("Score: 3/10. 4 moves left", "open") == key("Score: 9/10. 1 moves left", "open")
    assert key("Room 3", "open") != key("Room 4", "open")
    assert key("a", "x", "y") == key("a", "y", "x") != key("a", "x")
    assert key("a", "x", state={"n": 1}) == key("b", "x", state={"n": 1})
    assert key("a", "x", state={"n": 1}) != key("a", "x", state={"n": 2})
    assert kind("Take the  key 3 from drawer 12!") == "take_the_key_from_drawer"


def test_watching_another_policy_teaches_what_the_own_play_would(params):
    own = played(HOUSE, ROOM.explorer(Memory(), {}), [Task("a", 3, max_turns=40)])[0]

    seen = played(HOUSE, Watched(Script(own.actions)), [Task("a", 3, max_turns=40)])[0]
    assert seen.meta[EVIDENCE] == own.meta[EVIDENCE]
    wild = played(HOUSE, Watched(Random()), tasks(6, 3, 60))
    memory = Memory()
    wild = embedded.learned(wild, memory)
    skills = ROOM.label(wild, "r001", HOUSE, params)
    assert {skill.name for skill in skills} - {OPEN_PLAY} == set(memory.events)
    assert check(skills, wild, HOUSE) == (skills, {})


# --- labels


def test_the_readme_s_door_yields_its_two_skills_without_needless_actions(tmp_path, params):
    episodes, memory = explored(DOOR, tasks(4, 2, 30), tmp_path)
    assert memory.events == {"open_door": 4, "take_key": 4}
    skills = ROOM.label(episodes, "r001", DOOR, params)
    way = {
        "take_key": ["take key"],
        "open_door": ["take key", "open door"],
        OPEN_PLAY: ["take key", "open door"],
    }
    assert {skill.name for skill in skills} == set(way)
    for skill in skills:
        assert [turn.action for turn in skill.turns] == way[skill.name]
        assert all(turn.tags[0].startswith(INTENT) for turn in skill.turns)
        assert not any(turn.thought for turn in skill.turns)
    assert check(skills, episodes, DOOR) == (skills, {})
    assert {skill.instruction for skill in skills} >= {"Achieve as much as you can."}
    assert all(ROOM.names(skill) for skill in skills if skill.name != OPEN_PLAY)
    thought = {skill.name: [t.thought for t in ROOM.think(skill).turns] for skill in skills}
    assert thought["open_door"] == ["open door", "open door"]
    assert thought[OPEN_PLAY] == ["take key", "open door"]
    for skill in skills:
        assert not any(tag.startswith(INTENT) for t in ROOM.bare(skill).turns for tag in t.tags)


@pytest.mark.parametrize("reports", ["events", "rewards", "state", ""])
def test_skills_come_of_whatever_is_told_and_all_of_them_replay(reports, tmp_path, params):
    world = World("textworld:House", {"reports": reports})
    episodes, memory = explored(world, tasks(20, 4, 60), tmp_path)
    skills = ROOM.label(episodes, "r001", world, params)
    assert len({skill.id for skill in skills}) == len(skills)
    assert check(skills, episodes, world) == (skills, {})
    names = {skill.name for skill in skills} - {OPEN_PLAY}
    assert names == set(memory.known())
    assert {"take_lamp", "take_key"} <= names
    # Of an answer that only a look makes go away, nobody can tell that it lasts.
    assert (names >= {"light_lamp", "open_chest"}) == bool(reports)
    assert not names & {"go_north", "go_south", "look"}
    for skill in skills:
        assert len(skill.turns) <= params.skills.max_turns or skill.name == OPEN_PLAY
        assert skill.turns[-1].action.replace(" ", "_") == skill.name or skill.name == OPEN_PLAY
    assert any(skill.name == OPEN_PLAY for skill in skills) == (reports in ("events", "rewards"))
    said = {skill.instruction for skill in skills if skill.name == "light_lamp"}
    assert reports != "state" or all("The lamp glows" in text for text in said)
    assert ROOM.label(episodes, "r001", world, params) == skills


def test_where_some_episodes_have_events_these_alone_count(params):
    world = World("textworld:Paying")
    given = [Task(f"p-{n}", n, max_turns=6) for n in range(4)]
    memory = Memory()
    episodes = embedded.learned(played(world, Watched(Script(["wait"] * 6)), given), memory)
    assert (memory.events, memory.gains) == ({"find_coin": 2}, {"wait": 2})
    assert memory.known() == {"find_coin": 2}
    skills = ROOM.label(episodes, "r001", world, params)
    assert {(skill.name, skill.episode) for skill in skills} == {
        (name, episode) for name in ("find_coin", OPEN_PLAY) for episode in ("p-0", "p-2")
    }
    assert {(v.target, v.success) for v in ROOM.judge(episodes, memory)} == {
        ("find_coin", True),
        ("find_coin", False),
    }


def test_what_is_gone_for_good_is_a_skill_too(tmp_path, params):
    world = World("textworld:Silent")
    episodes, memory = explored(world, tasks(4, 2, 20), tmp_path)
    skills = ROOM.label(episodes, "r001", world, params)
    assert memory.known() == {"take_key": 4}
    assert {skill.name for skill in skills} == {"take_key"}
    assert all("no longer" in s.instruction and '"a key"' in s.instruction for s in skills)
    assert check(skills, episodes, world) == (skills, {})


def test_a_shortened_skill_has_no_turn_that_can_be_left_out(tmp_path, params):
    episodes, _ = explored(HOUSE, tasks(12, 3, 40), tmp_path)
    skills = [s for s in ROOM.label(episodes, "r001", HOUSE, params) if s.name == "light_lamp"]
    env = HOUSE()
    assert len(skills) >= 3
    for skill in skills:
        for left_out in range(len(skill.turns) - 1):
            env.reset(seed=skill.seed)
            happened = []
            for number, turn in enumerate(skill.turns):
                if number != left_out:
                    *_, info = env.step(turn.action)
                    happened = info["events"]
            assert happened != ["light_lamp"]


def test_open_play_is_the_best_episodes_or_none(tmp_path, params):
    episodes, _ = explored(HOUSE, tasks(8, 4, 60), tmp_path)

    def whole(**changes):
        settings = params.skills.model_copy(update=changes)
        changed = params.model_copy(update={"skills": settings})
        skills = ROOM.label(episodes, "r001", HOUSE, changed)
        return {skill.episode: skill for skill in skills if skill.name == OPEN_PLAY}

    assert whole(open_play=False) == {}
    kinds = {episode.id: len(episode.summary["events"]) for episode in episodes}
    half = whole(open_play_share=0.5)
    assert min(kinds[name] for name in half) >= max(kinds[n] for n in kinds if n not in half)
    for episode in episodes:
        turns = half[episode.id].turns if episode.id in half else ()
        assert not turns or {e for t in turns for e in t.events} >= set(episode.summary["events"])
        assert len(turns) < len(episode.turns)
    again = [t for skill in whole(open_play_share=1.0).values() for t in skill.turns]
    assert any(AGAIN in turn.tags for turn in again) or all(t.events for t in again[-1:])


def test_trivial_variants_are_thinned(tmp_path, params):
    episodes, _ = explored(HOUSE, tasks(30, 3, 60), tmp_path)
    skills = [s for s in ROOM.label(episodes, "r001", HOUSE, params) if s.name != OPEN_PLAY]
    counts = {}
    for skill in skills:
        counts[skill.name, skill.seed] = counts.get((skill.name, skill.seed), 0) + 1
    assert max(counts.values()) <= 2
    shown = [(s.name, s.seed, [(t.observation, t.action) for t in s.turns]) for s in skills]
    assert all(shown.count(one) == 1 for one in shown)


# --- validity


def test_a_skill_with_turns_left_out_is_replayed_by_itself(tmp_path, params):
    episodes, _ = explored(DOOR, tasks(4, 1, 30), tmp_path)
    skills = ROOM.label(episodes, "r001", DOOR, params)
    skill = next(s for s in skills if s.end - s.start > len(s.turns))
    assert check([skill], episodes, DOOR, workers=2) == ([skill], {})
    foreign = replaced(skill, turns=(*skill.turns[:-1], evolved(skill.turns[-1], action="fly")))
    assert check([foreign], episodes, DOOR) == ([], {"its turns are not its episode's": 1})
    untrue = replaced(skill, turns=(evolved(skill.turns[0], observation="no"), *skill.turns[1:]))
    assert check([untrue], episodes, DOOR) == ([], {"the replay shows another observation": 1})


def replaced(skill, **changes):
    return type(skill).from_json(
        skill.to_json() | {"turns": [t.to_json() for t in changes["turns"]]}
    )


def evolved(turn, **changes):
    return type(turn).from_json(turn.to_json() | changes)


def test_environments_are_closed_after_use(tmp_path, params):
    diary = tmp_path / "diary"
    world = World(HOUSE.spec, {"diary": str(diary)})
    episodes, _ = explored(HOUSE, tasks(4, 2, 40), tmp_path)
    skills = ROOM.label(episodes, "r001", world, params)
    assert diary.read_text().count("closed") == 2
    check(skills, episodes, world)
    assert diary.read_text().count("closed") == 3
    check(skills, episodes, world, workers=2)
    assert diary.read_text().count("closed") == 5


def test_a_killed_replay_worker_is_one_sentence(params):
    world = World("textworld:Fatal", {"home": os.getpid()})
    episodes = played(world, ROOM.explorer(Memory(), {}), tasks(4, 4, 3))
    skills = ROOM.label(episodes, "r001", world, params)
    assert check(skills, episodes, world) == (skills, {})
    with pytest.raises(AliceBobError, match="A worker process was killed"):
        check(skills, episodes, world, workers=2)


# --- verdicts and advice


def test_bob_is_judged_on_his_target_or_on_what_alice_can_do(tmp_path):
    _, memory = explored(DOOR, tasks(4, 2, 30), tmp_path)

    def bob(name, actions, target=""):
        task = Task(name, 1, max_turns=len(actions), target=target)
        return played(DOOR, Script(actions), [task])[0]

    episodes = [
        bob("won", ["take key", "open door"], "open_door"),
        bob("shy", ["wait", "take key"], "open_door"),
        bob("stuck", ["open door"] * 9, "open_door"),
        bob("slow", ["wait", "open door", "take key", "wait"], "open_door"),
        bob("free", ["wait", "take key"]),
        bob("lazy", ["wait", "wait"]),
    ]
    verdicts = ROOM.judge(episodes, memory)
    said = {(v.episode, v.target): (v.success, v.reason) for v in verdicts}
    assert said == {
        ("won", "open_door"): (True, ""),
        ("shy", "open_door"): (False, "never_tried"),
        ("stuck", "open_door"): (False, "loop"),
        ("slow", "open_door"): (False, "out_of_turns"),
        ("free", "take_key"): (True, ""),
        ("lazy", "take_key"): (False, "never_tried"),
    }
    assert {v.reason for v in verdicts} - {""} <= set(ROOM.reasons)
    advice = ROOM.advise("r001", verdicts, episodes, memory, {"take_key": 40})
    assert advice.skills["open_door"]["tried"] == 4
    assert advice.explore["open_door"] > advice.explore["take_key"] > 0
    assert "`open door`**: 1 of 4" in advice.prose
    assert "as in shy" in advice.prose or "as in stuck" in advice.prose
    free = [episode for episode in episodes if "target" not in episode.meta]
    wishes = ROOM.advise("r001", ROOM.judge(free, memory), free, memory, {}).explore
    assert wishes["open_door"] > wishes["take_key"] > 0


def test_invalid_actions_and_failures_are_reasons_too(tmp_path):
    _, memory = explored(HOUSE, tasks(8, 4, 60), tmp_path)
    odd = played(HOUSE, Script(["fly", "look", "swim"]), [Task("odd", 1, max_turns=3, target="x")])
    assert ROOM.judge(odd, memory)[0].reason == "invalid"
    lost = [odd[0].evolve(id="lost", outcome=Outcome.FAILURE, turns=odd[0].turns[1:2])]
    assert ROOM.judge(lost, memory)[0].reason == "failed"


def test_what_goals_ask_for_in_words_is_wished_for(tmp_path):
    _, memory = explored(HOUSE, tasks(12, 4, 60), tmp_path)
    task = Task("g", 1, "Please open the wooden chest.", max_turns=2, target="goal")
    episodes = played(HOUSE, Script(["look", "look"]), [task])
    advice = ROOM.advise("r001", ROOM.judge(episodes, memory), episodes, memory, {})
    assert advice.explore["open_chest"] > advice.explore["goal"]
    assert "read_book" not in advice.explore


# --- hostile worlds

TRICKS = ["plain", "long", "digits", "blank", "many", "none", "free", "odd", "nameless"]


@pytest.mark.parametrize("trick", TRICKS)
def test_hostile_texts_neither_stop_nor_slow_nor_speak(trick, tmp_path, params):
    world = World("textworld:Hostile", {"trick": trick})
    begun = time.process_time()
    episodes, memory = explored(world, tasks(6, 2, 60), tmp_path)
    assert [len(episode.turns) for episode in episodes] == [40] * 6
    skills = ROOM.label(episodes, "r001", world, params)
    kept, _ = check(skills, episodes, world)
    assert kept == skills
    assert time.process_time() - begun < 10
    memory.save(tmp_path / "memory.json")
    assert Memory.load(tmp_path / "memory.json").to_json() == memory.to_json()
    for skill in map(ROOM.think, skills):
        for text in (skill.instruction, *(turn.thought for turn in skill.turns)):
            assert text.isprintable()
            assert not any(mark in text for mark in ("<|", "](", "`", "\u202e"))
    free = [episode.evolve(meta={}) for episode in episodes]
    asked = [e.evolve(id=f"a{n}", meta={"target": "x"}) for n, e in enumerate(episodes)]
    judged = ROOM.judge([*free, *asked], memory)
    prose = ROOM.advise("r001", judged, [*free, *asked], memory, {}).prose
    bare = re.sub(r"`[^`\n]*`", "", prose)
    assert not any(mark in bare for mark in ("<|", "Ignore", "](", "`", "\x00", "\x1b"))
    assert all(
        line[:3] in ("", "# F", "## ", "- *", "- `") or line[:4] == "Bob "
        for line in prose.split("\n")
    )


def test_an_environment_that_raises_owes_its_episode_and_leaves_the_memory_whole():
    world = World("textworld:Hostile", {"trick": "raises"})
    episode = played(world, ROOM.explorer(Memory(), {}), [Task("x", 1)])[0]
    assert episode.outcome is Outcome.ENV_ERROR
    assert Memory.from_json(episode.meta[EVIDENCE]).episodes == 1
