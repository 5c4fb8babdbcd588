"""Promote: which round's Bob is the one to use, noted in dvc.yaml as the artifact `bob`.

It stands in git beside the lock, so `dvc artifacts get` brings him elsewhere by a tag, and MLflow's
alias `champion` follows. Does not: make the tag, or choose.
"""

from __future__ import annotations

import re
from pathlib import Path

from alicebob.errors import UsageError
from alicebob.experiment.params import Experiment, read_yaml
from alicebob.experiment.places import place
from alicebob.experiment.results import figures
from alicebob.files import write_text

__all__ = ["promote", "promoted"]

DVC = Path("dvc.yaml")
_ARTIFACT = re.compile(r"\nartifacts:\n  bob:\n    path: .*\n    type: model\n")


def promote(round_id: str) -> None:
    """Note a round's adapter in dvc.yaml as the one to use; its comments stay.

    Raises UnknownName for a round that is not there, UsageError for one that is not evaluated and
    where dvc.yaml has artifacts of somebody else's.
    """
    Experiment().changes(round_id)
    if figures(round_id) is None:
        raise UsageError(f"{round_id} is not evaluated yet; run 'dvc repro' first.")
    before = DVC.read_text(encoding="utf-8") if DVC.exists() else ""
    rest = _ARTIFACT.sub("", before)
    if "artifacts" in (read_yaml(DVC) or {}) and rest == before:
        raise UsageError(
            f"{DVC} has other artifacts; name {place('bob', round_id)} there yourself."
        )
    write_text(
        DVC, f"{rest}\nartifacts:\n  bob:\n    path: {place('bob', round_id)}\n    type: model\n"
    )


def promoted() -> str:
    """Return the round that was promoted, "" where none was."""
    artifacts = (read_yaml(DVC) or {}).get("artifacts") if DVC.exists() else None
    bob = artifacts.get("bob") if isinstance(artifacts, dict) else None
    path = str(bob.get("path", "")) if isinstance(bob, dict) else ""
    return Path(path).name if Path(path).parent == place("bob", "x").parent else ""
