"""Asking: questions to a language model whose answers must have a given shape.

A prompt is a file in `prompts/`; what is put into it is data and cannot change its form. An answer
is one JSON object that fits a schema. One that does not fit gets one chance of repair, with the
reason; then it is rejected and counted, never guessed. Invariant: every accepted or rejected answer
is in the journal, the latter with its text and the reason, so that a run that was stopped asks only
what it has not asked; some questions are kept whole, to be looked at (`shown`). Does not: know what
is asked.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from alicebob.files import write_text
from alicebob.journal import append_line, read_lines
from alicebob.policies.chat import Chat, Form, Question
from alicebob.policies.endpoint import Completion
from alicebob.progress import tell
from alicebob.untrusted import printable

__all__ = [
    "Answer",
    "Asker",
    "Tally",
    "note",
    "one_line",
    "prompt",
    "prompt_hash",
    "read_as",
    "template",
]

LONGEST = 4000  # characters of an answer that are quoted back for repair
#: Questions that are kept whole: the first ones, and the first of those not answered at once.
FIRST, TROUBLED = 4, 8
_FIELD = re.compile(r"\{\{(\w+)\}\}")


class Answer(BaseModel):
    """The shape of an answer: strict, nothing beside what is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)


A = TypeVar("A", bound=Answer)


@dataclass(slots=True)
class Tally:
    """What was asked of a model for one purpose, and what came of it.

    `refused` has the text and the reason of each try of the rejected answers, in order.
    """

    asked: int = 0
    repaired: int = 0
    rejected: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    refused: list[dict[str, str]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the tally as plain data."""
        return asdict(self)


def prompt(name: str, **values: str) -> str:
    """Return a prompt file with its fields, e.g. {{turns}}, filled in, all in one go.

    Raises KeyError where a field has no value or a value no field.
    """
    text = template(name)
    fields = set(_FIELD.findall(text))
    if fields != values.keys():
        raise KeyError(f"prompt {name}: fields {sorted(fields)}, values {sorted(values)}")
    return _FIELD.sub(lambda found: values[found.group(1)], text)


def prompt_hash(name: str) -> str:
    """Return what identifies the text of a prompt file."""
    return hashlib.sha256(template(name).encode()).hexdigest()[:16]


def template(name: str) -> str:
    """Return the text of a prompt file."""
    return (importlib.resources.files(__package__) / "prompts" / f"{name}.md").read_text(
        encoding="utf-8"
    )


def note(path: Path, calls: Sequence[Mapping[str, Any]] = ()) -> None:
    """Note that a prompt was used, the one that a file is named after, and some calls with it."""
    # As ASCII: an answer may hold half a surrogate pair.
    write_text(path, json.dumps(list(calls)))


@dataclass
class Asker(Generic[A]):
    """Asks for answers of one shape.

    `check` looks at an answer beyond its schema: it gets the question's number and the answer and
    raises ValueError, in words that the model can act on, for one that will not do. `form` is the
    JSON schema by question that a model is held to, where it can be, by default that of the shape.
    `tally` counts over all calls. Beside `journal` stands a file with those questions of the last
    call that are kept whole.
    """

    chat: Chat
    shape: type[A]
    journal: Path
    check: Callable[[int, A], None] = lambda number, answer: None
    form: Callable[[int], Form] | None = None
    tally: Tally = field(default_factory=Tally)

    def ask(
        self, prompts: Sequence[str], done: Callable[[], object] = lambda: None
    ) -> list[A | None]:
        """Return an answer for each prompt, None where it was rejected.

        `done` is called for each prompt that is settled. More than half rejected is a warning on
        stderr. Raises ProviderError where answers could not be had; what was answered is in the
        journal.
        """
        known = {line["key"]: line for line in read_lines(self.journal, self._line)}
        keys = list(map(self._key, prompts))
        lines = {number: known[key] for number, key in enumerate(keys) if key in known}
        for _ in lines:
            done()
        open_ = [number for number in range(len(prompts)) if number not in lines]
        for number, line in self._settle(prompts, open_):
            lines[number] = line
            done()
        settled = [lines[number] for number in range(len(prompts))]
        for line in settled:
            self._count(line)
        self._warn()
        note(self.journal.with_suffix(".json"), self._shown(prompts, settled))
        if any(line["tries"] > 1 for line in settled):
            note(self.journal.with_name("repair.json"))
        return [line["answer"] for line in settled]

    def _settle(
        self, prompts: Sequence[str], numbers: list[int]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Ask what is open, then once more for what did not fit; journal and yield each result."""
        again: list[tuple[int, dict[str, str], Completion]] = []
        for i, found in self.chat.answers(
            [[prompts[number]] for number in numbers], self._forms(numbers)
        ):
            number = numbers[i]
            answer, refused = self._read(number, found.text)
            if refused:
                again.append((number, refused[0], found))
                continue
            yield number, self._journal(prompts[number], answer, [found], [])
        again.sort(key=lambda item: item[0])
        questions: list[Question] = [
            [prompts[number], said["text"] or "(nothing)", prompt("repair", reason=said["reason"])]
            for number, said, _ in again
        ]
        forms = self._forms([number for number, _, _ in again])
        for i, found in self.chat.answers(questions, forms) if questions else ():
            number, said, first = again[i]
            answer, refused = self._read(number, found.text)
            yield number, self._journal(prompts[number], answer, [first, found], [said, *refused])

    def _forms(self, numbers: Sequence[int]) -> list[Form]:
        form = self.form or (lambda _: self.shape.model_json_schema())
        return [form(number) for number in numbers]

    def _read(self, number: int, text: str) -> tuple[A | None, list[dict[str, str]]]:
        """Return an answer, or None and a text with the reason why it is none."""
        try:
            return self._fitting(number, text), []
        except ValueError as error:
            return None, [{"text": text[:LONGEST], "reason": str(error)}]

    def _fitting(self, number: int, text: str) -> A:
        """Read an answer and check it; raises ValueError with a reason."""
        answer = read_as(self.shape, text)
        self.check(number, answer)
        return answer

    def _journal(
        self,
        text: str,
        answer: A | None,
        tries: Sequence[Completion],
        refused: Sequence[dict[str, str]],
    ) -> dict[str, Any]:
        """Write down what came of a prompt; return the line as it would be read again."""
        line = {
            "key": self._key(text),
            "answer": answer.model_dump(mode="json") if answer is not None else None,
            "tries": len(tries),
            "seconds": [round(found.seconds, 3) for found in tries],
            "prompt_tokens": sum(found.prompt_tokens for found in tries),
            "reply_tokens": sum(found.reply_tokens for found in tries),
            "refused": refused,
        }
        append_line(self.journal, line)
        return {**line, "answer": answer}

    def _line(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """Return a line of the journal with its answer; raises ValueError where it is none."""
        answer = line["answer"]
        counts = [line[name] for name in ("tries", "prompt_tokens", "reply_tokens")]
        if not isinstance(line["key"], str) or not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError("it is no answer that was settled")
        return {**line, "answer": None if answer is None else self.shape.model_validate(answer)}

    def _shown(
        self, prompts: Sequence[str], settled: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return the questions that are kept whole, with what came of each."""
        troubled = [number for number, line in enumerate(settled) if line["tries"] > 1]
        found = []
        for number in sorted({*range(len(prompts))[:FIRST], *troubled[:TROUBLED]}):
            line = settled[number]
            answer = line["answer"] and line["answer"].model_dump(mode="json")
            told = {"number": number, "question": prompts[number], "answer": answer}
            took = {name: line[name] for name in ("prompt_tokens", "reply_tokens")}
            # These are not in a journal of an older version.
            rest = {name: line.get(name, []) for name in ("refused", "seconds")}
            found.append(told | took | rest)
        return found

    def _count(self, line: Mapping[str, Any]) -> None:
        self.tally.asked += 1
        self.tally.rejected += line["answer"] is None
        self.tally.repaired += line["answer"] is not None and line["tries"] > 1
        self.tally.prompt_tokens += line["prompt_tokens"]
        self.tally.reply_tokens += line["reply_tokens"]
        if line["answer"] is None:
            self.tally.refused += line.get("refused", ())  # not in a journal of an older version

    def _warn(self) -> None:
        """Say that most was rejected, and why: the run goes on with what little there is."""
        if 2 * self.tally.rejected <= self.tally.asked:
            return
        last = "".join(f" The last: {said['reason']}" for said in self.tally.refused[-1:])
        tell(
            f"Warning: {self.tally.rejected} of {self.tally.asked} answers ({self.journal.stem}) "
            f"were rejected.{printable(last)} The report has the text and the reason of each. The "
            "model may be too weak for this part, or alice.max_new_tokens too few."
        )

    def _key(self, text: str) -> str:
        named = f"{self.shape.__name__}\0{text}"
        return hashlib.sha256(named.encode("utf-8", "backslashreplace")).hexdigest()[:24]


def read_as(shape: type[A], text: str) -> A:
    """Read one JSON object of a shape, whatever stands around it.

    Raises ValueError with a reason, for the model to read, where there is none that fits.
    """
    try:
        data = json.loads(text[text.find("{") : text.rfind("}") + 1])
    except (ValueError, RecursionError):
        raise ValueError("It holds no valid JSON object.") from None
    try:
        return shape.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the object"
        raise ValueError(f"{where}: {first['msg']}.") from None


def one_line(text: str) -> None:
    """Raise ValueError for a text of an answer that is not one plain line."""
    if not text.strip() or len(text.strip().splitlines()) != 1 or not text.isprintable():
        raise ValueError("A text in it is empty or not one plain line.")
