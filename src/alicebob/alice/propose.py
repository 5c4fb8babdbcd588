"""Propose: tasks that documents, or beginnings of worlds, speak of, among those that a world has.

A world's tasks are its trials, else its goals for training, else its events; of these a document
names the ones whose words it has (BM25, the document as the query). Invariant: the same documents
and world give the same tasks, and none twice. Does not: read what a document says of a task.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from alicebob import words
from alicebob.envs.hooks import Trial, actions_of, events_of, has_goals, suite_of, tasks_of
from alicebob.errors import UsageError
from alicebob.evaluation import GOAL
from alicebob.retrieval.bm25 import Index, terms
from alicebob.retrieval.documents import Document

__all__ = ["EACH", "WORLDS", "asked_for", "beginnings", "different", "named"]

WORLDS = 10  # whose beginnings are read, where there are no documents
EACH = 25  # tasks of each of those, at most


def named(
    documents: Sequence[Document], each: int, env: Any, worlds: Sequence[int], limit: int
) -> list[Trial]:
    """Return up to `each` tasks that a document names, document by document; some come twice.

    Goals are those of `worlds`, and `limit` bounds the turns. Raises UsageError where there is
    nothing to choose from, or nothing of it is named.
    """
    found = _posed(env, worlds, limit)
    index = Index.of(f"{trial.instruction} {words.goal(trial.name)}" for trial in found)
    chosen = [found[n] for document in documents for n in index.search(document.text, each)]
    if not chosen:
        raise UsageError(
            "What was read names nothing that this environment has as a trial, a goal or an event. "
            "Give other documents (learn_by_interact.documents), or let a language model read "
            "(alice.propose: model)."
        )
    return chosen


def _posed(env: Any, worlds: Sequence[int], limit: int) -> list[Trial]:
    if suite := suite_of(env):
        return [Trial(t.name, t.instruction, min(limit, t.max_turns), t.options) for t in suite]
    if has_goals(env):
        goals = tasks_of(env, "train", worlds)
        return [Trial(GOAL, told, limit, options) for told, options in goals]
    return [Trial(event, words.plain(event), limit) for event in events_of(env)]


def different(tasks: Iterable[Trial]) -> list[Trial]:
    """Return tasks without those that one before them says in the same words, endings aside."""
    found: dict[tuple[str, ...], Trial] = {}
    for task in tasks:
        found.setdefault(tuple(terms(task.instruction)), task)
    return list(found.values())


def beginnings(env: Any, worlds: Sequence[int]) -> Iterator[Document]:
    """Yield what is shown, and what can be done, where some worlds begin."""
    actions = [words.goal(action) for action in actions_of(env)]
    for seed, (_, options) in zip(worlds, tasks_of(env, "train", worlds), strict=True):
        shown, _ = env.reset(seed=seed, options=options)
        yield Document(f"world {seed}", "\n".join([shown, "", "Actions:", *actions]))


def asked_for(instruction: str, env: Any) -> str:
    """Return the event all of whose words an instruction has, the longest of several, else GOAL."""
    said = set(terms(instruction))
    asked = [event for event in events_of(env) if set(terms(words.goal(event))) <= said]
    return max(asked, key=len, default=GOAL)
