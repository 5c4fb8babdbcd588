"""Speakers: who does a verb of Alice: the room that knows the environment, or a language model.

Invariant: whoever does a verb takes the same and returns the same. Does not: choose who does it
(see `alicebob.alice.voice`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alicebob.alice import backward, committee, embedded, propose, query
from alicebob.alice.backward import Stretch
from alicebob.alice.committee import Verdicts
from alicebob.alice.correct import Guided, Teaches
from alicebob.alice.feedback import Feedback, Verdict
from alicebob.alice.query import Asks
from alicebob.alice.room import Room
from alicebob.envs import World
from alicebob.envs.hooks import Trial, task_free
from alicebob.errors import UsageError
from alicebob.figures import share
from alicebob.progress import Bar
from alicebob.retrieval.documents import Document
from alicebob.rollout import Actor, workers
from alicebob.settings import Params
from alicebob.trace import OPEN_PLAY, Episode, Skill

if TYPE_CHECKING:
    from alicebob.alice.model.role import Role
    from alicebob.policies.chat import Chat

__all__ = ["Bars", "Embedded", "Said", "Silent", "Spoken"]

Bars = Callable[[str, int | None, str], Bar]


@dataclass(frozen=True, slots=True)
class Said:
    """Skills with words: how many were lost, for which reason, and what was asked for them.

    `files` are texts, by name, that are kept beside the skills of the round.
    """

    skills: list[Skill]
    lost: Mapping[str, int] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    about: str = (
        "Skills cut from task-free play, with instructions written afterwards; one file a round."
    )
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The verbs as the room does them."""

    room: Room
    params: Params
    world: World
    round: str
    scratch: Path
    bar: Bars

    @property
    def visits(self) -> int:
        """How many episodes are played in each world."""
        return self.room.visits

    def explore(
        self, tasks: Any, memory: Any, wishes: Any, prose: str, done: Any
    ) -> tuple[list[Episode], Any, list[str]]:
        """Play without a task; see `Alice.explore`."""
        generation, journals = self.params.explore.generation, self.scratch / "journals"
        without = getattr(self.params.alice, "without", ())  # declared where it matters
        episodes, after = embedded.explore(
            self.room,
            self.world,
            memory,
            wishes,
            tasks,
            generation,
            journals,
            workers(),
            done,
            without,
        )
        return episodes, after, []

    def label(self, episodes: Sequence[Episode]) -> Said:
        """Return the skills that episodes show; see `Alice.label`."""
        return Said(self.room.label(episodes, self.round, self.world, self.params))

    def think(self, skills: Sequence[Skill]) -> Said:
        """Return skills with thoughts; see `Alice.think`."""
        return Said([self.room.think(skill) for skill in skills])

    def judge(
        self, episodes: Sequence[Episode], memory: Any
    ) -> tuple[list[Verdict], dict[str, Any]]:
        """Return verdicts; see `Alice.judge`."""
        return self.room.judge(episodes, memory), {}

    def advise(
        self, verdicts: Any, episodes: Any, memory: Any, counts: Any
    ) -> tuple[Feedback, dict[str, Any]]:
        """Return feedback; see `Alice.advise`."""
        return self.room.advise(self.round, verdicts, episodes, memory, counts), {}

    def propose(
        self, documents: Sequence[Document], each: int, worlds: Sequence[int]
    ) -> tuple[list[Trial], dict[str, Any]]:
        """Return tasks that documents speak of; see `Alice.propose`."""
        limit = self.params.explore.max_turns
        return propose.named(documents, each, self.world(), worlds, limit), {}

    def attempt(self, tasks: Any, memory: Any, done: Any) -> tuple[list[Episode], Any]:
        """Carry out tasks; see `Alice.attempt`."""
        generation, journals = self.params.explore.generation, self.scratch / "journals"
        played = self.room, self.world, memory, tasks, generation, journals, workers(), done
        return embedded.attempt(*played, getattr(self.params.alice, "without", ()))

    def backward(
        self, found: Sequence[Stretch], episodes: Sequence[Episode]
    ) -> tuple[list[tuple[Skill, Stretch]], dict[str, int], dict[str, Any]]:
        """Return stretches as skills told afterwards; see `Alice.backward`."""
        labels = backward.labels_of(episodes, self.label(episodes).skills)
        skills, bare = [], 0
        for each in found:
            again = each.skill(self.round, backward.REPLICATE, backward.replicate(each))
            skills.append((again, each))
            name, told = backward.task(each, labels)
            bare += not name
            skills += [(each.skill(self.round, name, told), each)] if name else []
        return skills, {"nothing to ask for came of it": bare} if bare else {}, {}

    def approve(
        self, skills: Sequence[tuple[Skill, Stretch]], judges: int
    ) -> tuple[list[Verdicts], dict[str, Any]]:
        """Return each judge's verdict on skills; see `Alice.approve`."""
        return [committee.verdicts(skill, stretch) for skill, stretch in skills], {}

    def query(self) -> Asks:
        """Return what makes what asks for references; see `Alice.query`."""
        return query.plainly

    def alongside(self, actor: Actor) -> Actor:
        """Return who plays as an actor does, asked or not; see `Alice.alongside`."""
        return actor

    def teaches(self, memory: Any) -> Teaches:
        """Return what makes the room's teacher; see `Alice.correct`.

        Raises UsageError where the room has no counsel.
        """
        if self.room.guide is None:
            raise UsageError(
                "The embedded Alice of this environment cannot correct Bob as he plays: she knows "
                "no better than he does what to do in it. Let a language model do it "
                "(alice.correct: model), or use another method, e.g. rft."
            )
        without = tuple(getattr(self.params.alice, "without", ()))
        return functools.partial(Guided, functools.partial(self.room.guide, memory, without))

    def taught(self, episodes: Sequence[Episode]) -> dict[str, Any]:
        """Return what was asked for it: nothing."""
        return {}


@dataclass(frozen=True, slots=True)
class Silent:
    """Thinking, left out."""

    room: Room

    def think(self, skills: Sequence[Skill]) -> Said:
        """Return skills with thoughts; see `Alice.think`."""
        return Said([self.room.bare(skill) for skill in skills])


@dataclass(slots=True)
class Spoken:
    """The verbs as a language model does them, on what the room makes of the episodes."""

    room: Room
    params: Params
    world: World
    round: str
    scratch: Path
    bar: Bars
    own: Embedded
    adapter: Path
    ledger: Path
    visits: int = 1

    def _role(self) -> Role:
        from alicebob.alice.model.role import Role

        return Role.of(self.params, self.adapter, self.ledger)

    def _asked(self, prompt: str) -> tuple[Chat, Path]:
        """Return who is asked, and the journal of what is asked with a prompt, named after it."""
        folder = self.scratch / "asked"
        folder.mkdir(exist_ok=True)
        return self._role().chat(), folder / f"{prompt}.jsonl"

    def explore(
        self, tasks: Any, memory: Any, wishes: Any, prose: str, done: Any
    ) -> tuple[list[Episode], Any, list[str]]:
        """Play without a task; see `Alice.explore`."""
        from alicebob.alice.model.asking import note
        from alicebob.alice.model.explore import explore, texts

        # No wishes: after r000, or where an answer was rejected.
        told = texts(prose if wishes else "", self.params.alice.personas)
        note(self.scratch / "asked" / "explore.json")
        role, journals = self._role(), self.scratch / "journals"
        played = explore(role, told, self.room, self.world, memory, tasks, journals, done)
        return *played, told

    def label(self, episodes: Sequence[Episode]) -> Said:
        """Return the skills that episodes show; see `Alice.label`."""
        from alicebob.alice.model.label import relabel, sample

        chat, journal = self._asked("label")
        found, left_out = sample(self.own.label(episodes).skills, self.params.alice.labels)
        spoken = [skill for skill in found if skill.name != OPEN_PLAY]
        with self.bar("instruction", len(spoken), "skill") as bar:
            kept, tally = relabel(found, chat, journal, self.room.reworded, bar.tick)
        told = [skill for skill in kept if skill.name != OPEN_PLAY]
        agree = share(sum(map(self.room.names, told)), len(told))
        report = {"left_out": left_out, "instruction": tally.to_json(), "agree": agree}
        return Said(kept, _lost("instruction", found, kept), report)

    def think(self, skills: Sequence[Skill]) -> Said:
        """Return skills with thoughts; see `Alice.think`."""
        from alicebob.alice.model.label import sample
        from alicebob.alice.model.think import add_thoughts

        chat, journal = self._asked("think")
        found, left_out = sample(skills, self.params.alice.labels)
        found = self.own.think(found).skills  # those of open play keep these
        spoken = [skill for skill in found if skill.name != OPEN_PLAY]
        with self.bar("thoughts", len(spoken), "skill") as bar:
            kept, tally = add_thoughts(found, chat, journal, bar.tick)
        report = {"left_out": left_out, "thoughts": tally.to_json()}
        return Said(kept, _lost("thoughts", found, kept), report)

    def judge(
        self, episodes: Sequence[Episode], memory: Any
    ) -> tuple[list[Verdict], dict[str, Any]]:
        """Return verdicts; see `Alice.judge`."""
        from alicebob.alice.model.judge import agreement, judge_with

        chat, journal = self._asked("judge")
        with self.bar("judge", None, "episode") as bar:
            verdicts, tally = judge_with(chat, episodes, journal, self.room.reasons, bar.tick)
        asked = tally.to_json() | {"agreement": agreement(verdicts, episodes)}
        return verdicts, {"judge": asked}

    def advise(
        self, verdicts: Any, episodes: Any, memory: Any, counts: Any
    ) -> tuple[Feedback, dict[str, Any]]:
        """Return feedback; see `Alice.advise`."""
        from alicebob.alice.model.advise import write_with

        chat, journal = self._asked("feedback")
        reasons = self.room.reasons
        written, tally = write_with(chat, self.round, verdicts, memory, counts, reasons, journal)
        return written, {"feedback": tally.to_json()}

    def propose(
        self, documents: Sequence[Document], each: int, worlds: Sequence[int]
    ) -> tuple[list[Trial], dict[str, Any]]:
        """Return tasks that the model makes of documents; see `Alice.propose`."""
        from alicebob.alice.model.propose import pose

        chat, journal = self._asked("propose")
        with self.bar("tasks", len(documents), "document") as bar:
            told, tally = pose(documents, each, chat, journal, bar.tick)
        env, limit = self.world(), self.params.explore.max_turns
        tasks = [Trial("", text, limit, task_free(env, text)) for text in told]
        return tasks, {"propose": tally.to_json()}

    def attempt(self, tasks: Any, memory: Any, done: Any) -> tuple[list[Episode], Any]:
        """Let the model carry out tasks; see `Alice.attempt`."""
        from alicebob.alice.model.explore import explore

        role, journals = self._role(), self.scratch / "journals"
        return explore(role, (), self.room, self.world, memory, tasks, journals, done)

    def backward(
        self, found: Sequence[Stretch], episodes: Sequence[Episode]
    ) -> tuple[list[tuple[Skill, Stretch]], dict[str, int], dict[str, Any]]:
        """Return stretches as skills that the model words; see `Alice.backward`."""
        from alicebob.alice.model.backward import told_afterwards

        chat, journal = self._asked("backward")
        chosen = backward.spread(found, self.params.alice.labels)
        with self.bar("instructions", len(chosen), "stretch") as bar:
            skills, tally = told_afterwards(chosen, self.round, chat, journal, bar.tick)
        report = {"not asked": len(found) - len(chosen), "instruction": tally.to_json()}
        lost = {"its instructions were rejected": tally.rejected} if tally.rejected else {}
        return skills, lost, report

    def approve(
        self, skills: Sequence[tuple[Skill, Stretch]], judges: int
    ) -> tuple[list[Verdicts], dict[str, Any]]:
        """Return the verdicts of so many judges on skills; see `Alice.approve`."""
        from alicebob.alice.model.committee import judged

        chat, journal = self._asked("committee")
        with self.bar("committee", len(skills) * judges, "verdict") as bar:
            found, tally = judged(skills, judges, chat, journal, bar.tick)
        return found, {"committee": tally.to_json()}

    def query(self) -> Asks:
        """Return what makes what asks for references; see `Alice.query`."""
        from alicebob.alice.model.asking import note
        from alicebob.alice.model.query import asking

        note(self.scratch / "asked" / "query.json")
        return functools.partial(asking, self._role())

    def alongside(self, actor: Actor) -> Actor:
        """Return who plays as an actor does while the model is asked; see `Alice.alongside`."""
        return self._role().alongside(actor)

    def teaches(self, memory: Any) -> Teaches:
        """Return what makes a teacher of the model; see `Alice.correct`."""
        from alicebob.alice.model.asking import note
        from alicebob.alice.model.correct import Correcting

        note(self.scratch / "asked" / "correct.json")
        watch = functools.partial(self.room.watch, memory)
        return functools.partial(Correcting, self._role(), self.world, watch)

    def taught(self, episodes: Sequence[Episode]) -> dict[str, Any]:
        """Return how many steps the model was asked about, and what became of its answers."""
        from alicebob.alice.model.correct import taught

        return {"correct": taught(episodes, self.scratch / "asked")}


def _lost(what: str, before: Sequence[Skill], after: Sequence[Skill]) -> dict[str, int]:
    lost = len(before) - len(after)
    return {f"its {what} was rejected": lost} if lost else {}
