"""Models: each round's adapter as a model in MLflow, and a version of `bob-WORLD` in its registry.

`models:/bob-WORLD@champion` brings the adapter, also from a server to a machine that has no access
to DVC's remote; the version says which it is, by its hash. The alias `champion` is the round that
was promoted, else the one with the best headline, of the lineage that was brought last. Does not:
say which of two lineages is better, whose worlds differ; keep a base, which has gigabytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alicebob.experiment.places import place
from alicebob.experiment.promote import promoted
from alicebob.experiment.results import HEADLINE
from alicebob.tracking.index import LINEAGE, ROUND, Index
from alicebob.tracking.naming import cleaned
from alicebob.tracking.reading import Told
from alicebob.untrusted import markdown

__all__ = ["champion", "model_of", "register"]

MD5 = "dvc.md5"


def model_of(index: Index, run: Any, told: Told) -> str:
    """Return the model in MLflow that stands for a round's adapter, made where there is none."""
    from mlflow.entities import LoggedModelOutput

    known = run.outputs.model_outputs if run.outputs else []
    if known:
        return str(known[0].model_id)
    client, run_id = index.client, run.info.run_id
    model = client.create_logged_model(
        index.experiment, f"bob-{told.id}", run_id, _tags(index, told), model_type="adapter"
    )
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    return str(model.model_id)


def register(index: Index, run: Any, told: Told, model: str) -> None:
    """Make the adapter of a run a version of its world's model, unless it is one.

    Its files go with it, where they are at hand.
    """
    client, name, run_id = index.client, _name(told), run.info.run_id
    if client.search_model_versions(f"run_id = '{run_id}'"):
        return
    if not client.search_registered_models(f"name = '{name}'"):
        told_in = markdown(told.params.get("env.spec", "world"))
        brings = f'mlflow.artifacts.download_artifacts("models:/{name}@champion")'
        client.create_registered_model(
            name,
            description=f"Bob in {told_in}. `{brings}` brings him; `alicebob.load_bob` opens it.",
        )
    path = place("bob", told.id)
    if path.is_dir():
        client.log_model_artifacts(model, str(path))
    client.create_model_version(
        name,
        f"models:/{model}",
        run_id,
        _tags(index, told),
        description=f"{told.id}{_success(told)}. `dvc get REPOSITORY {path}` brings it as well.",
        model_id=model,
    )


def champion(index: Index, rounds: Sequence[Told]) -> None:
    """Let `champion` be the version that was promoted, else the best of this lineage."""
    name, client = _name(rounds[0]), index.client
    held = {
        tuple(version.tags.get(tag, "") for tag in (LINEAGE, ROUND, MD5)): version.version
        for version in client.search_model_versions(f"name = '{name}'", order_by=["version_number"])
    }
    known = [told for told in rounds if tuple(_tags(index, told).values()) in held]
    first = next((n for n in HEADLINE.values() if known and all(n in t.figures for t in known)), "")
    if not first:
        return
    best = max(known, key=lambda told: (told.id == promoted(), told.figures[first]["mean"]))
    version = held[tuple(_tags(index, best).values())]
    if client.get_registered_model(name).aliases.get("champion") != version:
        client.set_registered_model_alias(name, "champion", version)


def _name(told: Told) -> str:
    return cleaned(f"bob-{told.params.get('env.spec', 'world')}")


def _success(told: Told) -> str:
    """Return the round's first headline, ` · skills 0.73`: a list shows little more."""
    found = ((short, told.values.get(f"bob/{short}")) for short in HEADLINE)
    return next((f" · {short} {value:.2g}" for short, value in found if value is not None), "")


def _tags(index: Index, told: Told) -> dict[str, str]:
    md5 = next((v for name, v in told.tags.items() if name.endswith(".bob")), "")
    return {LINEAGE: index.lineage, ROUND: told.id, MD5: md5}
