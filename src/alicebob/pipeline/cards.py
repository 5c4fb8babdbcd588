"""Cards of adapters, from measured facts; and all cores for what trains them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alicebob.pipeline.run import Context

__all__ = ["model_card", "use_cores"]


def use_cores() -> None:
    """Give PyTorch all cores of this process: launchers for several processes leave it one."""
    import torch

    world = int(os.environ.get("WORLD_SIZE", "1"))
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // world))


def model_card(context: Context, about: str, facts: Mapping[str, Any]) -> str:
    """Return the model card of an adapter."""
    lines = ["---", "library_name: peft", f"base_model: {context.params.bob.model}"]
    lines += ["license: apache-2.0", "---", "", f"# Bob, {context.id}", "", about, ""]
    lines += ["| fact | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join(lines) + "\n"
