"""The command that compares methods over seeds."""

from __future__ import annotations

from pathlib import Path

import click

from alicebob.cli.numbers import COUNT
from alicebob.cli.pairs import pairs

__all__ = ["compare"]


@click.command()
@click.pass_context
@click.option("--seeds", default="1,2,3", show_default=True, help="Seeds, by commas.")
@click.option("--jobs", "-j", type=COUNT, default=1, show_default=True, help="Lineages at once.")
@click.option("--equal", type=click.Choice(["rounds", "steps", "tokens"]), default="rounds")
@click.option("--queue", "only", flag_value="queue", help="Queue what is missing, and end.")
@click.option("--table", "only", flag_value="table", help="Show what is there, and run nothing.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("plots"),
    show_default=True,
    help="Folder for the table (Markdown), the figures (JSON) and the curves (SVG).",
)
@click.argument("words", nargs=-1, required=True, metavar="ARM...")
def compare(
    ctx: click.Context,
    words: tuple[str, ...],
    seeds: str,
    jobs: int,
    equal: str,
    only: str | None,
    out: Path,
) -> None:
    """Compare arms over seeds, each lineage a DVC experiment of its own.

    An arm is a method for each round, such as "exif exif step", or one for all rounds; "LABEL: …"
    names it, KEY=VALUE in it changes a parameter. 'ablation' and 'methods' are comparisons that are
    shipped. What is finished is not run again; --equal holds budgets equal in rounds, in
    environment steps of exploring, or in training tokens.
    """
    from alicebob.experiment import arms as lineages
    from alicebob.experiment.compare import compare as compared

    chosen = lineages.arms_of(words, pairs)
    numbers = _seeds(seeds)
    failed: list[str] = []
    if only != "table":
        added = lineages.queue(chosen, numbers)
        click.echo(f"Queued {len(added)} of {len(chosen) * len(numbers)} lineages.", err=True)
        if only == "queue":
            return
        names = [arm.experiment(seed) for arm in chosen for seed in numbers]
        failed = lineages.run(names, jobs, lambda line: click.echo(line, err=True))
    found = compared(chosen, numbers, equal)
    click.echo(found.text())
    written = found.write(out)
    click.echo(f"Wrote {', '.join(map(str, written))}.", err=True)
    for name in failed:
        click.echo(f"Error: {name} failed; 'dvc queue logs {name}' says why.", err=True)
    if failed:
        ctx.exit(1)


def _seeds(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise click.BadParameter(f"{text!r} are no seeds, such as 1,2,3.", param_hint="--seeds")
    return [int(word) for word in words]
