"""Templates: what a tokenizer's chat template writes around what is told and answered.

A template is tried on a conversation of marks, once, and what stands between the marks is all that
is used of it. Invariants: the frame is the same tomorrow, whatever date it is; a template that
cannot grow turn by turn, or that a parameter would not move, is refused in one sentence. Does not:
tokenise.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import TemplateError

from alicebob.errors import UsageError
from alicebob.settings import DATE, NO_SYSTEM, OWN_SYSTEM, Bob

__all__ = ["SYSTEM", "Frame", "Template"]

SYSTEM = "qzxsystem"  # stands for the system text
_MARKS = ("qzxuserone", "qzxbobone", "qzxusertwo", "qzxbobtwo", "qzxuserthree")
_ROLES = ("user", "assistant") * 3
_OPEN = re.compile(r"<(\w+)>(?!.*</\1>)", re.DOTALL)
_TODAY = re.compile(r"strftime_now\(\s*([\"'])(.*?)\1")

Render = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Frame:
    """The texts between the contents of a conversation.

    `head` stands before the first content, `middle` before a reply as the model is asked for it,
    `begun` is what a reply begins with that the model writes itself, `glue` stands between a reply
    and the next content. SYSTEM in the head stands for the system text.
    """

    head: str
    middle: str
    begun: str
    glue: str


@dataclass(frozen=True, slots=True)
class Template:
    """What may be chosen about a chat template: system text, options of its own, the date.

    `system` is "template" for what it writes itself, "none", or a text; `date` (YYYY-MM-DD) is what
    one that writes today's date writes.
    """

    system: str = OWN_SYSTEM
    options: Mapping[str, Any] = field(default_factory=dict)
    date: str = DATE

    @classmethod
    def of(cls, bob: Bob) -> Template:
        """Return what the block `bob` chooses."""
        return cls(bob.system, bob.template, bob.date)

    @property
    def text(self) -> str:
        """The system text of the user's own, "" where there is none."""
        return "" if self.system in (OWN_SYSTEM, NO_SYSTEM) else self.system.strip()

    @property
    def messages(self) -> list[dict[str, str]]:
        """What a server is told before all else: a text of the user's own, or an empty one."""
        own = self.system == OWN_SYSTEM
        return [] if own else [{"role": "system", "content": self.text}]

    @property
    def asked(self) -> dict[str, Any]:
        """What a request to a server has for its chat template."""
        return {"chat_template_kwargs": dict(self.options)} if self.options else {}

    def frame(self, tokenizer: Any) -> Frame:
        """Return the frame of a tokenizer's template; UsageError where it cannot be used."""
        if not tokenizer.chat_template:
            raise UsageError("bob.model has no chat template; choose an instruction-tuned model.")
        text = str(tokenizer.get_chat_template())
        for name in self.options:
            if not re.search(rf"\b{re.escape(name)}\b", text):
                raise UsageError(
                    f"bob.template: the chat template of bob.model has no option {name!r}; take it "
                    "out."
                )
        render = functools.partial(
            tokenizer.apply_chat_template,
            tokenize=False,
            chat_template=_dated(text, datetime.date.fromisoformat(self.date)),
            **self.options,
        )
        plain = functools.partial(_frame, render, [])
        if self.text:
            return self._told(render)
        if self.system == OWN_SYSTEM:
            return plain()
        own = plain()
        try:
            empty = _frame(render, [{"role": "system", "content": ""}])
        except UsageError:
            return own  # it knows of no system text
        return min(own, empty, key=lambda frame: len(frame.head))

    def _told(self, render: Render) -> Frame:
        try:
            frame = _frame(render, [{"role": "system", "content": SYSTEM}])
        except UsageError:
            _frame(render, [])  # where it cannot be used at all, that is said
            frame = None
        if frame is None or SYSTEM not in frame.head:
            raise UsageError(
                "The chat template of bob.model takes no system text; set bob.system: template, "
                "and say it in the instructions."
            )
        return frame


def _frame(render: Render, before: Sequence[Mapping[str, str]]) -> Frame:
    """Return what a template writes around a conversation that these messages begin.

    As it is when another turn follows: a template may treat the very last reply otherwise, as
    Qwen3's does, which puts an empty thought block before it.
    """
    messages = [{"role": r, "content": c} for r, c in zip(_ROLES, _MARKS, strict=False)]
    try:
        text = render([*before, *messages])
        first, later = (
            render([*before, *messages[:count]], add_generation_prompt=True) for count in (1, 3)
        )
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise UsageError(
            f"The chat template of bob.model cannot be used ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]})."
        ) from error
    found = re.fullmatch(f"(.*){'(.*)'.join(_MARKS)}.*", text, re.DOTALL)
    if not found or found.group(2, 3) != found.group(4, 5):
        raise _rewriting("a turn differs from the one before it")
    head, middle, glue = found.group(1, 2, 3)
    asked = first.removeprefix(head + _MARKS[0])
    if later != "".join((head, _MARKS[0], middle, _MARKS[1], glue, _MARKS[2], asked)):
        raise _rewriting("what stood before a reply is another when the next one is asked for")
    if middle.startswith(asked) and not middle[len(asked) :].strip():
        return Frame(head, asked, middle[len(asked) :], glue)
    if not asked.startswith(middle):
        raise _rewriting("what asks for a reply is not what stands before it later")
    if opened := _OPEN.search(asked[len(middle) :]):
        raise UsageError(
            f"The chat template of bob.model opens a block {opened[0]} in every reply, and Bob's "
            "replies are no such thoughts. Turn it off, where the template can, with bob.template: "
            "{enable_thinking: false}, or choose the model's kind that does not think."
        )
    return Frame(head, asked, "", glue)


def _dated(text: str, date: datetime.date) -> str:
    """Return a template in which it is always one date."""
    if "strftime_now" not in text:
        return text
    known = {form: date.strftime(form) for _, form in _TODAY.findall(text)}
    macro = f"{{%- macro strftime_now(form) %}}{{{{ {known!r}[form] }}}}{{% endmacro -%}}"
    return macro + text


def _rewriting(how: str) -> UsageError:
    return UsageError(
        f"The chat template of bob.model rewrites earlier turns ({how}), so prompts cannot grow "
        "turn by turn. Give the tokenizer a template that renders every turn alike."
    )
