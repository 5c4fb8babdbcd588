"""Build tiny Bob, untaught, from random play.

Run by DVC (see dvc.yaml), or by hand: python stages/base.py
"""

import click

from alicebob.cli import run_command
from alicebob.pipeline import run_stage
from alicebob.pipeline.base import base


@click.command()
@click.argument("round_id", metavar="ROUND", default="r000")
def main(round_id: str) -> None:
    """Build tiny Bob, untaught, from random play."""
    run_stage("base", round_id, base)


if __name__ == "__main__":
    run_command(main)
