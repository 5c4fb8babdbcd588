"""Outlook: what of the rounds will work in an environment, found by trying each part once, small.

Tiny Bob's random play and his words, Alice's room and what she brings about, trials and goals, what
feedback there can be, and whether names can be kept. Invariant: nothing is written; what is missing
is told as a part that there is not, and a part that fails is told with its cause. Does not: train.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from alicebob.alice.embedded import explore
from alicebob.alice.room import room
from alicebob.bob.tiny import RandomPolicy, build_tokenizer, words_of
from alicebob.envs import World
from alicebob.envs.border import told
from alicebob.envs.hooks import (
    HOOKS,
    events_of,
    has_goals,
    hooks_of,
    marks_of,
    room_of,
    suite_of,
    task_free,
    tasks_of,
)
from alicebob.errors import AliceBobError, EnvError
from alicebob.evaluation import SPLITS, open_play_tasks, trial_tasks
from alicebob.policies import Task
from alicebob.rollout import Actor, play_all
from alicebob.trace import Episode
from alicebob.tracking.naming import cleaned

__all__ = ["Part", "outlook"]

EPISODES = 3
TURNS = 50
NAMED = 12  # names that are told of many
VOCABULARY = 500


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the rounds: whether it will do, or is only not there, and what was found."""

    name: str
    fails: bool
    text: str


def outlook(world: World, seed: int) -> list[Part]:
    """Try the parts of the rounds in an environment and return what there is to say of each."""
    with TemporaryDirectory() as folder:
        found = _Tried(world, seed, Path(folder))
        parts: dict[str, Callable[[], str]] = {
            "tiny Bob": found.bob,
            "Alice": found.alice,
            "trials": found.trials,
            "goals": found.goals,
            "feedback": found.feedback,
            "events": found.names,
            "hooks": found.hooks,
        }
        return [_part(name, ask) for name, ask in parts.items()]


def _part(name: str, ask: Callable[[], str]) -> Part:
    try:
        return Part(name, False, ask())
    except EnvError as error:
        return Part(name, True, str(error))
    except (
        AliceBobError
    ) as error:  # something is wanting: whoever does not use it, does not need it
        return Part(name, False, f"no: {error}")
    except Exception as error:  # noqa: BLE001 - a room may want what this environment does not tell
        return Part(name, True, f"fails with {told(error)}.")


class _Tried:
    """The parts, one after the other; a later one uses what an earlier one found."""

    def __init__(self, world: World, seed: int, folder: Path) -> None:
        self.world, self.env, self.folder = world, world(), folder
        self.seeds = range(seed, seed + EPISODES)
        self.space = range(seed, seed + 100_000)
        self.played: list[Episode] = []
        self.happened: set[str] = set()
        self.memory: Any = None

    def bob(self) -> str:
        tasks = open_play_tasks("validation", self.env, EPISODES, TURNS, 0, self.space, "check")
        self._play(tasks)
        texts = [turn.observation for episode in self.played for turn in episode.turns]
        names = words_of(self.env)
        tokenizer = build_tokenizer(texts, names, VOCABULARY, marks_of(self.env))
        longest = max(len(tokenizer.encode(text)) for text in texts)
        return (
            f"can be built of random play; words of his own: {_listed(names)}; what is seen has up "
            f"to {longest} tokens (bob.context must hold it and the instruction)."
        )

    def alice(self) -> str:
        name = room_of(self.env)
        here = room(name)
        tasks = [
            Task(f"check-{seed}-{n}", seed, "", task_free(self.env, ""), TURNS)
            for seed in self.seeds
            for n in range(here.visits)
        ]
        episodes, memory = explore(
            here, self.world, here.memory(), {}, tasks, len(tasks), self.folder / "alice"
        )
        self.memory = memory
        self._note(episodes)
        done = _listed(sorted(memory.events)) or "nothing that the environment reports"
        return f"room {name!r}; in {len(tasks)} short episodes she brought about: {done}."

    def trials(self) -> str:
        suite = suite_of(self.env)
        if not suite:
            return "none (no suite()); Bob is tried in open play alone."
        short = [replace(trial, max_turns=min(trial.max_turns, TURNS)) for trial in suite]
        self._play(trial_tasks("validation", short, 1, 0, self.space, "check"))
        names, events = [trial.name for trial in suite], events_of(self.env)
        strange = [name for name in names if events and name not in (*events, *self.happened)]
        doubt = f" None of its events is called {_listed(strange)}." if strange else ""
        return f"{len(suite)}: {_listed(names)}.{doubt}"

    def goals(self) -> str:
        if not has_goals(self.env):
            return "none (no tasks()); an episode without a trial is told to achieve much."
        told = []
        for split in ("train", *SPLITS):
            for instruction, options in tasks_of(self.env, split, list(self.seeds)):
                self.env.reset(seed=self.seeds.start, options=options)
                told.append(instruction)
        return f"of its own by split, such as {told[0]!r}."

    def feedback(self) -> str:
        if self.memory is None:
            return "none, for Alice explored nothing."
        verdicts = room(room_of(self.env)).judge(self.played, self.memory)
        names = _listed(sorted({verdict.target for verdict in verdicts}))
        return f"on {names}." if names else "none: nothing is known to be asked for."

    def names(self) -> str:
        names = sorted(self.happened | set(events_of(self.env)))
        if not names:
            return "none; rewards and lasting changes of what is seen stand in for them."
        other = [repr(name) for name in names if cleaned(name) != name]
        odd = f" MLflow does not take all signs of {_listed(other)} and gets others." * bool(other)
        return f"{_listed(names)}.{odd}"

    def hooks(self) -> str:
        found = hooks_of(self.env)
        wrong = [f"{n} (it must be {HOOKS[n][1]})" for n, good in found.items() if not good]
        text = _listed([name for name, good in found.items() if good]) or "none"
        return f"{text}.{f' Taken for no hook: {_listed(wrong)}.' if wrong else ''}"

    def _play(self, tasks: Sequence[Task]) -> None:
        """Play tasks at random, as somebody who knows nothing."""
        self.played += play_all(tasks, self.world, Actor(RandomPolicy), self.folder / "random")
        self._note(self.played)

    def _note(self, episodes: Sequence[Episode]) -> None:
        self.happened |= {event for episode in episodes for event in episode.summary["events"]}


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
