"""Prompts: the texts that Alice asked a language model with, in MLflow's registry, by version.

The text is the one that the round's stages used, whatever the package's is now. Invariant: a text
that is there already is no new version. Does not: fill a prompt in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from alicebob.experiment.made import Asked
from alicebob.tracking.index import Index

__all__ = ["LINKED", "registered"]

LINKED = "mlflow.linkedPrompts"  # the tag by which runs and traces show their prompts
EXPERIMENTS = "_mlflow_experiment_ids"  # the tag by which an experiment shows its prompts


def registered(index: Index, asked: Mapping[str, Asked]) -> dict[str, str]:
    """Return by prompt what links a run or a trace to its text's version, made where it lacks."""
    return {name: _version(index, name, each.text) for name, each in asked.items()}


def _version(index: Index, prompt: str, text: str) -> str:
    client, name = index.client, f"alice-{prompt}"
    known = client.get_prompt(name)
    if known is None:
        told = f"What Alice asks with: alicebob/alice/model/prompts/{prompt}.md"
        client.create_prompt(name, told, {EXPERIMENTS: f",{index.experiment},"})
    elif f",{index.experiment}," not in (shown := known.tags.get(EXPERIMENTS, ",")):
        client.set_prompt_tag(name, EXPERIMENTS, f"{shown}{index.experiment},")
    versions = client.search_prompt_versions(name) if known is not None else []
    found = next((each for each in versions if each.template == text), None)
    found = found or client.create_prompt_version(name, text)
    return json.dumps([{"name": name, "version": str(found.version)}])
