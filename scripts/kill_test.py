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
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
PRESETS = ROOT / "src" / "alicebob" / "presets"
COPIED = ("dvc.yaml", "params.yaml", "stages", "src", ".dvc/config", ".dvcignore")
TINY = {
    "base": {"episodes": 6, "max_turns": 60, "layers": 1, "width": 32, "epochs": 1},
    "bob": {"lora_rank": 4},
    "explore": {"episodes": 6, "max_turns": 100, "generation": 3},
    "train": {"budget": 8000, "every": 2},
    "evaluate": {"worlds": 1, "open_play": 2, "max_turns": 30},
    "rounds": {"r001": {"prev": "r000"}, "r002": {"prev": "r001"}},
}
#: So few pages teach few words, and what is spelt out takes room.
ROOM = {
    "base": {"context": 2048, "pack_tokens": 1500},
    "bob": {"context": 1500},
    "train": {"pack_tokens": 1500},
    "evaluate": {"max_turns": 4},
}


def lay_out(folder: Path, preset: str = "laptop") -> None:
    """Copy the repository into a folder, with tiny parameters on a preset's."""
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    shrink(folder, preset)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)


def shrink(folder: Path, preset: str) -> None:
    """Write a preset with tiny parameters into the params.yaml of a folder."""
    yaml = YAML()
    data = yaml.load(folder / "params.yaml")
    plain = YAML(typ="safe")
    presets = [plain.load(PRESETS / f"{name}.yaml") for name in ("laptop", preset)]
    for changes in (*presets, TINY, ROOM if preset == "webshop" else {}):
        for block, values in changes.items():
            data[block] = {**data[block], **values} if block != "rounds" else values
    yaml.dump(data, folder / "params.yaml")


def begin(folder: Path) -> subprocess.Popen[bytes]:
    """Start `dvc repro` in a process group of its own."""
    environment = {
        **os.environ,
        "DVC_NO_ANALYTICS": "1",
        "PYTHONPATH": str(folder / "src"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    log = (folder / "log.txt").open("ab")
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "--no-run-cache"],
        cwd=folder,
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every output that `dvc.lock` names."""
    stages = YAML(typ="safe").load((folder / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}


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
