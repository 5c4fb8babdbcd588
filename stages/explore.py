"""Let Alice explore for a round, steered by the last feedback.

Run by DVC (see dvc.yaml), or by hand: python stages/explore.py r001
"""

import click

from alicebob.cli import run_command
from alicebob.pipeline import explore
from alicebob.rounds import run_stage


@click.command()
@click.argument("round_id", metavar="ROUND")
def main(round_id: str) -> None:
    """Let Alice explore for a round, steered by the last feedback."""
    run_stage("explore", round_id, explore)


if __name__ == "__main__":
    run_command(main)
