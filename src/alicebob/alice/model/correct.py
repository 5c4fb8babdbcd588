"""Correcting by a language model: at each of Bob's turns, is it right, and what would be?

One question a turn, and one chance of repair. Where what comes of it is no answer the turn is
neither right nor wrong: it is done as he wrote it, and not learnt. His episode is watched with the
room's senses, so that it teaches what it would have taught the embedded Alice. Does not: act.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from alicebob.alice.correct import Judged
from alicebob.alice.model.asking import LONGEST, Answer, note, one_line, prompt, read_as
from alicebob.alice.model.role import Role
from alicebob.alice.model.shapes import line, record
from alicebob.alice.model.transcript import quoted, shown
from alicebob.alice.room import Counsel, Watch
from alicebob.envs import World
from alicebob.envs.hooks import FREE, actions_of
from alicebob.policies import Live, Reply
from alicebob.policies.conversation import parse_reply, write_reply
from alicebob.progress import tell
from alicebob.sight import as_shown
from alicebob.trace import MENDED, UNJUDGED, Episode

__all__ = ["Correcting", "taught"]

MOST = 200  # characters of a thought, and of an action in which something is free
SHOWN = 6  # turns of what was done so far


class Correction(Answer):
    """Whether a step is right; if not, the thought and the action that would be."""

    right: bool
    thought: str = Field("", max_length=MOST)
    action: str = ""


class Correcting:
    """The teacher that plays a role; `watch` makes the senses for an episode."""

    def __init__(self, role: Role, world: World, watch: Callable[[Live], Watch]) -> None:
        self._chat, self._actions, self._watch = role.shared(), actions_of(world()), watch
        self._watches: dict[int, Watch] = {}

    def start(self, wave: Sequence[Live]) -> None:
        """Begin to watch each episode; see `alicebob.alice.correct.Teacher`."""
        self._watches = {id(live): self._watch(live) for live in wave}

    def judge(self, lives: Sequence[Live], replies: Sequence[Reply]) -> list[Judged]:
        """Ask of all steps at once; see `alicebob.alice.correct.Teacher`."""
        offered = [self._offered(live) for live in lives]
        forms = [_form(some, each.action) for some, each in zip(offered, replies, strict=True)]
        asked = [
            _question(live, reply, some)
            for live, reply, some in zip(lives, replies, offered, strict=True)
        ]
        found: dict[int, Judged] = {}
        again: dict[int, list[str]] = {}
        for number, answer in self._chat.answers([[text] for text in asked], forms):
            try:
                found[number] = _judged(answer.text, replies[number], offered[number])
            except ValueError as error:
                said = answer.text[:LONGEST] or "(nothing)"
                again[number] = [asked[number], said, prompt("repair", reason=str(error))]
        order = sorted(again)
        mended = self._chat.answers([again[n] for n in order], [forms[n] for n in order])
        for place, answer in mended if order else ():
            number = order[place]
            try:
                judged = _judged(answer.text, replies[number], offered[number], (MENDED,))
                found[number] = judged
            except ValueError:
                found[number] = Judged(None, None)
        return [found[number] for number in range(len(lives))]

    def took(self, live: Live, action: str) -> None:
        """Let the senses see it; see `alicebob.alice.correct.Teacher`."""
        self._watches[id(live)].before(live, action)

    def close(self, live: Live) -> Mapping[str, Any]:
        """Return what the senses found; see `alicebob.alice.correct.Teacher`."""
        return self._watches.pop(id(live)).close(live)

    def _offered(self, live: Live) -> list[str]:
        """Return the actions that there are at a turn, as they are shown there."""
        actions = live.info.get("admissible_actions", self._actions)
        return [as_shown(action, live.observation) for action in actions]


def taught(episodes: Sequence[Episode], folder: Path) -> dict[str, int]:
    """Return how many steps were asked about, and what became of the answers.

    A prompt for repair that was used is noted in `folder`; a warning says that most was lost.
    """
    tags = Counter(tag for episode in episodes for turn in episode.turns for tag in turn.tags)
    asked, lost = sum(len(episode.turns) for episode in episodes), tags[UNJUDGED]
    if lost or tags[MENDED]:
        note(folder / "repair.json")
    if 2 * lost > asked:
        tell(
            f"Warning: alice.model said nothing of use of {lost} of {asked} of Bob's steps; it may "
            "be too weak for this part, or alice.max_new_tokens too few."
        )
    return {"asked": asked, "repaired": tags[MENDED], "rejected": lost}


def _question(live: Live, reply: Reply, offered: Sequence[str]) -> str:
    return prompt(
        "correct",
        instruction=quoted(live.task.instruction or "(none)"),
        turns=shown(live.turns[-SHOWN:], thoughts=True) or "(nothing yet)",
        observation=quoted(live.observation),
        actions=quoted("\n".join(offered)) or "(any words)",
        step=quoted(f"Thought: {reply.thought}\nAction: {reply.action}"),
    )


def _form(offered: Sequence[str], his: str) -> dict[str, Any]:
    """Return the schema of an answer: another action than his, of those that there are."""
    whole = [each for each in offered if FREE not in each and _plain(each) != _plain(his)]
    kinds: list[dict[str, Any]] = [{"enum": whole}] if whole else []
    kinds += [{**line(1, MOST), "pattern": _pattern(each)} for each in offered if FREE in each]
    right = record(right=True, thought="", action="")
    if offered and not kinds:  # his is the only one
        return right
    action = {"anyOf": kinds} if kinds else line(1, MOST)
    return {"anyOf": [right, record(right=False, thought=line(1, MOST), action=action)]}


def _pattern(action: str) -> str:
    """Return a regular expression for an action in which something is free."""
    parts, some = map(re.escape, action.split(FREE)), r"[^\x00-\x1f\x7f-\x9f\[\]]+"
    return f"^{some.join(parts)}$"


def _judged(text: str, reply: Reply, offered: Sequence[str], tags: tuple[str, ...] = ()) -> Judged:
    """Read a verdict; raises ValueError, in words that the model can act on, for one that is none.

    A right step is as he wrote it; a wrong one has another action, of those that there are.
    """
    said = read_as(Correction, text)
    if said.right:
        his = Counsel(reply.action, reply.thought, tags)
        return Judged(his, his)
    one_line(said.thought)
    hers = Counsel(_named(said.action, offered), " ".join(said.thought.split()), tags)
    if _plain(hers.action) == _plain(reply.action):
        raise ValueError("The action is the one that is judged wrong; name another.")
    thought, action = parse_reply(write_reply(hers.thought, hers.action))
    if (thought, _plain(action)) != (hers.thought, _plain(hers.action)):
        raise ValueError("The thought and the action must not hold 'Action:' or 'Thought:'.")
    return Judged(hers, None)


def _named(said: str, offered: Sequence[str]) -> str:
    """Return an action of those that there are, in their spelling; raises ValueError for none."""
    for each in offered:
        if FREE not in each and _plain(each) == _plain(said):
            return each
    one_line(said)
    action = " ".join(said.split())
    free = [each for each in offered if FREE in each]
    if FREE in action or (
        offered and not any(re.fullmatch(_pattern(each), action, re.IGNORECASE) for each in free)
    ):
        raise ValueError("The action is none of those that there are.")
    return action


def _plain(action: str) -> str:
    return " ".join(action.split()).lower()
