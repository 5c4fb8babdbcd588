"""Commands that list, check and play environments."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from alicebob.cli.pairs import with_settings
from alicebob.errors import AliceBobError

__all__ = ["env"]


@click.group()
def env() -> None:
    """List, check and play environments."""


def _seeded(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the environment it is about, with settings and a seed."""
    seed = click.option("--seed", default=0, show_default=True, help="Seed of the world.")
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
    """Check that SPEC steps and that the same seed and actions give the same episode."""
    from alicebob.envs.check import transcript

    first = transcript(spec, settings, seed)
    if first != transcript(spec, settings, seed):
        raise AliceBobError(f"{spec} gives another episode for the same seed {seed} and actions.")
    click.echo(f"{spec}: {len(first) - 1} turns, twice the same for seed {seed}.")


@env.command()
@_seeded
def play(spec: str, settings: dict[str, Any], seed: int) -> None:
    """Play SPEC in the terminal: type an action, or nothing to leave."""
    from alicebob.envs import make

    world = make(spec, **settings)
    text, info = world.reset(seed=seed)
    told: list[str] = []
    total, over = 0.0, False
    while not over:
        click.echo(f"\n{text}\n")
        actions = info.get("admissible_actions") or ["free text"]
        if actions != told:
            click.echo(f"Actions: {', '.join(actions)}", err=True)
        told = actions
        action = click.prompt(">", default="", show_default=False, prompt_suffix=" ", err=True)
        if not action:
            break
        text, reward, terminated, truncated, info = world.step(action)
        total, over = total + reward, terminated or truncated
    click.echo(f"{text}\n\nReward: {total:.2f}" if over else f"Reward: {total:.2f}")


@env.command()
@click.argument("spec")
@with_settings
def suite(spec: str, settings: dict[str, Any]) -> None:
    """List the trials of SPEC: what Bob is tried on, and what each trial grants."""
    from alicebob.envs import make

    world: Any = make(spec, **settings)
    if not hasattr(world, "suite"):
        raise AliceBobError(f"{spec} has no suite of trials.")
    for trial in world.suite():
        granted = json.dumps(dict(trial.options))
        click.echo(f"{trial.name}\t{trial.instruction}\t{trial.max_turns} turns\t{granted}")
