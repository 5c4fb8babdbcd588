"""Commands that add, list, show, compare, promote and try rounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from alicebob.cli.numbers import COUNT
from alicebob.cli.pairs import pairs, with_settings
from alicebob.untrusted import printable

__all__ = ["rounds"]


@click.group("round")
def rounds() -> None:
    """Add, list and compare rounds."""


@rounds.command("list")
@click.pass_context
def list_rounds(ctx: click.Context) -> None:
    """List the rounds with their parents and main figures, each with its 95 % interval.

    A note marks rounds that 'dvc repro' would make anew (stale), and those that were evaluated
    otherwise than params.yaml has it and so do not compare (another seed, env, seeds, evaluate).
    """
    from alicebob.experiment.tables import table

    text, troubles = table()
    click.echo(text)
    for trouble in troubles:
        click.echo(f"Error: {printable(str(trouble))}", err=True)
    if troubles:
        ctx.exit(troubles[0].exit_code)


@rounds.command("tree")
def tree_of_rounds() -> None:
    """Draw which round goes on from which, what each changes, and how good its Bob is."""
    from alicebob.experiment.tables import descent

    click.echo(printable(descent(), lines=True))


@rounds.command("show")
@click.argument("round_id", metavar="ID")
def show_round(round_id: str) -> None:
    """Show a round's figures and, where a model speaks for Alice, what became of its answers.

    By verb: how many were asked for, which share was whole at once, mended at the second try or
    rejected, and how far labels and verdicts agree with the environment.
    """
    from alicebob.experiment.spoken import told

    click.echo(told(round_id))


@rounds.command("add")
@click.option("--from", "parent", default=None, help="Parent; by default the newest round.")
@click.option(
    "--keep-better",
    is_flag=True,
    help="Where the parent's Bob is worse on validation, beyond the interval, than an earlier one "
    "of its line, go on from that one.",
)
@click.argument("words", nargs=-1, metavar="[ID] [KEY=VALUE]...")
def add_round(parent: str | None, keep_better: bool, words: tuple[str, ...]) -> None:
    """Append a round to params.yaml, with what it changes, e.g. train.learning_rate=0.001.

    To roll back, go on from an earlier round, e.g. --from r001: nothing is deleted.
    """
    from alicebob.experiment.edit import add
    from alicebob.experiment.keep import kept

    names = [word for word in words if "=" not in word]
    if len(names) > 1:
        raise click.UsageError(f"Give at most one id, not {' and '.join(names)}.")
    changes = pairs(word for word in words if "=" in word)
    if keep_better:
        newest, parent = kept(parent)
        worse = f"{newest} is worse on validation than {parent}" if parent != newest else ""
        click.echo(f"{worse or f'No round before {newest} is better'}: on from {parent}.", err=True)
    added = add(names[0] if names else None, parent, changes)
    click.echo(f"Added {added} to params.yaml; 'dvc repro' runs it.", err=True)


@rounds.command("promote")
@click.argument("round_id", metavar="ID")
def promote_round(round_id: str) -> None:
    """Note in dvc.yaml that a round's Bob is the one to use; nothing else is touched.

    MLflow's alias 'champion' follows. With a tag, e.g. 'git tag -a bob@v1.0.0 -m r002', others get
    him by 'dvc artifacts get REPOSITORY bob'. To go on from an earlier round: 'round add --from'.
    """
    from alicebob.experiment.promote import promote
    from alicebob.tracking import sync

    promote(round_id)
    click.echo(f"{round_id} is the artifact 'bob' of dvc.yaml; commit it.", err=True)
    sync()


@rounds.command("diff")
@click.option("--json", "form", flag_value="json", help="All facts, for programs.")
@click.option("--markdown", "form", flag_value="markdown", help="The tables as Markdown.")
@click.argument("first")
@click.argument("second")
def diff_rounds(form: str | None, first: str, second: str) -> None:
    """Say in what two rounds differ, and how sure that is.

    Parameters, stages that come out otherwise and why, skills by kind, figures with 95 % intervals,
    feedback, and the code and versions that each was made with. Of figures of single skills and
    events those are shown that differ beyond the interval; --json has all.
    """
    from alicebob.experiment.beside import as_markdown, as_text
    from alicebob.experiment.diff import difference

    facts = difference(first, second)
    if form == "json":
        click.echo(json.dumps(facts, indent=1))
    else:
        click.echo(as_markdown(facts) if form == "markdown" else as_text(facts))


@rounds.command("try")
@click.option("--split", type=click.Choice(["validation", "test"]), default="test")
@click.option("--out", type=click.Path(path_type=Path), help="Folder; by default data/tried/ID.")
@click.option("--context", type=COUNT, help="Tokens he sees; by default those of his round.")
@click.argument("round_id", metavar="ID")
@with_settings
def try_round(
    split: str, out: Path | None, context: int | None, round_id: str, settings: dict[str, Any]
) -> None:
    """Try a round's Bob again, in other settings of its environment; figures go to stdout.

    KEY=VALUE change the environment of params.yaml, e.g. catalogue=DIR.
    """
    from alicebob.experiment.params import load_params
    from alicebob.pipeline.tried import evaluate_round
    from alicebob.progress import Bar

    params = load_params(round_id)
    folder = out or Path("data/tried") / round_id
    with Bar(round_id) as bar:
        found = evaluate_round(
            round_id,
            params,
            split,
            folder,
            settings=settings,
            context=context,
            done=bar.tick,
        )
    click.echo(f"Episodes and figures are in {folder}.", err=True)
    click.echo(json.dumps(found, indent=1))
