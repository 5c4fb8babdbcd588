"""Commands about a whole experiment: begin it, say what it will take, bring it to MLflow."""

from __future__ import annotations

import click

__all__ = ["estimate", "init", "sync"]


@click.command()
@click.option("--preset", metavar="NAME", help="The preset to apply; without it they are listed.")
def init(preset: str | None) -> None:
    """Write a preset into params.yaml: its sizes, models and budgets; the rounds stay."""
    from alicebob.experiment.presets import about, apply, known

    if preset is None:
        for name in known():
            click.echo(f"{name}\t{about(name)}")
        return
    changed = apply(preset)
    click.echo(f"Applied {preset} to params.yaml: {changed} values changed.", err=True)


@click.command()
@click.option("--prices", nargs=2, type=float, help="Of a million tokens read, and written.")
def estimate(prices: tuple[float, float] | None) -> None:
    """Say what the rounds of params.yaml may take at most; nothing is run.

    Tokens read and written are those of Alice's model. Time is given for stages that have run here
    before, at their speed then.
    """
    from alicebob.experiment.estimate import estimate as costs
    from alicebob.experiment.estimate import table

    click.echo(table(costs(), prices or (0.0, 0.0)))


@click.command()
def sync() -> None:
    """Make MLflow agree with the files: every round, its metrics, parameters and feedback."""
    from alicebob.tracking import sync as bring

    click.echo(f"MLflow: {bring()} rounds brought up to date.", err=True)
