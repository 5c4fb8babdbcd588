"""Kill the rounds, run them again, and compare every hash with a run left alone.

    python scripts/kill_test.py --trials 20            # kill the whole process group
    python scripts/kill_test.py --trials 5 --parent    # kill DVC alone: its stage must end too
    python scripts/kill_test.py --preset webshop       # in the shop

Two kills of three wait for a checkpoint of the base or of a round's training and come a moment
later; the others come at any time in any stage. Runs copies of this repository with tiny parameters
in a temporary folder, prints a line per trial, and exits 1 when a hash differs or when fewer than
half of the kills came after a checkpoint. DVC's run cache is off: no trial takes from another.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import click
from numpy.random import Generator, default_rng
from tiny_rounds import OFTEN, begin, hashes, lay_out

TRAINED = ("base/r000", "train/r001", "train/r002")
POLL = 0.01  # seconds
MOMENT = 0.5  # seconds, at most, from a checkpoint to the kill


def wait_for(folder: Path, process: subprocess.Popen[bytes], stage: str, marks: str) -> bool:
    """Wait until a stage has written a mark; tell if it has, and is not done."""
    work = folder / ".work" / stage
    while process.poll() is None and not (work / "DONE").exists():
        if any(work.glob(marks)):
            return True
        time.sleep(POLL)
    return False


def killed(folder: Path, whole: Path, aimed: bool, parent: bool, draw: Generator) -> str:
    """Run the rounds, kill them, and return when that was, in words."""
    process = begin(folder)
    works = sorted(key.parent.relative_to(whole / ".work") for key in whole.glob(".work/*/*/KEY"))
    stage = str(draw.choice(TRAINED if aimed else [work.as_posix() for work in works]))
    if wait_for(folder, process, stage, "scratch/fit/*/COMPLETE" if aimed else "KEY"):
        name, round_id = stage.split("/")
        took = json.loads((whole / f"logs/{round_id}-{name}.json").read_text())["seconds"]
        with suppress(subprocess.TimeoutExpired):
            process.wait(float(draw.uniform(0, MOMENT if aimed else took)))
    if process.poll() is not None:
        return "it had ended"
    (os.kill if parent else os.killpg)(process.pid, signal.SIGKILL)
    process.wait()
    work = sorted((folder / ".work").glob("*/*/KEY"), key=lambda key: key.stat().st_mtime)
    if not work or (work[-1].parent / "DONE").exists():
        return "killed between two stages"
    last = work[-1].parent
    checkpoints = len(list(last.glob("scratch/fit/*/COMPLETE")))
    where = last.relative_to(folder / ".work").as_posix()
    return f"killed in {where}" + (f", {checkpoints} checkpoints at hand" if checkpoints else "")


@click.command()
@click.option("--trials", default=20, show_default=True)
@click.option("--kills", default=1, show_default=True, help="Kills in each trial.")
@click.option("--parent", is_flag=True, help="Kill only DVC, not what it started.")
@click.option("--seed", default=0, show_default=True)
@click.option("--preset", default="laptop", show_default=True, type=click.Choice(sorted(OFTEN)))
def main(trials: int, kills: int, parent: bool, seed: int, preset: str) -> None:
    """Kill, run again, compare."""
    draw = default_rng(seed)
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / "whole"
        lay_out(whole, preset, more=OFTEN[preset])
        if begin(whole).wait():
            sys.exit(f"the run left alone failed:\n{(whole / 'log.txt').read_text()[-2000:]}")
        expected = hashes(whole)
        click.echo(f"left alone: {len(expected)} outputs")
        failures = after = resumed = 0
        for trial in range(trials):
            folder = Path(temporary) / f"trial{trial}"
            lay_out(folder, preset, more=OFTEN[preset])
            moments = [
                killed(folder, whole, (trial + kill) % 3 != 2, parent, draw)
                for kill in range(kills)
            ]
            again = begin(folder).wait()
            found = hashes(folder) if again == 0 else {}
            wrong = [path for path in expected if found.get(path) != expected[path]]
            failures += bool(again or wrong)
            after += sum("checkpoints" in moment for moment in moments)
            resumed += (folder / "log.txt").read_text(errors="replace").count("Training goes on")
            at = "; ".join(moments)
            click.echo(f"trial {trial}: {at}; then exit {again}, differing {wrong}")
            shutil.rmtree(folder)
        click.echo(
            f"{trials - failures} of {trials} the same; {after} of {trials * kills} kills came "
            f"after a checkpoint, and {resumed} trainings went on from one"
        )
        sys.exit(1 if failures or 2 * after < trials * kills else 0)


if __name__ == "__main__":
    main()
