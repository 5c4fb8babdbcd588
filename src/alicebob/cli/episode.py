"""Commands that show single episodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from alicebob.errors import UsageError
from alicebob.untrusted import printable

if TYPE_CHECKING:
    from alicebob.trace import Episode

__all__ = ["episode"]


@click.group()
def episode() -> None:
    """Look at single episodes."""


@episode.command("show")
@click.argument("episode_id")
def show_episode(episode_id: str) -> None:
    """Print an episode, turn by turn: what was seen, thought and done."""
    found = _episode(episode_id)
    lines = [f"{found.id}, {found.environment}, seed {found.seed}: {found.instruction}"]
    for number, turn in enumerate(found.turns):
        thought = f" ({turn.thought})" if turn.thought else ""
        events = f" -> {', '.join(turn.events)}" if turn.events else ""
        lines.append(f"\n[{number}] {turn.observation}\n> {turn.action}{thought}{events}")
    lines.append(f"\n{found.outcome.value} after {len(found.turns)} turns")
    for line in lines:  # what a page or a model wrote drives no terminal
        click.echo(printable(line, lines=True))


@episode.command("gif")
@click.argument("episode_id")
@click.argument("path", type=click.Path(path_type=Path))
def draw_episode(episode_id: str, path: Path) -> None:
    """Replay an episode from its seed and actions and write it as a GIF to PATH."""
    from alicebob.replay import write_gif

    write_gif(_episode(episode_id), path)
    click.echo(f"Wrote {path}.", err=True)


def _episode(episode_id: str) -> Episode:
    """Find an episode by its id, e.g. r001-test-open_play-03, in what its round wrote."""
    from alicebob.dataset import read_episodes
    from alicebob.experiment.places import place

    for round_id in _rounds_of(episode_id):
        for kind in ("evaluations", "episodes"):
            folder = place(kind, round_id)
            for found in read_episodes(folder) if folder.is_dir() else ():
                if found.id == episode_id:
                    return found
    raise UsageError(f"There is no episode {episode_id!r}; see the ids in data/feedback.")


def _rounds_of(episode_id: str) -> list[str]:
    """Return the rounds whose ids, which may hold dashes, begin an episode's; the longest first."""
    from alicebob.experiment.params import read_yaml
    from alicebob.experiment.tree import ROOT_ROUND, tree

    known = [ROOT_ROUND, *tree(read_yaml())]
    return sorted((r for r in known if episode_id.startswith(f"{r}-")), key=len, reverse=True)
