"""Commands about a whole experiment: begin it, say what it will take, bring it to MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alicebob.cli.numbers import PRICES, Finite
from alicebob.cli.pairs import with_settings
from alicebob.errors import UsageError
from alicebob.untrusted import printable

__all__ = ["doctor", "estimate", "init", "report", "sync"]


@click.command()
@click.option("--preset", metavar="NAME", help="The preset to apply; without it they are listed.")
@click.option("--env", "spec", metavar="SPEC", help="The environment, e.g. my_module:Door.")
@with_settings
def init(preset: str | None, spec: str | None, settings: dict[str, Any]) -> None:
    """Begin a project in this folder, and write a preset and values into its params.yaml.

    Without params.yaml the pipeline is laid down first. A preset has sizes, models and budgets; the
    rounds stay. KEY=VALUE sets single parameters, e.g. evaluate.max_turns=4. With an environment of
    your own the preset is 'own', unless you name another.
    """
    from alicebob.envs import factory, parse
    from alicebob.experiment.begin import lay_down
    from alicebob.experiment.params import PATH
    from alicebob.experiment.presets import about, apply, known

    if spec is not None:
        factory(spec)
        name, given = parse(spec)
        settings = {"env.spec": name, "env.settings": given, **settings}
        preset = preset or "own"
    if preset is not None:
        about(preset)  # an unknown one is told before anything is written
    new = not PATH.exists()
    if new:
        click.echo(f"Wrote {', '.join(lay_down())}.", err=True)
    if preset or settings:
        changed = apply(preset, settings)
        click.echo(
            f"{PATH}: {changed} values changed{f', preset {preset}' * bool(preset)}.", err=True
        )
    elif not new:
        for each in known():
            click.echo(f"{each}\t{about(each)}")


@click.command()
@PRICES
@click.option(
    "--memory", "device", type=Finite(min=0), metavar="GIB", help="Refuse what does not fit."
)
def estimate(prices: tuple[float, float] | None, device: float | None) -> None:
    """Say what the rounds of params.yaml may take at most; nothing is run.

    Tokens read and written are those of Alice's model, where no answer is asked for again. Memory
    is that of a step of training on a device, without what its library takes; --memory ends in an
    error where it does not fit. Time is given for stages that have run here before, at their speed
    then.
    """
    from alicebob.experiment.estimate import estimate as costs
    from alicebob.experiment.estimate import memory, table

    click.echo(table(costs(), prices or (0.0, 0.0)))
    try:
        click.echo(f"A step of training takes about {memory(device=device).told()} of a device.")
    except UsageError as error:
        if device is not None:
            raise
        click.echo(f"Memory of training: unknown. {error}", err=True)


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended here, and say so.")
@click.pass_context
def doctor(ctx: click.Context, repair: bool) -> None:
    """Say what a crash has left here, and what would mend it; ends with 1 where something is left.

    Nothing is mended without --repair, and nothing is deleted that anything rests on.
    """
    from alicebob.experiment.doctor import Finding, examine
    from alicebob.tracking import left

    found = examine()
    if not any(finding.text.startswith("dvc.lock") for finding in found):
        found += [
            Finding(f"MLflow shows {name} as running", "it is shown as killed", lambda: None)
            for name in left(repair)
        ]
    for finding in found:
        if repair and finding.repair:
            finding.repair()
        how = "Mended" if repair and finding.repair else "Found"
        click.echo(printable(f"{how}: {finding.text}; {finding.mend}."))
    if not found:
        click.echo("Nothing is amiss.")
    ctx.exit(any(not (repair and finding.repair) for finding in found))


@click.command()
@click.argument("path", default="report.html", type=click.Path(path_type=Path, dir_okay=False))
def report(path: Path) -> None:
    """Write all rounds as one page to PATH (report.html), and beside it as Markdown.

    What Bob can do by round, beside what others have reached; what Alice said, what it took, and
    some episodes of the newest round as replays. The page needs nothing else, and is shown in
    MLflow among the artifacts of the lineage.
    """
    from alicebob.experiment.report import as_html, as_markdown
    from alicebob.files import write_text
    from alicebob.tracking import attach

    beside = path.with_suffix(".md")
    for each, text in ((path, as_html()), (beside, as_markdown())):
        write_text(each, text)
    attach(path, beside)
    click.echo(f"Wrote {path} and {beside}.", err=True)


@click.command()
@click.pass_context
def sync(ctx: click.Context) -> None:
    """Make MLflow agree with the files: every round, its metrics, parameters and feedback.

    Ends with 1 where MLflow was not reached.
    """
    from alicebob.tracking import sync as bring

    changed = bring()
    if changed is None:
        ctx.exit(1)
    click.echo(f"MLflow: {changed} rounds brought up to date.", err=True)
