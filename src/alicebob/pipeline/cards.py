"""Cards of adapters, and what the cards of a round's data share; all cores for what trains.

A card says what was measured, where it comes from and how to use it. Invariant: equal work gives an
equal card: no times, no hosts, no place on this machine. Does not: count by kind, which the report
beside it does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alicebob.bob.origin import UNKNOWN, licence_of
from alicebob.dataset import table
from alicebob.environment import processes
from alicebob.errors import DamagedData
from alicebob.experiment.stages import STAGES

if TYPE_CHECKING:
    from alicebob.pipeline.run import Context

__all__ = ["lineage", "lineage_table", "made_by", "model_card", "report", "summary", "use_cores"]

REPORT = "report.json"
USE = """## Use

The base is not in here. `load_bob` finds it where it was, beside this folder or beside the
repository that it is in, and makes sure that it is the one:

```python
import alicebob

model, tokenizer = alicebob.load_bob("{where}")
```

Without this package, with the base named:

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = "{base}"
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), "{where}")
tokenizer = AutoTokenizer.from_pretrained(base)
```
"""


def use_cores() -> None:
    """Give PyTorch all cores of this process: launchers for several processes leave it one."""
    import torch

    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // processes()))


def report(folder: Path, name: str = REPORT) -> dict[str, Any]:
    """Return what a folder's report says, nothing where there is none; raises DamagedData."""
    path = folder / name
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except ValueError as error:
        raise DamagedData(
            f"{path} does not hold a report ({error}). Restore it with 'dvc checkout'."
        ) from error
    if not isinstance(found, dict):
        raise DamagedData(f"{path} does not hold a report. Restore it with 'dvc checkout'.")
    return found


def made_by(context: Context) -> str:
    """Return the name of the part that a stage calls, which several methods may share."""
    return context.method.part(STAGES[context.stage].part).name


def lineage(skills: Path) -> list[dict[str, Any]]:
    """Return the rounds whose skills a folder holds, from r000 on, with who made what of each."""
    known = report(skills).get("lineage")
    return known or [{"round": path.stem} for path in sorted(skills.glob("*.parquet"))]


def lineage_table(line: Sequence[Mapping[str, Any]]) -> str:
    """Return a lineage as a Markdown table."""
    head = ("round", "explored by", "made into skills by", "skills")
    rows = [[item.get(key, "") for key in ("round", "explore", "skills", "kept")] for item in line]
    return "\n".join(["## Lineage", "", *table(head, rows)])


def summary(value: Any) -> Any:
    """Return a fact as one line: of counts by kind their sum, of a figure its interval too."""
    if not isinstance(value, Mapping):
        return value
    if {"mean", "low", "high", "n"} <= {*value}:
        if value["mean"] is None:
            return "none"
        low, high = value["low"], value["high"]
        between = "" if low is None or high is None else f"{low:.3f} to {high:.3f}, "
        return f"{value['mean']:.3f} ({between}n = {value['n']})"
    return f"{sum(value.values()):,}, of {len(value)} kinds ({REPORT})"


def model_card(
    context: Context, model: Any, about: str, facts: Mapping[str, Any], line: Sequence[Any]
) -> str:
    """Return the model card of an adapter of a round with this lineage."""
    name, where = context.params.bob.model, context.read("bob").as_posix()
    adapter = model.peft_config["default"]
    local = Path(name).is_dir()
    licence = licence_of(name, context.params.bob.revision)
    base = Path(name).name if Path(name).is_absolute() else name
    asked = {
        key: getattr(context.params.bob, key, None)
        for key in ("preamble", "system", "template", "context", "turns")
    }
    layers = sorted({module.rpartition(".")[2] for module in adapter.target_modules})
    found = f"`dvc get REPOSITORY {base}`" if local else f"https://huggingface.co/{base}"
    told: dict[str, Any] = {
        "base": f"`{base}` (fingerprint {model.base_fingerprint}); {found}",
        "licence of the base": licence if local or licence != UNKNOWN else "see its own card",
        "adapter": f"LoRA, rank {adapter.r}, alpha {adapter.lora_alpha}",
        "target modules": ", ".join(layers),
    }
    told |= {f"bob.{key}": value for key, value in asked.items() if value}
    told |= {name: summary(value) for name, value in facts.items()}
    told["results"] = f"come after training: `metrics/{context.id}.json`"
    lines = ["---", "library_name: peft", f"license: {licence}"]
    lines += [] if local else [f"base_model: {name}"]
    lines += ["pipeline_tag: text-generation", "---", "", f"# Bob, {context.id}", "", about, ""]
    lines += [*table(("fact", "value"), told.items()), "", lineage_table(line), ""]
    return "\n".join(lines) + "\n" + USE.format(where=where, base=base)
