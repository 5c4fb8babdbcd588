"""Charts: the rounds drawn as SVG, with nothing to load and nothing that runs.

Invariant: text of others' making is text in the picture. Does not: read a file.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from alicebob.untrusted import printable

__all__ = ["curve", "heat"]

Means = Mapping[str, Mapping[str, Any]]
WIDTH, HEIGHT = 720, 360  # of the curve
LEFT, RIGHT, TOP, BOTTOM = 48, 170, 16, 40  # its margins; names of anchors stand on the right
CELL = (56, 18)  # of the heat map
NAMES = 180  # width of its names
LINES = (("test.open_play.progress", "#1f6feb"), ("test.skills.success", "#2da44e"))
LEGEND = {
    "test.open_play.progress": "progress in open play",
    "test.skills.success": "single skills",
}


def curve(
    found: Mapping[str, Means], parents: Mapping[str, str], anchors: Mapping[str, float]
) -> str:
    """Return Bob's progress by round with 95 % intervals, beside what others have reached.

    `found` has each evaluated round's mean objects under dotted names, `parents` a round's parent.
    """
    depth = _depths(found, parents)
    most = max(depth.values(), default=0)
    step = (WIDTH - LEFT - RIGHT) / max(1, most)
    parts = [_ticks()]
    others = sorted(anchors.items(), key=lambda each: each[1])
    for (who, share), at in zip(others, _spread([_y(s) for _, s in others]), strict=True):
        end = WIDTH - RIGHT
        parts.append(_line(LEFT, _y(share), end, _y(share), "#999", ' stroke-dasharray="4 4"'))
        parts.append(_text(end + 6, at + 4, f"{who} {share:.0%}", "#666"))
    for nth, (name, colour) in enumerate(LINES):
        shown = {r: means[name] for r, means in found.items() if name in means}
        for round_id, figure in shown.items():
            x, y = LEFT + depth[round_id] * step + 4 * nth, _y(figure["mean"])
            parent = parents.get(round_id, "")
            if parent in shown:
                before = LEFT + depth[parent] * step + 4 * nth
                parts.append(_line(before, _y(shown[parent]["mean"]), x, y, colour))
            if figure["low"] is not None and figure["high"] is not None:
                parts.append(_line(x, _y(figure["low"]), x, _y(figure["high"]), colour))
            title = f"{round_id}: {figure['mean']:.3g}"
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}">'
                f"<title>{_safe(title)}</title></circle>"
            )
        if shown:
            parts.append(_text(LEFT + 8 + 180 * nth, TOP + 2, f"● {LEGEND[name]}", colour))
    marks: dict[int, list[str]] = {}
    for round_id, at in depth.items():
        marks.setdefault(at, []).append(round_id)
    for at, names in marks.items():
        parts.append(_text(LEFT + at * step - 12, HEIGHT - BOTTOM + 18, " ".join(names)[:24]))
    return _svg(WIDTH, HEIGHT, parts, "Progress by round, with 95 % intervals")


def heat(found: Mapping[str, Means], prefix: str) -> str:
    """Return the shares under a prefix as a map: a row for each name, a column for each round."""
    names = sorted({n for means in found.values() for n in means if n.startswith(prefix)})
    last = list(found.values())[-1] if found else {}
    names.sort(key=lambda name: -last.get(name, {"mean": 0.0})["mean"])
    parts = [_text(NAMES + at * CELL[0] + 4, 13, r[:8]) for at, r in enumerate(found)]
    for row, name in enumerate(names):
        y = 20 + row * CELL[1]
        parts.append(_text(0, y + 13, name.removeprefix(prefix)[:28]))
        for at, means in enumerate(found.values()):
            share = min(1.0, max(0.0, means[name]["mean"])) if name in means else 0.0
            x, dark = NAMES + at * CELL[0], share > 0.5
            parts.append(
                f'<rect x="{x}" y="{y}" width="{CELL[0] - 2}" height="{CELL[1] - 2}" '
                f'fill="#2da44e" fill-opacity="{0.04 + 0.96 * share:.2f}"/>'
            )
            parts.append(_text(x + 14, y + 12, f"{share:.0%}", "#fff" if dark else "#333"))
    height = 24 + len(names) * CELL[1]
    return _svg(NAMES + len(found) * CELL[0], height, parts, "Shares by round")


def _depths(rounds: Mapping[str, Any], parents: Mapping[str, str]) -> dict[str, int]:
    found = {}
    for round_id in rounds:
        at, above = 0, round_id
        while above in parents:
            at, above = at + 1, parents[above]
        found[round_id] = at
    return found


def _y(share: float) -> float:
    return TOP + (1 - min(1.0, max(0.0, share))) * (HEIGHT - TOP - BOTTOM)


def _spread(places: Sequence[float]) -> list[float]:
    """Return places for labels that stand a line apart at least; the lowest on the page first."""
    found: list[float] = []
    for place in places:
        found.append(min(place, found[-1] - 14) if found else place)
    return found


def _ticks() -> str:
    ticks = [n / 5 for n in range(6)]
    lines = [_line(LEFT, _y(t), WIDTH - RIGHT, _y(t), "#e5e5e5") for t in ticks]
    return "".join([*lines, *(_text(8, _y(t) + 4, f"{t:.0%}", "#666") for t in ticks)])


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, more: str = "") -> str:
    place = f'x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="1.5"{more}/>'


def _text(x: float, y: float, text: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}">{_safe(text)}</text>'


def _safe(text: str) -> str:
    return html.escape(printable(text))


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
        f"<title>{title}</title>"
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )
