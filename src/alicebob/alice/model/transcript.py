"""Transcripts: turns as a language model is shown them.

Invariant: what stands in a turn cannot end the section it stands in. Does not: decide what to show.
"""

from __future__ import annotations

from collections.abc import Sequence

from alicebob.trace import Turn

__all__ = ["quoted", "shown"]


def shown(turns: Sequence[Turn], final: str = "", *, thoughts: bool = False, most: int = 40) -> str:
    """Return turns as text, numbered from 1; of more than `most` the middle ones are left out.

    `final` is what was seen after the last of them.
    """
    numbered = list(enumerate(turns, start=1))
    left_out = len(numbered) - most
    if left_out > 0:
        numbered = numbered[: most // 4] + numbered[most // 4 + left_out :]
    parts = []
    last = 0
    for number, turn in numbered:
        if number != last + 1:
            parts.append(f"({number - last - 1} turns left out)")
        last = number
        lines = [f"Turn {number}", "Seen:", quoted(turn.observation)]
        if thoughts and turn.thought:
            lines.append(f"Thought: {_line(turn.thought)}")
        lines.append(f"Action: {_line(turn.action)}")
        if "invalid_action" in turn.tags:
            lines.append("(there is no such action)")
        if turn.events:
            lines.append(f"(achieved: {', '.join(turn.events)})")
        parts.append("\n".join(lines))
    if final:
        parts.append("At the end:\n" + quoted(final))
    return "\n\n".join(parts)


def quoted(text: str) -> str:
    """Return text with a mark before every line, so that none can pass for the prompt's own."""
    return "\n".join(f"> {line}" for line in text.strip().splitlines())


def _line(text: str) -> str:
    return " ".join(text.split()).replace("</", "< /")
