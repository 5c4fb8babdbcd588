"""Adapters: a LoRA adapter that a server answers with, for as long as it is needed.

Servers load adapters from a folder that they can read, while they run. Invariant: the name ends in
the hash of the adapter's content, so that a server that holds another round's, or an older one of
this round, never answers with it. Does not: copy the adapter to where the server is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alicebob.errors import ProviderError
from alicebob.files import content_hash
from alicebob.policies.endpoint import Endpoint
from alicebob.progress import tell

__all__ = ["loaded"]

NOT_THERE = (404, 405)  # the server has nothing of the kind
#: Where servers are told, beside the address, and by which name each request has the adapter too.
APIS = (
    ("", ""),  # vLLM: at the address; the adapter is the model of a request
    ("/..", "lora_path"),  # SGLang: beside it; a model it does not know would be its base
)


@contextmanager
def loaded(endpoint: Endpoint, folder: Path) -> Iterator[str]:
    """Have a server load an adapter and answer with it meanwhile; yield its name.

    Raises ProviderError where nobody is there or the server will not.
    """
    endpoint.reach()
    name = f"{folder.resolve().name}-{content_hash(folder)[:12]}"
    place, field = _load(endpoint, name, folder.resolve())
    before = endpoint.model, endpoint.besides, endpoint.adapted
    endpoint.model, endpoint.adapted = name, True
    endpoint.besides = {**endpoint.besides, **({field: name} if field else {})}
    try:
        yield name
    finally:
        endpoint.model, endpoint.besides, endpoint.adapted = before
        _unload(endpoint, f"{place}/unload_lora_adapter", name)


def _load(endpoint: Endpoint, name: str, folder: Path) -> tuple[str, str]:
    """Return which of `APIS` has loaded the adapter."""
    refused = []
    for place, field in APIS:
        told = {"lora_name": name, "lora_path": str(folder)}
        status, said = endpoint.tell(f"{place}/load_lora_adapter", told)
        if status == 200 or "already" in said:  # as after a kill
            return place, field
        refused.append(f"HTTP {status}{said and ': ' + said}")
        if status not in NOT_THERE:
            break
    raise ProviderError(
        f"{endpoint.shown_url} did not load the adapter {name} ({refused[0]}). The server must be "
        "able to read the folder, and to load adapters while it runs: vLLM with --enable-lora "
        "--max-lora-rank and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, SGLang with --enable-lora."
    )


def _unload(endpoint: Endpoint, path: str, name: str) -> None:
    """Have the server forget an adapter; where it will not, that is said and changes no result."""
    try:
        status, said = endpoint.tell(path, {"lora_name": name})
    except ProviderError as error:
        status, said = 0, str(error)
    if status != 200:
        tell(f"The adapter {name} is still loaded at the server ({said or f'HTTP {status}'}).")
