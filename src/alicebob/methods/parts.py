"""Parts: what a method hands to the stages, one for each.

A part is a function of the round and says which parameters it reads, so that no other can matter:
a key that is read by nobody is refused, and DVC runs a stage again only for what its part reads.
Two methods that hand over the same part share its results. Does not: choose parts; each method's
own file does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from alicebob.alice.feedback import Feedback, Verdict
from alicebob.alice.voice import Alice, Said, reads
from alicebob.envs import World
from alicebob.progress import Bar
from alicebob.rollout import Actor
from alicebob.settings import Block, Params
from alicebob.trace import Episode

if TYPE_CHECKING:
    from alicebob.bob.training import Fitted

__all__ = [
    "STAGES",
    "Advice",
    "Exploration",
    "Method",
    "Part",
    "Round",
    "Said",
    "Trained",
    "part",
]

#: The stages that call a part, by the field of `Method` that has it, and each in one word.
STAGES = {
    "explore": "who acts, on which tasks",
    "skills": "what becomes of the episodes",
    "train": "what Bob is trained on",
    "act": "how Bob acts when he is evaluated",
    "feedback": "what comes back",
}

T_co = TypeVar("T_co", covariant=True)
Reads = Callable[[Params], Sequence[str]]


class Round(Protocol):
    """What a part may use of its round.

    `params` has the parameters that the stage and its part declare, and no others.
    """

    @property
    def id(self) -> str:
        """The round's id."""

    @property
    def params(self) -> Params:
        """The parameters that are declared."""

    @property
    def world(self) -> World:
        """The environment."""

    @property
    def alice(self) -> Alice:
        """Alice, with her verbs."""

    @property
    def scratch(self) -> Path:
        """Where unfinished work is kept from one run to the next."""

    @property
    def facts(self) -> dict[str, float]:
        """What differs from run to run, such as speeds: in no hash."""

    def read(self, kind: str) -> Path:
        """Return this round's artifact of a kind, e.g. "skills"."""

    def inherited(self, kind: str) -> Path:
        """Return the parent's artifact of a kind."""

    def bar(self, name: str, total: int | None = None, unit: str = "episode") -> Bar:
        """Return a progress bar."""

    def report(self, values: Mapping[str, float], step: int) -> None:
        """Show a point of a curve while the stage runs."""


@dataclass(frozen=True, slots=True)
class Exploration:
    """What came of exploring: episodes, and what Alice knows after them.

    `alices` says that it was she who played; `wishes` is what was gone for, `prompts` the texts
    that a language model was told, `report` what else is to be counted.
    """

    episodes: Sequence[Episode]
    memory: Any
    about: str
    alices: bool = True
    wishes: Mapping[str, float] = field(default_factory=dict)
    prompts: Sequence[str] = ()
    report: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of training: the model with its adapter, and facts for its card."""

    model: Any
    about: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    fitted: Fitted | None = None


@dataclass(frozen=True, slots=True)
class Advice:
    """What comes back from an evaluation: feedback, its verdicts, and what was asked for them."""

    feedback: Feedback
    verdicts: Sequence[Verdict] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part(Generic[T_co]):
    """A function of a round, with a name that stands for what it does and what it reads.

    `reads` returns dotted names of parameters, or of whole blocks, for the parameters of a round.
    """

    name: str
    run: Callable[..., T_co]
    reads: Reads

    def __call__(self, *given: Any) -> T_co:
        """Do it."""
        return self.run(*given)


def part(
    *names: str | Reads, alice: Sequence[str] = (), parts: Sequence[Part[Any]] = ()
) -> Callable[[Callable[..., T_co]], Part[T_co]]:
    """Make a part of a function that reads these parameters.

    And those of these verbs of Alice and of these other parts, which it calls. A name may be a
    function of the parameters that returns names: what is read may depend on them.
    """

    def made(run: Callable[..., T_co]) -> Part[T_co]:
        def read(params: Params) -> tuple[str, ...]:
            own = [[name] if isinstance(name, str) else name(params) for name in names]
            called = [other.reads(params) for other in parts]
            return (*reads(params, alice), *(name for some in (*own, *called) for name in some))

        return Part(f"{run.__module__}:{run.__qualname__}", run, read)

    return made


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table of methods: its source, and a part for each stage.

    `settings` is a block of parameters of its own, which stands in `params.yaml` under the method's
    name; its fields need defaults.
    """

    name: str
    source: str
    explore: Part[Exploration] | None = None
    skills: Part[Said] | None = None
    train: Part[Trained] | None = None
    act: Part[Actor] | None = None
    feedback: Part[Advice] | None = None
    settings: type[Block] | None = None

    def part(self, stage: str) -> Part[Any]:
        """Return the part that a stage calls."""
        found: Part[Any] = getattr(self, stage)
        return found

    @property
    def lacking(self) -> list[str]:
        """The stages for which it has no part."""
        return [stage for stage in STAGES if getattr(self, stage) is None]
