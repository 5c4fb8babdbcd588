"""Report: all rounds on one page, as HTML that loads nothing, and as Markdown.

What Bob can do by round and beside what others have reached, what Alice said, what it took, and
some of his episodes as replays or transcripts. Invariant: what others wrote is text in both, and
runs nothing. Does not: work out a figure.
"""

from __future__ import annotations

import base64
import html
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alicebob.alice.feedback import Verdict
from alicebob.envs import factory
from alicebob.envs.hooks import anchors_of, offers
from alicebob.errors import AliceBobError, UsageError
from alicebob.experiment.charts import curve, heat
from alicebob.experiment.examples import examples, skill_of
from alicebob.experiment.params import Experiment, read_yaml
from alicebob.experiment.places import place
from alicebob.experiment.results import HEADLINE, read_json, shown
from alicebob.experiment.tables import interval
from alicebob.experiment.tree import ROOT_ROUND, branches, tree
from alicebob.files import write_text
from alicebob.replay import write_gif
from alicebob.trace import Episode
from alicebob.untrusted import markdown, printable

__all__ = ["as_html", "as_markdown", "draw"]

EXAMPLES = 4  # episodes of the last round
TURNS = 30  # of each, the last ones
SIZE, RATE = 112, 4.0  # of a replay: pixels, pictures in a second
BY = {"test.open_play.by_event.": "In open play", "test.skills.by_skill.": "Single skills"}
HEADS = ("skills", "progress", "success", "score", "invalid", "alice")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;"
    "text-align:left}pre{white-space:pre-wrap;background:#f6f6f6;padding:.8rem;font-size:13px}"
    "svg{max-width:100%;height:auto}img{image-rendering:pixelated}"
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a report rests on: of each evaluated round the figures and what it changes."""

    world: str
    figures: Mapping[str, Mapping[str, Mapping[str, Any]]]
    parents: Mapping[str, str]
    methods: Mapping[str, str]
    changes: Mapping[str, Mapping[str, Any]]
    anchors: Mapping[str, float]

    @property
    def last(self) -> str:
        """The newest round of the main line, which the others branch off."""
        line = branches({name: {"prev": parent} for name, parent in self.parents.items()})
        main = [round_id for round_id in line[ROOT_ROUND] if round_id in self.figures]
        return (main or list(self.figures))[-1]

    @property
    def maps(self) -> dict[str, str]:
        """What the maps show, by title: those of which there are figures."""
        names = {name for found in self.figures.values() for name in found}
        return {by: title for by, title in BY.items() if any(n.startswith(by) for n in names)}

    def rows(self) -> list[list[str]]:
        """Return the rounds as a table: figures with intervals, minutes, tokens."""
        heads = [h for h in HEADS if any(HEADLINE[h] in f for f in self.figures.values())]
        rows = [["round", "method", *heads, "minutes", "tokens", "changes"]]
        for round_id, found in self.figures.items():
            means = [found.get(HEADLINE[head]) for head in heads]
            cells = [interval(mean) if mean else "" for mean in means]
            changed = ", ".join(f"{k}: {v}" for k, v in self.changes[round_id].items())
            spent = [_minutes(round_id), _tokens(found)]
            rows.append([round_id, self.methods[round_id], *cells, *spent, changed])
        return rows


def _facts() -> Facts:
    """Read what a report rests on; raises UsageError where no round is evaluated yet."""
    experiment, rounds = Experiment(), tree(read_yaml())
    figures = {r: found for r in (ROOT_ROUND, *rounds) if (found := shown(r))}
    if not figures:
        raise UsageError("No round is evaluated yet; run 'dvc repro' first.")
    spec = experiment.params(ROOT_ROUND).env.spec
    return Facts(
        world=spec,
        figures=figures,
        parents={name: item["prev"] for name, item in rounds.items()},
        methods={r: experiment.params(r).method if r in rounds else "untrained" for r in figures},
        changes={r: experiment.changes(r) if r in rounds else {} for r in figures},
        anchors=anchors_of(factory(spec)),
    )


def draw(folder: Path = Path("plots")) -> None:
    """Draw what `dvc plots show` shows: the curve and the maps of skills.

    A damaged round or parameter leaves them as they are; `alicebob round list` says what is wrong.
    """
    try:
        facts = _facts()
    except AliceBobError:
        return
    write_text(folder / "curve.svg", curve(facts.figures, facts.parents, facts.anchors))
    for prefix, name in zip(BY, ("open_play", "skills"), strict=True):
        write_text(folder / f"{name}.svg", heat(facts.figures, prefix))


def as_html() -> str:
    """Return the report as one page of HTML that needs nothing else; raises what `_facts` does."""
    facts = _facts()
    head, *rows = facts.rows()
    drawn = [f"<h2>{name}</h2>{heat(facts.figures, by)}" for by, name in facts.maps.items()]
    said = [_details(f"After {r}", text) for r, text in _said(facts)]
    plays = [_example(e, verdict, facts) for e, verdict in examples(facts.last, EXAMPLES)]
    body = [
        f"<h1>Bob in {_safe(facts.world)}</h1><p>{_safe(_verdict(facts))}</p>",
        f"<table>{_row(head, 'th')}{''.join(_row(row, 'td') for row in rows)}</table>",
        f"<h2>Beside others</h2>{curve(facts.figures, facts.parents, facts.anchors)}",
        f"<p>{_safe(_beside(facts))}</p>",
        *drawn,
        "<h2>What Alice said</h2>",
        *(said or ["<p>Nothing yet.</p>"]),
        f"<h2>How he plays, {_safe(facts.last)}</h2>",
        *(plays or ["<p>His episodes are not here; 'dvc pull' brings them.</p>"]),
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>Bob in {_safe(facts.world)}</title><style>{STYLE}</style>"
        + "\n".join(body)
        + "</html>\n"
    )


def as_markdown() -> str:
    """Return the report as Markdown, without its pictures; raises what `_facts` does."""
    facts = _facts()
    head, *rows = facts.rows()
    parts = [f"# Bob in {markdown(facts.world)}", markdown(_verdict(facts)), table(head, rows)]
    parts += [markdown(_beside(facts))]
    for prefix, name in facts.maps.items():
        names = sorted({n for f in facts.figures.values() for n in f if n.startswith(prefix)})
        shares = [
            [n.removeprefix(prefix), *(_share(found.get(n)) for found in facts.figures.values())]
            for n in names
        ]
        parts += [f"## {name}", table(["", *facts.figures], shares)]
    for round_id, text in _said(facts):
        parts += [f"## What Alice said after {round_id}", _block(text)]
    for episode, verdict in examples(facts.last, EXAMPLES):
        parts += [f"## {markdown(_told(episode, verdict))}", _block(_transcript(episode))]
    return "\n\n".join(parts) + "\n"


def _verdict(facts: Facts) -> str:
    first, last = facts.figures[next(iter(facts.figures))], facts.figures[facts.last]
    said = [
        f"{head} {interval(first[name])} → {interval(last[name])}"
        for head, name in HEADLINE.items()
        if name in first and name in last and head in HEADS[:3]
    ]
    return f"From {next(iter(facts.figures))} to {facts.last}, on test worlds: {'; '.join(said)}."


def _beside(facts: Facts) -> str:
    if not facts.anchors:
        return "Nothing is published that compares."
    told = ", ".join(f"{who} {share:.1%}" for who, share in facts.anchors.items())
    return (
        f"Dashed: the share of progress that others have reached ({told}); published, but for "
        "random play. Theirs are of other seeds and prompts, and of few episodes."
    )


def _minutes(round_id: str) -> str:
    facts = [read_json(p, "delete it") for p in sorted(Path("logs").glob(f"{round_id}-*.json"))]
    spent = sum(found.get("seconds", 0.0) for found in facts)
    return f"{spent / 60:.1f}" if facts else ""


def _tokens(found: Mapping[str, Mapping[str, Any]]) -> str:
    budget = {name: mean["mean"] for name, mean in found.items() if name.startswith("budget.")}
    spent = [amount for name, amount in budget.items() if name.endswith("tokens")]
    return f"{sum(spent):,.0f}" if spent else ""


def _said(facts: Facts) -> Iterable[tuple[str, str]]:
    for round_id in facts.figures:
        path = place("feedback", round_id) / "feedback.md"
        if path.exists() and round_id != ROOT_ROUND:
            yield round_id, path.read_text(encoding="utf-8", errors="replace")


def _told(episode: Episode, verdict: Verdict | None) -> str:
    said = f"; Alice: {verdict.reason.replace('_', ' ')} {verdict.detail}" if verdict else ""
    end = f"{episode.outcome.value.replace('_', ' ')} after {len(episode.turns)} turns"
    return f"{skill_of(episode)}: {end}{said if verdict and verdict.reason else ''} ({episode.id})"


def _example(episode: Episode, verdict: Verdict | None, facts: Facts) -> str:
    picture = _replay(episode) if offers(factory(facts.world), "render") else ""
    return (
        f"<h3>{_safe(_told(episode, verdict))}</h3><p>{_safe(episode.instruction)}</p>{picture}"
        f"{_details('Turn by turn', _transcript(episode))}"
    )


def _replay(episode: Episode) -> str:
    """Return the end of an episode as a picture; why there is none, where it does not replay."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "replay.gif"
        try:
            start = max(0, len(episode.turns) - TURNS)
            write_gif(episode, path, start=start, size=SIZE, rate=RATE)
        except AliceBobError as error:
            return f"<p>{_safe(str(error))}</p>"
        data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{_safe(episode.id)}" src="data:image/gif;base64,{data}">'


def _transcript(episode: Episode) -> str:
    start = max(0, len(episode.turns) - TURNS)
    lines = [f"({start} turns before these)"] if start else []
    for number, turn in enumerate(episode.turns[start:], start):
        thought = f" ({turn.thought})" if turn.thought else ""
        events = f" -> {', '.join(turn.events)}" if turn.events else ""
        lines.append(f"[{number}] {turn.observation[:600]}\n> {turn.action}{thought}{events}")
    return "\n\n".join(lines)


def _details(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary><pre>{_safe(text)}</pre></details>"


def _safe(text: str) -> str:
    return html.escape(printable(text, lines=True))


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{_safe(cell)}</{tag}>' for cell in cells)}</tr>"


def _share(mean: Mapping[str, Any] | None) -> str:
    return f"{mean['mean']:.0%}" if mean else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table in which all that stands in a cell stays text."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(markdown(' '.join(c.split())).replace('|', '/') for c in line)} |"
        for line in lines
    )


def _block(text: str) -> str:
    """Return a text as a block of code, which nothing in it ends."""
    return "\n".join(f"    {line}" for line in printable(text, lines=True).splitlines())
