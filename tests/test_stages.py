"""What `dvc.yaml` declares and what the stages read and write must be the same."""

import ast
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from alicebob.experiment import plan
from alicebob.experiment.places import PLACES
from alicebob.experiment.stages import STAGES
from alicebob.experiment.tree import ROOT_ROUND

ROOT = Path(__file__).parent.parent
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def paths(kinds, round_id):
    return {PLACES[kind].format(round=round_id) for kind in kinds}


def declared(stage):
    """Return a stage as `dvc.yaml` has it: dependencies, outputs and command."""
    item = PIPELINE[stage].get("do", PIPELINE[stage])
    outs = set(item["outs"])
    for metric in item.get("metrics", ()):
        ((path, options),) = metric.items()
        assert options == {"cache": False}
        outs.add(path)
    assert "params" not in item  # they come by the plan
    return set(item["deps"]), outs, item["cmd"]


@pytest.mark.parametrize("stage", ["explore", "skills", "train", "evaluate", "feedback"])
def test_dvc_tracks_what_a_stage_reads_and_writes(stage):
    spec = STAGES[stage]
    deps, outs, cmd = declared(stage)
    plan = f"data/plan/${{key}}/{stage}.json"
    assert deps == {plan} | paths(spec.own, "${key}") | paths(spec.parent, "${item.prev}")
    assert outs == paths(spec.outs, "${key}")
    assert f"stages/{stage}.py ${{key}}" in cmd


@pytest.mark.parametrize(("entry", "stage"), [("base", "base"), ("start", "start")])
def test_dvc_tracks_the_stages_before_all_rounds(entry, stage):
    spec = STAGES[stage]
    deps, outs, cmd = declared(entry)
    assert deps == {f"data/plan/r000/{stage}.json"} | paths(spec.own, ROOT_ROUND)
    assert outs == paths(spec.outs, ROOT_ROUND)
    assert f"stages/{stage}.py" in cmd


def test_the_untrained_bob_is_evaluated_like_any_other():
    spec = STAGES["evaluate"]
    deps, outs, cmd = declared("baseline")
    assert deps == {"data/plan/r000/evaluate.json"} | paths(spec.own, ROOT_ROUND)
    assert outs == paths(spec.outs, ROOT_ROUND)
    assert cmd.endswith("stages/evaluate.py r000")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_script_only_calls_the_library(stage):
    tree = ast.parse((ROOT / f"stages/{stage}.py").read_text())
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    assert [call.func.id for call in calls if call.func.id == "run_stage"] == ["run_stage"]
    assert len([n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]) == 1


def test_the_whole_file_of_parameters_is_planned_first():
    assert PIPELINE["plan"]["params"] == [{"params.yaml": None}]
    assert PIPELINE["plan"]["outs"] == [str(plan.PLAN)]


def test_the_parameters_that_are_shipped_can_be_planned(monkeypatch):
    monkeypatch.chdir(ROOT)
    plan.check()
