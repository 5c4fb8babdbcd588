"""Try Bob on validation and test worlds and write the metrics of the round.

Run by DVC (see dvc.yaml), or by hand: python stages/evaluate.py r001
"""

import click

from alicebob.cli import run_command
from alicebob.pipeline import run_stage
from alicebob.pipeline.evaluate import evaluate


@click.command()
@click.argument("round_id", metavar="ROUND")
def main(round_id: str) -> None:
    """Try Bob on validation and test worlds and write the metrics of the round."""
    run_stage("evaluate", round_id, evaluate)


if __name__ == "__main__":
    run_command(main)
