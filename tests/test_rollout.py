import functools
import os

import pytest

from alicebob.envs import World
from alicebob.errors import AliceBobError
from alicebob.policies import Reply, Task
from alicebob.rollout import Actor, Crew, play_all, seeds
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
    with pytest.raises(AliceBobError, match="e3 ended as env_error"):
        run(tmp_path, broken=3)
    kept = [e.id for e in read_journal(tmp_path / "episodes.jsonl")]
    assert kept == ["e0", "e1", "e2"]
    assert len(run(tmp_path)) == len(TASKS)


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
