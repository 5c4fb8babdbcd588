"""Commands that list, check and play environments."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from alicebob.cli.pairs import with_settings
from alicebob.errors import AliceBobError
from alicebob.untrusted import printable

__all__ = ["env"]


@click.group()
def env() -> None:
    """List, check and play environments."""


def _seeded(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the environment it is about, with settings and a seed."""
    seed = click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the world."
    )
    return click.argument("spec")(with_settings(seed(command)))


@env.command("list")
def list_environments() -> None:
    """List the registered environments, with the class of each."""
    from alicebob.envs import available

    for name, target in available().items():
        click.echo(f"{name}\t{target}")


@env.command()
@_seeded
def check(spec: str, settings: dict[str, Any], seed: int) -> None:
    """Check that SPEC gives the same episode again, and say what the rounds will have of it."""
    from alicebob.envs import World
    from alicebob.envs.check import check as examine
    from alicebob.pipeline.outlook import outlook

    world = World(spec, settings)
    turns, _ = examine(world, seed)
    click.echo(f"{spec}: {turns} turns, twice the same for seed {seed}.")
    parts = outlook(world, seed)
    for part in parts:
        click.echo(f"{part.name:9} {part.text}")
    if failing := [part.name for part in parts if part.fails]:
        raise AliceBobError(f"{spec} does not do for the rounds: see {', '.join(failing)}.")


@env.command()
@_seeded
def play(spec: str, settings: dict[str, Any], seed: int) -> None:
    """Play SPEC in the terminal: type an action, or nothing to leave."""
    from alicebob.envs import World

    world = World(spec, settings)()
    text, info = world.reset(seed=seed)
    told: list[str] = []
    total, over = 0.0, False
    while not over:
        click.echo(f"\n{printable(text, lines=True)}\n")
        actions = info.get("admissible_actions") or ["free text"]
        if actions != told:
            click.echo(f"Actions: {printable(', '.join(actions))}", err=True)
        told = actions
        action = click.prompt(">", default="", show_default=False, prompt_suffix=" ", err=True)
        if not action:
            break
        text, reward, terminated, truncated, info = world.step(action)
        total, over = total + reward, terminated or truncated
    last = f"{printable(text, lines=True)}\n\n" if over else ""
    click.echo(f"{last}Reward: {total:.2f}")


@env.command()
@click.argument("spec")
@with_settings
def suite(spec: str, settings: dict[str, Any]) -> None:
    """List the trials of SPEC: what Bob is tried on, and what each trial grants."""
    from alicebob.envs import World
    from alicebob.envs.hooks import suite_of

    trials = suite_of(World(spec, settings)())
    if not trials:
        raise AliceBobError(f"{spec} has no suite of trials.")
    for trial in trials:
        granted = json.dumps(dict(trial.options))
        told = f"{printable(trial.name)}\t{printable(trial.instruction)}"
        click.echo(f"{told}\t{trial.max_turns} turns\t{printable(granted)}")
