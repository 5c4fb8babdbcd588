"""Loading: a finished Bob, wherever his adapter was pulled to.

Invariant: he stands on the base that he was trained on, or not at all. Does not: let him play (see
`alicebob.bob.playing`), or fetch anything that DVC keeps.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alicebob.errors import UsageError
from alicebob.experiment.places import place

__all__ = ["load_bob"]


def load_bob(
    path_or_round: str | Path, *, base: str | Path = "", dtype: str = "float32"
) -> tuple[Any, Any]:
    """Load a round's Bob as (model, tokenizer): his base with the adapter on it, ready to generate.

    `path_or_round` is the folder of an adapter, wherever it is, or the id of a round of this
    repository, such as "r003". The base is looked for where it was, beside the adapter and beside
    the repository it is in, by its fingerprint; `base` is a folder or hub id to take instead. The
    model is on the CPU, in evaluation mode, with weights of `dtype`. Raises UsageError where
    adapter or base is not there or does not fit, DamagedData where it cannot be read.
    """
    folder = Path(path_or_round)
    if not folder.is_dir():
        folder = place("bob", str(path_or_round))
    if not folder.is_dir():
        raise UsageError(
            f"There is no adapter {str(path_or_round)!r}: it is no folder, and {folder} is not "
            "here. Run 'dvc pull' or 'dvc repro', or name the folder."
        )
    from alicebob.policies.models import load_adapter, load_base_of

    model, tokenizer = load_base_of(folder, dtype, str(base))
    return load_adapter(model, folder).eval(), tokenizer
