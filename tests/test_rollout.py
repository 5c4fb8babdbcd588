import functools
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alicebob.envs import World, limit
from alicebob.errors import AliceBobError, EnvError, UsageError
from alicebob.policies import Reply, Task
from alicebob.replay import retraced
from alicebob.rollout import Actor, Crew, play_all, seeds, workers
from alicebob.trace import Outcome, read_journal


class Line:
    """Walk right from a seeded place to 9; falls off the world at 13 on purpose."""

    def __init__(self, broken=-1):
        self.broken = broken

    def reset(self, *, seed=None, options=None):
        self.place, self.seed = (seed or 0) % 5, seed
        return f"at {self.place}", {}

    def step(self, action):
        if self.seed == self.broken and self.place > 5:
            raise RuntimeError("the floor is missing")
        self.place += action == "right"
        events = ["arrive"] if self.place == 9 else []
        invalid = action not in ("right", "stay")
        return f"at {self.place}", 0.0, False, False, {"events": events, "invalid_action": invalid}


class Drunk:
    def __init__(self, log=None):
        self.log = log

    def start(self, wave):
        if self.log:
            with open(self.log, "a") as file:
                file.write(",".join(live.task.id for live in wave) + "\n")

    def act(self, lives):
        words = ["right", "stay", "swim"]
        return [Reply(words[live.draw.integers(3)], reply_tokens=2) for live in lives]

    def finish(self, live):
        return {"seen": len(live.turns)}


LINE = World("test_rollout:Line")
TASKS = [Task(f"e{n}", n, "Go right.", {}, 40, target="arrive") for n in range(7)]


def run(folder, **options):
    log = options.pop("log", None)
    world = World("test_rollout:Line", {"broken": options.pop("broken", -1)})
    build = functools.partial(Drunk, str(log) if log else None)
    return play_all(TASKS, world, Actor(build, **options), folder)


def test_episodes_do_not_depend_on_workers_or_on_a_kill(tmp_path):
    whole = run(tmp_path / "a", width=2)
    assert whole == run(tmp_path / "b", width=2, workers=2)
    assert [e.id for e in whole] == [t.id for t in TASKS]
    journal = tmp_path / "a" / "episodes.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:3]) + lines[3][:50])  # killed within the second wave
    log = tmp_path / "log"
    assert run(tmp_path / "a", width=2, log=log) == whole
    assert log.read_text().split() == ["e2,e3", "e4,e5", "e6"]  # only whole waves are kept
    assert len({e.id for e in read_journal(journal)}) == len(TASKS)


class Named(Drunk):
    """Says which process played, and who was asked for."""

    def __init__(self, name):
        super().__init__()
        self.name = name

    def finish(self, live):
        return {"process": os.getpid(), "name": self.name}


def test_a_crew_stays_for_the_next_call_and_plays_what_that_brings(tmp_path):
    with Crew(2) as crew:
        first, second = (
            play_all(TASKS, LINE, Actor(functools.partial(Named, name)), tmp_path / name, crew=crew)
            for name in ("first", "second")
        )
    assert {e.meta["name"] for e in first} == {"first"}
    assert {e.meta["name"] for e in second} == {"second"}
    processes = {e.meta["process"] for e in [*first, *second]}
    assert 1 <= len(processes) <= 2
    assert os.getpid() not in processes
    assert [e.turns for e in first] == [e.turns for e in run(tmp_path / "alone")]


def test_outcomes_events_and_budgets_are_recorded(tmp_path):
    episodes = run(tmp_path, width=3)
    won = [e for e in episodes if e.outcome is Outcome.SUCCESS]
    assert won
    assert all(e.turns[-1].events == ("arrive",) and e.final == "at 9" for e in won)
    assert all(e.meta == {"target": "arrive", "seen": len(e.turns)} for e in episodes)
    assert all(
        e.budget
        == {"env_steps": len(e.turns), "prompt_tokens": 0, "reply_tokens": 2 * len(e.turns)}
        for e in episodes
    )
    swam = [t for e in episodes for t in e.turns if t.action == "swim"]
    assert swam
    assert all(t.tags == ("invalid_action",) for t in swam)


def test_a_broken_environment_is_owed_and_the_rest_is_kept(tmp_path):
    told = (
        r"Episode e3 \(seed 3\) is owed after \d+ turns. test_rollout:Line\?broken=3: step raised "
        r"RuntimeError \(the floor is missing, test_rollout.py line \d+\)"
    )
    with pytest.raises(EnvError, match=told):
        run(tmp_path, broken=3)
    kept = [e.id for e in read_journal(tmp_path / "episodes.jsonl")]
    assert kept == ["e0", "e1", "e2"]
    assert len(run(tmp_path)) == len(TASKS)


def stop(kind, text):
    raise kind(text)


def spin(how):
    while how == "loop":
        pass
    if how == "sleep":
        time.sleep(600)
    return sum(range(10**13))  # C, which hears no signal and lets no other thread run


def step(observation="there", reward=0.0, terminated=False, **info):
    return observation, reward, terminated, False, info


#: What an environment may do wrong, in which call, and how it is said.
FAULTS = [
    ("reset", lambda: stop(OSError, "no\x1b[31m\ngas"), r"reset raised OSError (no\x1b[31m gas, "),
    (
        "reset",
        lambda: "here",
        "what reset returns must be an observation and an info, and is",
    ),
    ("reset", lambda: None, "what reset returns must be an observation and an info, and is None"),
    ("reset", lambda: (None, {}), "the observation of reset must be a string, and is None"),
    ("reset", lambda: ("here", None), "the info of reset must be a dict, and is None"),
    ("step", lambda: stop(ValueError, ""), "step raised ValueError, test_rollout.py line"),
    ("step", lambda: stop(SystemExit, "0"), "step raised SystemExit (0, "),
    ("step", lambda: stop(KeyboardInterrupt, ""), "step raised KeyboardInterrupt"),
    ("step", lambda: step()[1:], "what step returns must be observation, reward, terminated"),
    ("step", lambda: step(None), "the observation of step must be a string"),
    ("step", lambda: step(reward=math.nan), "the reward of step must be a finite number"),
    ("step", lambda: step(reward="1"), "must be a finite number, and is '1'"),
    ("step", lambda: step(reward=10**400), "must be a finite number, and is an int"),
    ("step", lambda: step(terminated="no"), "terminated, of step, must be True or False"),
    ("step", lambda: step(events="won"), "info['events'] of step must be a list of strings"),
    ("step", lambda: step(events=None), "must be a list of strings, and is None"),
    ("step", lambda: step(events=[1]), "must be a list of strings, and is a list of 1"),
    ("step", lambda: step(admissible_actions={"a"}), "must be a list of strings, and is a set"),
    ("step", lambda: step(progress=math.nan), "info['progress'] of step must be a number from"),
    ("step", lambda: step(success=None), "info['success'] of step must be True or False"),
    ("step", lambda: step(result=object()), "info['result'] of step must be plain data"),
]


class Faulty:
    """Does one thing wrong, in the world of seed 1."""

    def __init__(self, fault):
        self.fault = fault

    def reset(self, *, seed=None, options=None):
        self.seed = seed
        return self._found("reset", ("here", {}))

    def step(self, action):
        return self._found("step", step())

    def _found(self, call, good):
        if self.seed == 1 and isinstance(self.fault, str) and call == "step":
            spin(self.fault)
        if self.seed == 1 and isinstance(self.fault, int) and FAULTS[self.fault][0] == call:
            return FAULTS[self.fault][1]()
        return good


def faulty(folder, fault, **options):
    world = World("test_rollout:Faulty", {"fault": fault})
    tasks = [Task(f"e{n}", n, max_turns=3) for n in range(3)]
    return play_all(tasks, world, Actor(Drunk, **options), folder)


@pytest.mark.parametrize("fault", range(len(FAULTS)))
def test_whatever_an_environment_does_is_its_own_episodes_end_in_one_sentence(tmp_path, fault):
    with pytest.raises(EnvError) as raised:
        faulty(tmp_path, fault, threads=True)  # there no Ctrl-C is heard
    told = str(raised.value)
    assert f"Episode e1 (seed 1) is owed after 0 turns. {Faulty.__module__}:Faulty?fault=" in told
    assert FAULTS[fault][2] in told
    assert told.isprintable()
    assert [e.id for e in read_journal(tmp_path / "episodes.jsonl")] in (["e0"], ["e0", "e2"])


class Half(Line):
    """Speaks in halves of surrogate pairs, which no file and no tokenizer can hold."""

    def step(self, action):
        found = super().step(action)
        return f"\ud800 {found[0]}", *found[1:4], {**found[4], "events": ["see \udfff", "ähem"]}


def test_what_no_file_can_hold_is_spelt_out_and_replays(tmp_path):
    world = World("test_rollout:Half")
    (episode,) = play_all([Task("e", 0, max_turns=2)], world, Actor(Drunk), tmp_path)
    assert [turn.events for turn in episode.turns] == [("see \\udfff", "ähem")] * 2
    assert episode.turns[1].observation.startswith("\\ud800 at")
    assert list(retraced(world(), episode, 2))[1][0] == episode.turns[1].observation


def test_an_exit_in_an_environment_ends_no_worker(tmp_path):
    for kind in ("SystemExit", "KeyboardInterrupt"):
        fault = [said.startswith(f"step raised {kind}") for *_, said in FAULTS].index(True)
        with pytest.raises(EnvError, match=rf"e1 \(seed 1\) is owed .* step raised {kind}"):
            faulty(tmp_path / kind, fault, workers=2)


def hanging(folder, how, **options):
    words = ", ".join(f"{name}={value}" for name, value in options.items())
    code = (
        f"import pathlib, test_rollout\nif __name__ == '__main__':\n"
        f"    test_rollout.faulty(pathlib.Path({str(folder)!r}), {how!r}, {words})"
    )
    script = folder / "script.py"
    script.write_text(code)
    return subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "ALICEBOB_STEP_LIMIT": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("how", "options"),
    [
        ("loop", {}),
        ("sleep", {"workers": 2}),
        ("sum", {}),
        ("sum", {"workers": 2}),
        ("sleep", {"threads": True}),
    ],
)
def test_an_environment_that_hangs_is_stopped_and_its_episode_owed(tmp_path, how, options):
    done = hanging(tmp_path, how, **options)
    world = f"test_rollout:Faulty?fault={how}"
    if how == "sum" or options.get("threads"):  # nothing in the process could stop it
        assert f"\nError: {world}, seed 1, did not come back within 1 s" in done.stderr
        assert done.returncode == (1 if options.get("workers") else -signal.SIGKILL)
    else:
        assert (
            f"Episode e1 (seed 1) is owed after 0 turns. {world}: step did not come" in done.stderr
        )
        assert done.returncode == 1
    assert "e0" in [e.id for e in read_journal(tmp_path / "episodes.jsonl")]


def test_only_time_in_the_environment_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("ALICEBOB_STEP_LIMIT", "soon")
    limit._page.cache_clear()
    with pytest.raises(UsageError, match="ALICEBOB_STEP_LIMIT must be a number"):
        run(tmp_path / "a")
    monkeypatch.setenv("ALICEBOB_STEP_LIMIT", "0.2")

    class Slow(Drunk):
        def act(self, lives):
            time.sleep(0.4)
            return super().act(lives)

    tasks = [Task("e0", 0, max_turns=3)]
    try:
        assert len(play_all(tasks, LINE, Actor(Slow), tmp_path / "b")[0].turns) == 3
    finally:
        limit._page.cache_clear()


def test_the_number_of_workers_is_one(monkeypatch):
    for wrong in ("abc", "0", "-1", "1.5"):
        monkeypatch.setenv("ALICEBOB_WORKERS", wrong)
        with pytest.raises(UsageError, match="ALICEBOB_WORKERS must be a"):
            workers()


class Shut(Line):
    """Says in a file that it was closed."""

    def __init__(self, log):
        super().__init__()
        self.log = log

    def close(self):
        with open(self.log, "a") as file:
            file.write("closed\n")
        raise OSError("closed twice")


@pytest.mark.parametrize("options", [{}, {"workers": 2}, {"workers": 2, "threads": True}])
def test_environments_are_closed_and_what_they_say_then_costs_nothing(tmp_path, options):
    log = tmp_path / "log"
    world = World("test_rollout:Shut", {"log": str(log)})
    assert len(play_all(TASKS, world, Actor(Drunk, **options), tmp_path)) == len(TASKS)
    assert 1 <= len(log.read_text().split()) <= options.get("workers", 1)


def test_seeds_are_distinct_of_their_space_and_differ_by_purpose():
    space = range(1000, 1100)
    first = seeds("explore r001", 1, 50, space)
    assert len(set(first)) == 50
    assert set(first) <= set(space)
    assert first == seeds("explore r001", 1, 50, space)
    assert first != seeds("explore r002", 1, 50, space)
    assert first != seeds("explore r001", 2, 50, space)
    with pytest.raises(AliceBobError, match="needs 101 seeds"):
        seeds("explore", 1, 101, space)


class Scripted(Drunk):
    """Says what it was given, one word a turn."""

    def __init__(self, words):
        self.words = words

    def start(self, wave):
        pass

    def act(self, lives):
        return [Reply(self.words[len(live.turns)]) for live in lives]


@pytest.mark.parametrize(
    ("hopeless", "words", "ended", "turns"),
    [
        (3, "swim swim stay swim swim swim stay", Outcome.HOPELESS, 6),
        (3, "swim swim stay swim swim stay swim", Outcome.TURN_LIMIT, 7),
        (0, "swim swim swim swim swim swim swim", Outcome.TURN_LIMIT, 7),
        (7, "swim swim swim swim swim swim swim", Outcome.TURN_LIMIT, 7),
    ],
)
def test_an_episode_ends_after_so_many_invalid_actions_in_a_row(
    tmp_path, hopeless, words, ended, turns
):
    task = Task("one", 1, max_turns=7, hopeless=hopeless)
    actor = Actor(functools.partial(Scripted, words.split()))
    (episode,) = play_all([task], LINE, actor, tmp_path)
    assert (episode.outcome, len(episode.turns)) == (ended, turns)
    assert not episode.outcome.owed
