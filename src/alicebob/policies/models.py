"""Models: a causal language model of Hugging Face's shape, by directory, id or file, and adapters.

Invariant: nothing that comes with a model is run, no pickle is opened, and an adapter is put on no
other base than the one it was made for. Does not: train or sample.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alicebob.errors import DamagedData, UsageError
from alicebob.policies.gguf import gguf_file, plain
from alicebob.settings import TINY

__all__ = [
    "fingerprint",
    "load_adapter",
    "load_base",
    "load_base_of",
    "load_tokenizer",
    "settle",
]

SAMPLE = 64  # values of each weight that tell a base from another of its shape


def load_base(
    name: str, dtype: str = "float32", revision: str = "", attention: str = ""
) -> tuple[Any, Any]:
    """Return (model, tokenizer) of a directory, a GGUF file or a hub id, running no code from it.

    `dtype` is one of PyTorch's by name, or "auto" for the one that the weights are kept in;
    `revision` a branch, tag or commit of a hub id, `attention` an implementation that transformers
    knows; "" leaves either to transformers. Raises UsageError where there is no such model or it
    would run code, DamagedData where weights are torn or missing.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if found := _pickled(Path(name)):
        raise UsageError(
            f"The weights in {name} are pickled ({found}) and are not opened, for they can run "
            "code. Save the model as safetensors, as save_pretrained does."
        )
    place, one = _place(name, revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, **one)
        model, told = AutoModelForCausalLM.from_pretrained(
            place,
            **one,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation=attention or None,
            output_loading_info=True,
        )
    except SafetensorError as error:
        raise DamagedData(
            f"{_torn(Path(name))} is torn or damaged ({error}). Restore it with 'dvc checkout' or "
            "'dvc pull', or lay the model down anew."
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # whatever may be wrong in somebody's files
        raise _unloaded(name, error) from error
    if lacking := sorted(told["missing_keys"]):
        raise DamagedData(
            f"The model in {name} lacks {len(lacking)} of its weights, such as {lacking[0]}. Lay "
            "it down anew."
        )
    return plain(model) if "gguf_file" in one else model, tokenizer


def load_tokenizer(name: str, revision: str = "") -> Any:
    """Return the tokenizer alone; otherwise as `load_base`."""
    from transformers import AutoTokenizer

    place, one = _place(name, revision)
    try:
        return AutoTokenizer.from_pretrained(place, trust_remote_code=False, **one)
    except MemoryError:
        raise
    except Exception as error:  # whatever may be wrong in somebody's files
        raise _unloaded(name, error) from error


def _place(name: str, revision: str) -> tuple[str, dict[str, str]]:
    """Return where a model is, and what else transformers must be told to read it from there."""
    file = gguf_file(name)
    place, one = (str(file.parent), {"gguf_file": file.name}) if file else (name, {})
    return place, one | ({"revision": revision} if revision else {})


def _unloaded(name: str, error: Exception) -> UsageError:
    """Say why a model cannot be loaded."""
    if "trust_remote_code" in str(error):
        return UsageError(
            f"The model {name} would run code of its own (auto_map), which is never done. Choose "
            "one of a kind that transformers knows."
        )
    reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
    return UsageError(
        f"bob.model {name!r} cannot be loaded ({reason}). Give a model directory, a GGUF file, a "
        "hub id that can be reached, or run 'dvc repro base' for the tiny one."
    )


def _pickled(folder: Path) -> str:
    """Return the name of a pickled file of weights in a folder that has no others, "" for none."""
    if any(folder.glob("*.safetensors*")):
        return ""
    found = [
        path.name for kind in ("bin", "pt", "pth", "ckpt") for path in folder.glob(f"*.{kind}")
    ]
    return min(found, default="")


def _torn(folder: Path) -> Path:
    """Return the file of weights in a folder that cannot be opened; the folder where all can."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError:
            return path
    return folder


def fingerprint(model: Any) -> str:
    """Return what identifies a base for its adapters: its kind, its weights' shapes and a sample.

    The sample is the first values of each weight, in bfloat16, so that it is the same in whatever
    precision the base is loaded; two bases of one shape differ in it.
    """
    import torch

    digest = hashlib.sha256(str(model.config.model_type).encode())
    for name, weight in sorted(model.named_parameters()):
        sample = weight.detach().flatten()[:SAMPLE].to("cpu", torch.bfloat16)
        digest.update(f"{name} {list(weight.shape)}".encode())
        digest.update(sample.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def load_base_of(folder: Path, dtype: str = "float32", base: str = "") -> tuple[Any, Any]:
    """Return (model, tokenizer) of the base that the adapter in a folder was made for.

    It is looked for where it was, seen from here and from every folder above the adapter, and then
    by its fingerprint among the folders beside these; `base` names it instead. Raises UsageError
    where it is not there, with what to do.
    """
    name, mark, revision = _made_for(folder)
    tried = []
    for place in [base] if base else _near(folder, name):
        try:
            pinned = "" if Path(place).is_dir() else revision
            model, tokenizer = load_base(place, dtype, pinned)
        except UsageError as error:
            tried.append(str(error).partition(". ")[0])
            continue
        if fingerprint(model) == mark:
            return model, tokenizer
        tried.append(f"{place} is another")
    seen = f" ({'; '.join(tried)})" if tried else ""
    bring = f" with 'dvc import REPOSITORY {Path(name).as_posix()}'" if _is_folder(name) else ""
    raise UsageError(
        f"The base of the adapter in {folder}, {name} with the fingerprint {mark}, was not found"
        f"{seen}. Bring it too{bring}, or say where it is: load_bob(..., base=FOLDER)."
    )


def _made_for(folder: Path) -> tuple[str, str, str]:
    """Return name, fingerprint and revision of the base of an adapter; raises DamagedData."""
    path = folder / "base.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return str(found["name"]), str(found["fingerprint"]), str(found.get("revision", ""))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DamagedData(
            f"{path} does not say what base the adapter is for ({reason}), so that it cannot be "
            "read. Restore it with 'dvc checkout' or 'dvc pull'."
        ) from error


def _is_folder(name: str) -> bool:
    """Tell a folder's name from a hub's id: a folder is written as ./FOLDER, or as it is tiny's."""
    return name == TINY or name.startswith((".", "/", "~"))


def _near(folder: Path, name: str) -> Iterator[str]:
    """Yield what may be a base, each once: by its name first, then the folders beside."""
    if not _is_folder(name):
        yield name
    above = folder.resolve().parents
    named = [Path(name), *(parent / name for parent in above)] if _is_folder(name) else []
    beside = [p.parent for near in (*above[:2], Path()) for p in sorted(near.glob("*/config.json"))]
    seen = set()
    for place in (*named, *beside):
        if (place / "config.json").is_file() and place.resolve() not in seen:
            seen.add(place.resolve())
            yield str(place)


def load_adapter(model: Any, folder: Path, trainable: bool = False) -> Any:
    """Return the model with the adapter of a folder.

    Raises UsageError for an adapter made for another base, DamagedData for one that cannot be read.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise UsageError(
            f"{folder} holds no adapter_model.safetensors. Run 'dvc pull' or 'dvc repro'; adapters "
            "in pickle formats are not opened."
        )
    try:
        _, base, _ = _made_for(folder)
        found = fingerprint(model)
        if base != found:
            raise UsageError(
                f"The adapter in {folder} was made for another base than bob.model. Choose the "
                "base it was trained on, or start a new lineage with train.init: base."
            )
        adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)
        adapted.base_fingerprint = found
        return adapted
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, SafetensorError) as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise DamagedData(
            f"The adapter in {folder} cannot be read ({reason}). Restore it with 'dvc checkout'."
        ) from error


def settle(model: Any) -> Any:
    """Return a model where it is to play: on the GPU if there is one, else on one thread.

    The other cores play other waves.
    """
    import torch

    if torch.cuda.is_available():
        return model.cuda()
    torch.set_num_threads(1)
    return model
