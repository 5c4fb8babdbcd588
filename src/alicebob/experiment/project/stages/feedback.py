"""Let Alice read how Bob did on the validation worlds and say what to explore next.

Run by DVC (see dvc.yaml), or by hand: python stages/feedback.py r001
"""

import click

from alicebob.cli import run_command
from alicebob.pipeline import run_stage
from alicebob.pipeline.feedback import feedback


@click.command()
@click.argument("round_id", metavar="ROUND")
def main(round_id: str) -> None:
    """Let Alice read how Bob did on the validation worlds and say what to explore next."""
    run_stage("feedback", round_id, feedback)


if __name__ == "__main__":
    run_command(main)
