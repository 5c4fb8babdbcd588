"""The command of this world: `alicebob webshop prepare`.

Found by the command line through the entry points "alicebob.commands". Does not: import the shop
before it is asked for.
"""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["webshop"]


@click.group()
def webshop() -> None:
    """The data of WebShop."""


@webshop.command()
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="The folder with the original's files, under their own names.",
)
def prepare(source: Path) -> None:
    """Read the original's files once, so that they open at once later; say what there is."""
    from alicebob.envs.webshop.catalogue import KINDS
    from alicebob.envs.webshop.files import Files

    found = Files(source)
    click.echo(f"files\t{', '.join(found.facts['files'].values())}")
    click.echo(f"products\t{len(found):,} ({found.facts['passed_over']} passed over)")
    for kind in KINDS:
        goals = found.goals(kind, None)
        products = found.facts[f"with_{kind}_goals"]
        click.echo(f"{kind} goals\t{len(goals):,} over {products:,} products")
    click.echo(
        "The product texts were scraped from a shop and come with no licence: use them, but pass "
        f"on neither them nor what is made of them.\nPlay: alicebob env play webshop "
        f"catalogue={source}",
        err=True,
    )
