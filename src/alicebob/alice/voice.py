"""Alice: one voice with six verbs (explore, label, think, judge, advise, correct), one constructor.

Each verb is embedded, done by the room that knows the environment, or a language model's, done with
that room's help; `params.yaml` says which, and this is the one place that looks. Invariant: whoever
calls a verb cannot tell who does it. Does not: know what a room or a model does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alicebob.alice import correct, embedded
from alicebob.alice.feedback import Feedback, Verdict
from alicebob.alice.room import Room, room
from alicebob.envs import World, factory
from alicebob.envs.hooks import offers, room_of, task_free
from alicebob.errors import UnknownName
from alicebob.figures import share
from alicebob.policies import Task
from alicebob.progress import Bar
from alicebob.rollout import Actor, seeds, workers
from alicebob.settings import BOBS_MODEL, BOBS_TEMPLATE, Params
from alicebob.trace import OPEN_PLAY, Episode, Skill

if TYPE_CHECKING:
    from alicebob.alice.model.role import Role
    from alicebob.policies.chat import Chat

__all__ = ["Alice", "Said", "labels_open_play", "reads"]

MEMORY = "knowledge.json"  # in a folder of episodes: what Alice knew after them
VERBS = ("explore", "label", "think", "judge", "advise", "correct")
#: What a language model reads, whatever it is asked.
MODEL = ("model", "dtype", "context", "max_new_tokens", "temperature", "top_p")
#: And what it reads where it is Bob's.
BOBS = ["alice.adapter", *BOBS_MODEL, *BOBS_TEMPLATE]

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


def reads(params: Params, verbs: Iterable[str]) -> tuple[str, ...]:
    """Return the parameters that verbs look at, as dotted names, where the others are as given.

    Raises UnknownName where a prior is to be left out that the room does not have.
    """
    made = factory(params.env.spec)
    where = room(room_of(made))
    _check_priors(params.alice.without, where)
    names = ["env"]
    for verb in verbs:
        names.append(f"alice.{verb}")
        names += where.reads.get(verb, ())
        spoken = getattr(params.alice, verb) == "model"
        if not spoken and set(params.alice.without) & set(where.priors.get(verb, ())):
            names.append("alice.without")
        if spoken:
            names += [f"alice.{name}" for name in MODEL]
            names += BOBS if params.alice.model == "bob" else []
        if verb in ("label", "think") and spoken:
            names.append("alice.labels")
        if verb == "explore":
            names.append("alice.turns" if spoken else "explore.generation")
            names += ["alice.personas"] if spoken or offers(made, "task_free") else []
    return tuple(names)


def labels_open_play(params: Params) -> bool:
    """Tell whether the room of the environment makes skills of whole episodes too."""
    return "skills.open_play" in room(room_of(factory(params.env.spec))).reads.get("label", ())


def _check_priors(without: Iterable[str], where: Room) -> None:
    known = [name for priors in where.priors.values() for name in priors]
    for name in without:
        if name not in known:
            raise UnknownName("prior", name, known, "alice.without")


class Alice:
    """Alice in one round.

    `params` are those of the stage that calls, `adapter` the folder of the last round's Bob,
    `scratch` where answers and episodes are journalled, `ledger` what a served model has used.
    """

    def __init__(
        self,
        params: Params,
        world: World,
        round_id: str,
        *,
        adapter: Path,
        scratch: Path,
        ledger: Path,
        bar: Bars = Bar,
    ) -> None:
        self.room: Room = room(room_of(factory(params.env.spec)))
        own = _Embedded(self.room, params, world, round_id, scratch, bar)
        spoken = _Spoken(self.room, params, world, round_id, scratch, bar, own, adapter, ledger)
        self._kinds: Mapping[str, Any] = {
            "embedded": own,
            "model": spoken,
            "none": _Silent(self.room),
        }
        self._params, self._world, self._round, self._bar = params, world, round_id, bar

    def _who(self, verb: str) -> Any:
        return self._kinds[getattr(self._params.alice, verb)]

    def recall(self, episodes: Path) -> Any:
        """Return what she knew after the episodes of a folder."""
        return self.room.memory.load(episodes / MEMORY)

    def free_tasks(self, episodes: int, max_turns: int, space: range) -> list[Task]:
        """Return episodes without a task, as one persona or another, in worlds of her own."""
        params, env = self._params, self._world()
        worlds = -(-episodes // self._who("explore").visits)
        chosen = seeds(f"explore {self._round}", params.seed, worlds, space)
        personas = getattr(params.alice, "personas", None) or [""]
        return [
            Task(
                f"{self._round}-explore-{number:04d}",
                chosen[number % worlds],
                options=task_free(env, personas[number % len(personas)]),
                max_turns=max_turns,
            )
            for number in range(episodes)
        ]

    def explore(
        self, tasks: Sequence[Task], memory: Any, wishes: Mapping[str, float], prose: str
    ) -> tuple[list[Episode], Any, list[str]]:
        """Play without a task; return the episodes, what she knows after, and what was prompted.

        `wishes` are weights of what to go for, `prose` the same in words.
        """
        played: tuple[list[Episode], Any, list[str]]
        with self._bar("explore", len(tasks), "episode") as bar:
            played = self._who("explore").explore(tasks, memory, wishes, prose, bar.episode)
        return played

    def label(self, episodes: Sequence[Episode]) -> Said:
        """Return the skills that episodes show, with instructions and without thoughts."""
        said: Said = self._who("label").label(episodes)
        return said

    def think(self, skills: Sequence[Skill]) -> Said:
        """Return skills with a thought in each turn."""
        said: Said = self._who("think").think(skills)
        return said

    def judge(
        self, episodes: Sequence[Episode], memory: Any
    ) -> tuple[list[Verdict], dict[str, Any]]:
        """Return a verdict on each of Bob's episodes that had a task, and what was asked."""
        judged: tuple[list[Verdict], dict[str, Any]] = self._who("judge").judge(episodes, memory)
        return judged

    def correct(self, actor: Actor, memory: Any, lead: float, reflects: bool) -> Actor:
        """Return who plays as `actor` does while she judges each step; see `correct.beside`."""
        without = getattr(self._params.alice, "without", ())
        return correct.beside(self.room, actor, memory, lead, reflects, without)

    def advise(
        self,
        verdicts: Sequence[Verdict],
        episodes: Sequence[Episode],
        memory: Any,
        counts: Mapping[str, int],
    ) -> tuple[Feedback, dict[str, Any]]:
        """Return what she says of Bob and wants to explore next, and what was asked.

        `counts` is how many skills of each kind he has been shown so far.
        """
        who = self._who("advise")
        advised: tuple[Feedback, dict[str, Any]] = who.advise(verdicts, episodes, memory, counts)
        return advised


@dataclass(frozen=True, slots=True)
class _Embedded:
    """The verbs as the room does them."""

    room: Room
    params: Params
    world: World
    round: str
    scratch: Path
    bar: Bars

    @property
    def visits(self) -> int:
        return self.room.visits

    def explore(
        self, tasks: Any, memory: Any, wishes: Any, prose: str, done: Any
    ) -> tuple[list[Episode], Any, list[str]]:
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
        return Said(self.room.label(episodes, self.round, self.world, self.params))

    def think(self, skills: Sequence[Skill]) -> Said:
        return Said([self.room.think(skill) for skill in skills])

    def judge(
        self, episodes: Sequence[Episode], memory: Any
    ) -> tuple[list[Verdict], dict[str, Any]]:
        return self.room.judge(episodes, memory), {}

    def advise(
        self, verdicts: Any, episodes: Any, memory: Any, counts: Any
    ) -> tuple[Feedback, dict[str, Any]]:
        return self.room.advise(self.round, verdicts, episodes, memory, counts), {}


@dataclass(frozen=True, slots=True)
class _Silent:
    """Thinking, left out."""

    room: Room

    def think(self, skills: Sequence[Skill]) -> Said:
        return Said([self.room.bare(skill) for skill in skills])


@dataclass(slots=True)
class _Spoken:
    """The verbs as a language model does them, on what the room makes of the episodes."""

    room: Room
    params: Params
    world: World
    round: str
    scratch: Path
    bar: Bars
    own: _Embedded
    adapter: Path
    ledger: Path
    visits: int = 1

    def _role(self) -> Role:
        from alicebob.alice.model.role import Role

        return Role.of(self.params, self.adapter, self.ledger)

    def _asked(self, name: str) -> tuple[Chat, Path]:
        folder = self.scratch / "asked"
        folder.mkdir(exist_ok=True)
        return self._role().chat(), folder / f"{name}.jsonl"

    def explore(
        self, tasks: Any, memory: Any, wishes: Any, prose: str, done: Any
    ) -> tuple[list[Episode], Any, list[str]]:
        from alicebob.alice.model.explore import explore, texts

        # No wishes: after r000, or where an answer was rejected.
        told = texts(prose if wishes else "", self.params.alice.personas)
        role, journals = self._role(), self.scratch / "journals"
        played = explore(role, told, self.room, self.world, memory, tasks, journals, done)
        return *played, told

    def label(self, episodes: Sequence[Episode]) -> Said:
        from alicebob.alice.model.label import relabel, sample

        chat, journal = self._asked("instruction")
        found, left_out = sample(self.own.label(episodes).skills, self.params.alice.labels)
        spoken = [skill for skill in found if skill.name != OPEN_PLAY]
        with self.bar("instruction", len(spoken), "skill") as bar:
            kept, tally = relabel(found, chat, journal, self.room.reworded, bar.tick)
        told = [skill for skill in kept if skill.name != OPEN_PLAY]
        agree = share(sum(map(self.room.names, told)), len(told))
        report = {"left_out": left_out, "instruction": tally.to_json(), "agree": agree}
        return Said(kept, _lost("instruction", found, kept), report)

    def think(self, skills: Sequence[Skill]) -> Said:
        from alicebob.alice.model.label import sample
        from alicebob.alice.model.think import add_thoughts

        chat, journal = self._asked("thoughts")
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
        from alicebob.alice.model.judge import agreement, judge_with

        chat, journal = self._asked("judge")
        with self.bar("judge", None, "episode") as bar:
            verdicts, tally = judge_with(chat, episodes, journal, self.room.reasons, bar.tick)
        asked = tally.to_json() | {"agreement": agreement(verdicts, episodes)}
        return verdicts, {"judge": asked}

    def advise(
        self, verdicts: Any, episodes: Any, memory: Any, counts: Any
    ) -> tuple[Feedback, dict[str, Any]]:
        from alicebob.alice.model.advise import write_with

        chat, journal = self._asked("feedback")
        reasons = self.room.reasons
        written, tally = write_with(chat, self.round, verdicts, memory, counts, reasons, journal)
        return written, {"feedback": tally.to_json()}


def _lost(what: str, before: Sequence[Skill], after: Sequence[Skill]) -> dict[str, int]:
    lost = len(before) - len(after)
    return {f"its {what} was rejected": lost} if lost else {}
