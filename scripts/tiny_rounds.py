"""Tiny rounds: a checkout laid out in a folder, with parameters that take a minute.

Shared by the scripts that run whole rounds and compare what comes out. Does not: compare.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

__all__ = ["OFTEN", "ROOT", "begin", "environment", "hashes", "lay_out", "shrink"]

ROOT = Path(__file__).resolve().parent.parent
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
    "evaluate": {"max_turns": 4, "worlds": 6},  # as shipped: there are no trials in a shop
}
#: More steps, so that there are checkpoints of the base and of every round, by preset.
OFTEN = {
    "laptop": {"base": {"batch": 1, "epochs": 8}, "train": {"batch": 1, "every": 2}},
    "webshop": {
        "base": {"batch": 1, "epochs": 6, "episodes": 40},
        "train": {"batch": 1, "every": 2, "budget": 40000},
    },
}


def lay_out(
    folder: Path, preset: str = "laptop", root: Path = ROOT, more: Mapping[str, Any] | None = None
) -> None:
    """Copy a checkout into a folder, with tiny parameters on a preset's, and `more` on those."""
    for name in COPIED:
        source, target = root / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, target)
    shrink(folder, preset, more)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)


def shrink(folder: Path, preset: str, more: Mapping[str, Any] | None = None) -> None:
    """Write a preset with tiny parameters into the params.yaml of a folder."""
    yaml, plain = YAML(), YAML(typ="safe")
    data = yaml.load(folder / "params.yaml")
    presets = next((folder / "src").glob("**/presets"))
    values = [plain.load(presets / f"{name}.yaml") for name in ("laptop", preset)]
    for changes in (*values, TINY, ROOM if preset == "webshop" else {}, more or {}):
        for block, changed in changes.items():
            merged = isinstance(changed, Mapping) and block != "rounds"
            data[block] = {**data[block], **changed} if merged else changed
    yaml.dump(data, folder / "params.yaml")


def environment(folder: Path) -> dict[str, str]:
    """Return the environment in which a checkout in a folder runs its own code."""
    return {
        **os.environ,
        "DVC_NO_ANALYTICS": "1",
        "PYTHONPATH": str(folder / "src"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }


def begin(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start `dvc repro` in a process group of its own; nothing is taken from DVC's run cache.

    Words take the place of the option that says so.
    """
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro", *(words or ("--no-run-cache",))],
            cwd=folder,
            env=environment(folder),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every output that `dvc.lock` names."""
    stages = YAML(typ="safe").load((folder / "dvc.lock").read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
