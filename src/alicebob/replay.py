"""Replays: an episode played again from its seed, as pictures.

Invariant: every picture is of the recorded episode; where the replay shows another observation than
the record, it stops with DamagedData. Does not: need the policy that acted, or change the episode.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alicebob.envs import World
from alicebob.errors import DamagedData, EnvError, UsageError
from alicebob.trace import Episode

__all__ = ["frames", "retraced", "write_gif"]

Picture = NDArray[np.uint8]


def frames(
    episode: Episode, *, start: int = 0, end: int | None = None, size: int = 180
) -> list[Picture]:
    """Return pictures (size, size, 3) of an episode: one before turn `start`, one after each turn.

    Stops after turn `end`, exclusive. Raises UsageError where the environment has no pictures or
    the episode no such turns, DamagedData where the replay's observations differ from the recorded.
    """
    return list(_pictures(episode, start, end, size))


def write_gif(
    episode: Episode,
    path: Path,
    *,
    start: int = 0,
    end: int | None = None,
    size: int = 270,
    rate: float = 8.0,
) -> None:
    """Write the pictures of an episode as a GIF that repeats, `rate` of them in a second.

    The file is there whole or not at all. Raises what `frames` raises.
    """
    pictures = (Image.fromarray(picture) for picture in _pictures(episode, start, end, size))
    path.parent.mkdir(parents=True, exist_ok=True)
    spare = path.with_name(f".{path.name}.part")
    try:
        next(pictures).save(
            spare,
            format="GIF",
            save_all=True,
            append_images=pictures,
            duration=round(1000 / rate),
            loop=0,
        )
        os.replace(spare, path)
    finally:
        spare.unlink(missing_ok=True)


def _pictures(episode: Episode, start: int, end: int | None, size: int) -> Iterator[Picture]:
    end = len(episode.turns) if end is None else end
    if not 0 <= start <= end <= len(episode.turns):
        raise UsageError(
            f"Episode {episode.id} has turns 0 to {len(episode.turns)}, not {start} to {end}."
        )
    env = World(episode.environment)()
    if not hasattr(env, "render"):
        raise UsageError(f"Environment {episode.environment!r} has no render(), so no pictures.")
    try:
        for turn, (observation, _) in enumerate(retraced(env, episode, end)):
            _compare(episode, turn, observation)
            if turn >= start:
                yield _picture(env.render(size), episode, size)
    finally:
        env.close()


def _picture(found: Any, episode: Episode, size: int) -> Picture:
    if not isinstance(found, np.ndarray) or (found.shape, found.dtype) != ((size, size, 3), "u1"):
        raise EnvError(
            f"{episode.environment}: render({size}) must return a picture, bytes of shape "
            f"({size}, {size}, 3)."
        )
    return found


def retraced(env: Any, episode: Episode, end: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Play an episode's actions again, up to turn `end`, exclusive.

    Yield the observation and info before the first turn and after each one. Raises EnvError where
    the environment is a World's and fails.
    """
    yield env.reset(seed=episode.seed, options=dict(episode.options))
    for turn in episode.turns[:end]:
        observation, _, _, _, info = env.step(turn.action)
        yield observation, info


def _compare(episode: Episode, turn: int, observation: str) -> None:
    """Raise DamagedData unless this is the observation that was recorded before this turn."""
    over = turn == len(episode.turns)
    if observation != (episode.final if over else episode.turns[turn].observation):
        raise DamagedData(
            f"Episode {episode.id} does not replay: {episode.environment} shows another "
            f"observation {'at its end' if over else f'before turn {turn}'} than was recorded. "
            "Replay it with the version that recorded it, or explore again with 'dvc repro'."
        )
