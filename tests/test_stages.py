"""What `dvc.yaml` declares and what the stages read and write must be the same."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from alicebob.experiment import plan
from alicebob.experiment.places import PLACES
from alicebob.experiment.results import HEADLINE, SPENT
from alicebob.experiment.stages import STAGES, address
from alicebob.experiment.tree import ROOT_ROUND

ROOT = Path(__file__).parent.parent
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def paths(kinds, round_id):
    return {PLACES[kind].format(round=round_id) for kind in kinds}


def declared(stage):
    """Return a stage as `dvc.yaml` has it: dependencies, outputs and command."""
    item = PIPELINE[stage].get("do", PIPELINE[stage])
    outs = set()
    for out in item["outs"] + item.get("metrics", []):
        ((path, options),) = out.items() if isinstance(out, dict) else ((out, None),)
        # The headline is in git. DVC restores no stage from its cache that has another such output.
        assert (options == {"cache": False}) == ("headlines/" in path), out
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


@pytest.mark.parametrize("stage", ["baseline", "evaluate"])
def test_dvc_is_told_of_the_headline_alone_as_metrics(stage):
    item = PIPELINE[stage].get("do", PIPELINE[stage])
    (told,) = [path for metric in item["metrics"] for path in metric]
    assert told in paths(["headline"], "${key}") | paths(["headline"], ROOT_ROUND)
    assert len({*HEADLINE, *SPENT}) <= 12


def test_the_whole_file_of_parameters_is_planned_first():
    assert PIPELINE["plan"]["params"] == [{"params.yaml": None}]
    assert PIPELINE["plan"]["outs"] == [str(plan.PLAN)]


def test_the_parameters_that_are_shipped_can_be_planned(monkeypatch):
    monkeypatch.chdir(ROOT)
    plan.check()


def test_dvc_takes_round_ids_with_dashes(tmp_path):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    (tmp_path / "params.yaml").write_text("rounds: {a: {prev: r000}, a-b: {prev: a}}\n")
    listed = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"],
        cwd=tmp_path,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    after = ("explore", "skills", "train", "evaluate", "feedback")
    assert [name for name in listed if "@" in name] == [
        address(stage, name) for stage in after for name in ("a", "a-b")
    ]
    assert {address(stage, ROOT_ROUND) for stage in ("base", "start", "evaluate")} <= {*listed}
