"""Lay down round r000: nothing explored, nothing learnt, an adapter that changes nothing.

Run by DVC (see dvc.yaml), or by hand: python stages/start.py
"""

import click

from alicebob.cli import run_command
from alicebob.pipeline import run_stage
from alicebob.pipeline.start import start


@click.command()
@click.argument("round_id", metavar="ROUND", default="r000")
def main(round_id: str) -> None:
    """Lay down round r000: nothing explored, nothing learnt, an adapter that changes nothing."""
    run_stage("start", round_id, start)


if __name__ == "__main__":
    run_command(main)
