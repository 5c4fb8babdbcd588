"""What `dvc.yaml` declares and what the stages read and write must be the same."""

import ast
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from alicebob.params import ROOT_ROUND, load_params
from alicebob.rounds import PLACES, STAGES

ROOT = Path(__file__).parent.parent
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def paths(kinds, round_id):
    return {PLACES[kind].format(round=round_id) for kind in kinds}


def declared(stage):
    """Return a stage as `dvc.yaml` has it: parameters, dependencies, outputs and command."""
    item = PIPELINE[stage].get("do", PIPELINE[stage])
    outs = set(item["outs"])
    for metric in item.get("metrics", ()):
        ((path, options),) = metric.items()
        assert options == {"cache": False}
        outs.add(path)
    return set(item["params"]), set(item.get("deps", ())), outs, item["cmd"]


@pytest.mark.parametrize("stage", ["explore", "skills", "train", "evaluate", "feedback"])
def test_dvc_tracks_what_a_stage_reads_and_writes(stage):
    spec = STAGES[stage]
    params, deps, outs, cmd = declared(stage)
    assert params == {*spec.params, "rounds.${key}"}
    assert deps == paths(spec.own, "${key}") | paths(spec.parent, "${item.prev}")
    assert outs == paths(spec.outs, "${key}")
    assert f"stages/{stage}.py ${{key}}" in cmd


@pytest.mark.parametrize(("entry", "stage"), [("base", "base"), ("start", "start")])
def test_dvc_tracks_the_stages_before_all_rounds(entry, stage):
    spec = STAGES[stage]
    params, deps, outs, cmd = declared(entry)
    assert (params, deps) == (set(spec.params), paths(spec.own, ROOT_ROUND))
    assert outs == paths(spec.outs, ROOT_ROUND)
    assert f"stages/{stage}.py" in cmd


def test_the_untrained_bob_is_evaluated_like_any_other():
    spec = STAGES["evaluate"]
    params, deps, outs, cmd = declared("baseline")
    assert (params, deps) == (set(spec.params), paths(spec.own, ROOT_ROUND))
    assert outs == paths(spec.outs, ROOT_ROUND)
    assert cmd.endswith("stages/evaluate.py r000")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_script_only_calls_the_library(stage):
    tree = ast.parse((ROOT / f"stages/{stage}.py").read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    assert [call.func.id for call in calls if call.func.id == "run_stage"] == ["run_stage"]
    assert len([n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]) == 1


def test_the_parameters_that_are_shipped_are_valid():
    rounds = YAML(typ="safe").load((ROOT / "params.yaml").read_text())["rounds"]
    for round_id in (ROOT_ROUND, *rounds):
        load_params(round_id, ROOT / "params.yaml")
