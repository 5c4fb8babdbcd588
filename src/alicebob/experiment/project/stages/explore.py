"""Let somebody act for a round, as its method says, and keep every turn.

Run by DVC (see dvc.yaml), or by hand: python stages/explore.py r001
"""

import click

from alicebob.cli import run_command
from alicebob.pipeline import run_stage
from alicebob.pipeline.explore import explore


@click.command()
@click.argument("round_id", metavar="ROUND")
def main(round_id: str) -> None:
    """Let somebody act for a round, as its method says, and keep every turn."""
    run_stage("explore", round_id, explore)


if __name__ == "__main__":
    run_command(main)
