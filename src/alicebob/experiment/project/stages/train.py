"""Train Bob's adapter on the skills of all rounds up to this one.

Run by DVC (see dvc.yaml), or by hand: python stages/train.py r001
"""

import click

from alicebob.cli import run_command
from alicebob.pipeline import run_stage
from alicebob.pipeline.train import train


@click.command()
@click.argument("round_id", metavar="ROUND")
def main(round_id: str) -> None:
    """Train Bob's adapter on the skills of all rounds up to this one."""
    run_stage("train", round_id, train)


if __name__ == "__main__":
    run_command(main)
