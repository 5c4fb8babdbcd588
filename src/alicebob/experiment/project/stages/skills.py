"""Cut a round's episodes into skills, label them and check that they replay.

Run by DVC (see dvc.yaml), or by hand: python stages/skills.py r001
"""

import click

from alicebob.cli import run_command
from alicebob.pipeline import run_stage
from alicebob.pipeline.skills import skills


@click.command()
@click.argument("round_id", metavar="ROUND")
def main(round_id: str) -> None:
    """Cut a round's episodes into skills, label them and check that they replay."""
    run_stage("skills", round_id, skills)


if __name__ == "__main__":
    run_command(main)
