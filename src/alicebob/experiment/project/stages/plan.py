"""Check params.yaml, and write down what every stage of every round will read.

Run by DVC (see dvc.yaml), or by hand: python stages/plan.py
"""

import click

from alicebob.cli import run_command
from alicebob.experiment.plan import write


@click.command()
def main() -> None:
    """Check params.yaml, and write down what every stage of every round will read."""
    write()


if __name__ == "__main__":
    run_command(main)
