"""Alice: one voice with eight verbs, one constructor.

Each verb is embedded, done by the room that knows the environment, or a language model's, done with
that room's help; `params.yaml` says which, and this is the one place that looks. Invariant: whoever
calls a verb cannot tell who does it. Does not: know what a room or a model does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from alicebob.alice import correct
from alicebob.alice.backward import Stretch
from alicebob.alice.committee import Verdicts
from alicebob.alice.embedded import learned
from alicebob.alice.feedback import Feedback, Verdict
from alicebob.alice.propose import different
from alicebob.alice.query import Asks
from alicebob.alice.room import Room, room
from alicebob.alice.speakers import Bars, Embedded, Said, Silent, Spoken
from alicebob.draws import generator
from alicebob.envs import World, factory
from alicebob.envs.hooks import Trial, offers, room_of, suite_of, task_free
from alicebob.errors import UnknownName
from alicebob.policies import Task
from alicebob.progress import Bar
from alicebob.retrieval.documents import Document
from alicebob.rollout import Actor, play_all, seeds
from alicebob.settings import BOBS_MODEL, BOBS_TEMPLATE, Params
from alicebob.trace import Episode, Skill

__all__ = ["Alice", "Said", "labels_open_play", "reads"]

MEMORY = "knowledge.json"  # in a folder of episodes: what Alice knew after them
#: What a language model reads, whatever it is asked.
MODEL = ("model", "dtype", "context", "max_new_tokens", "temperature", "top_p")
#: And what it reads where it is Bob's.
BOBS = ["alice.adapter", *BOBS_MODEL, *BOBS_TEMPLATE]


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
        own = Embedded(self.room, params, world, round_id, scratch, bar)
        spoken = Spoken(self.room, params, world, round_id, scratch, bar, own, adapter, ledger)
        self._kinds: Mapping[str, Any] = {
            "embedded": own,
            "model": spoken,
            "none": Silent(self.room),
        }
        self._params, self._world, self._round, self._bar = params, world, round_id, bar
        self._scratch = scratch

    def _who(self, verb: str) -> Any:
        return self._kinds[getattr(self._params.alice, verb)]

    def recall(self, episodes: Path) -> Any:
        """Return what she knew after the episodes of a folder."""
        return self.room.memory.load(episodes / MEMORY)

    def free_tasks(
        self,
        episodes: int,
        max_turns: int,
        space: range,
        asked: Mapping[str, float] = MappingProxyType({}),
        adapted: float = 0.0,
    ) -> list[Task]:
        """Return episodes without a task, as one persona or another, in worlds of her own.

        `adapted` is the share of worlds that begin as the trial of an event that is `asked` for
        does, by these weights (EnvGen, arXiv 2403.12014), where a trial grants anything.
        """
        params, env = self._params, self._world()
        worlds = -(-episodes // self._who("explore").visits)
        chosen = seeds(f"explore {self._round}", params.seed, worlds, space)
        personas = getattr(params.alice, "personas", None) or [""]
        starts = self._starts(env, worlds, asked if adapted else {}, adapted)
        return [
            Task(
                f"{self._round}-explore-{number:04d}",
                chosen[number % worlds],
                options={
                    **task_free(env, personas[number % len(personas)]),
                    **starts[number % worlds],
                },
                max_turns=max_turns,
            )
            for number in range(episodes)
        ]

    def _starts(
        self, env: Any, worlds: int, asked: Mapping[str, float], adapted: float
    ) -> list[Mapping[str, Any]]:
        """Return by world the reset options that its start is adapted with, none for most."""
        trials = suite_of(env) if asked else ()
        granted = {trial.name: trial.options for trial in trials if trial.options}
        names = sorted(name for name in granted if asked.get(name, 0) > 0)
        total = sum(asked[name] for name in names)
        draw = generator("start", self._round, self._params.seed)
        found: list[Mapping[str, Any]] = [{}] * worlds
        for number in range(worlds) if names else ():
            name = str(draw.choice(names, p=[asked[each] / total for each in names]))
            if draw.random() < adapted:
                found[number] = granted[name]
        return found

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

    def correct(
        self, tasks: Sequence[Task], actor: Actor, memory: Any, lead: float, reflects: bool
    ) -> tuple[list[Episode], Any, dict[str, Any]]:
        """Let an actor play tasks while she judges each step; see `correct.beside`.

        Return the episodes, what she knows after, and what was asked.
        """
        who, known = self._who("correct"), memory.copy()
        watched = correct.beside(who.alongside(actor), who.teaches(known), lead, reflects)
        with self._bar("explore", len(tasks), "episode") as bar:
            played = play_all(
                tasks, self._world, watched, self._scratch / "plays", done=bar.episode
            )
        asked: dict[str, Any] = who.taught(played)
        return learned(played, known), known, asked

    def propose(
        self, documents: Sequence[Document], each: int, worlds: Sequence[int]
    ) -> tuple[list[Trial], dict[str, Any]]:
        """Return up to `each` tasks of each document, no two the same, and what was asked.

        What is posed may follow from `worlds`; the report says how many there were before what was
        the same went. A task without a name succeeds where the environment says so.
        """
        found, asked = self._who("propose").propose(documents, each, worlds)
        tasks = different(found)
        return tasks, {
            "documents": len(documents),
            "posed": len(found),
            "tasks": len(tasks),
        } | asked

    def attempt(self, tasks: Sequence[Task], memory: Any) -> tuple[list[Episode], Any]:
        """Carry tasks out, as who explores; return the episodes and what she knows after."""
        played: tuple[list[Episode], Any]
        with self._bar("explore", len(tasks), "episode") as bar:
            played = self._who("explore").attempt(tasks, memory, bar.episode)
        return played

    def backward(
        self, found: Sequence[Stretch], episodes: Sequence[Episode]
    ) -> tuple[list[tuple[Skill, Stretch]], dict[str, int], dict[str, Any]]:
        """Return stretches of episodes as skills with instructions of both kinds, as who labels.

        With how many were lost for which reason, and what was asked.
        """
        made: tuple[list[tuple[Skill, Stretch]], dict[str, int], dict[str, Any]]
        made = self._who("label").backward(found, episodes)
        return made

    def approve(
        self, skills: Sequence[tuple[Skill, Stretch]], judges: int
    ) -> tuple[list[Verdicts], dict[str, Any]]:
        """Return the verdicts of a committee on each skill, as who judges, and what was asked.

        `judges` is how many a language model is.
        """
        found: tuple[list[Verdicts], dict[str, Any]]
        found = self._who("judge").approve(skills, judges)
        return found

    def alongside(self, verb: str, actor: Actor) -> Actor:
        """Return who plays as `actor` does while she is asked by a verb at each turn.

        A model that is served is asked from one process, whose caps are then kept.
        """
        found: Actor = self._who(verb).alongside(actor)
        return found

    def query(self) -> Asks:
        """Return what makes, in the process that plays, what asks for references in words."""
        made: Asks = self._who("query").query()
        return made

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
