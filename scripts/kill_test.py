"""Kill the rounds at random moments, run them again, and compare every hash with a run left alone.

    python scripts/kill_test.py --trials 20            # kill the whole process group
    python scripts/kill_test.py --trials 5 --parent    # kill DVC alone: its stage must end too
    python scripts/kill_test.py --preset webshop       # in the shop

Runs copies of this repository with tiny parameters in a temporary folder, prints a line per trial,
and exits 1 when a hash differs. DVC's run cache is off: nothing is taken from an earlier trial.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
from numpy.random import default_rng
from tiny_rounds import begin, hashes, lay_out


@click.command()
@click.option("--trials", default=20, show_default=True)
@click.option("--kills", default=1, show_default=True, help="Kills in each trial.")
@click.option("--parent", is_flag=True, help="Kill only DVC, not what it started.")
@click.option("--seed", default=0, show_default=True)
@click.option("--preset", default="laptop", show_default=True)
def main(trials: int, kills: int, parent: bool, seed: int, preset: str) -> None:
    """Kill, run again, compare."""
    draw = default_rng(seed)
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / "whole"
        lay_out(whole, preset)
        begun = time.monotonic()
        if begin(whole).wait():
            sys.exit(f"the run left alone failed:\n{(whole / 'log.txt').read_text()[-2000:]}")
        seconds = time.monotonic() - begun
        expected = hashes(whole)
        click.echo(f"left alone: {seconds:.0f} s, {len(expected)} outputs")
        failures = 0
        for trial in range(trials):
            folder = Path(temporary) / f"trial{trial}"
            lay_out(folder, preset)
            moments = []
            for _ in range(kills):
                process = begin(folder)
                moments.append(float(draw.uniform(0, seconds)))
                try:
                    process.wait(moments[-1])
                except subprocess.TimeoutExpired:
                    (os.kill if parent else os.killpg)(process.pid, signal.SIGKILL)
                    process.wait()
            again = begin(folder).wait()
            found = hashes(folder) if again == 0 else {}
            wrong = [path for path in expected if found.get(path) != expected[path]]
            failures += bool(again or wrong)
            at = ", ".join(f"{moment:.1f}" for moment in moments)
            click.echo(f"trial {trial}: killed at {at} s, then exit {again}, differing {wrong}")
            shutil.rmtree(folder)
        click.echo(f"{trials - failures} of {trials} the same")
        sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
