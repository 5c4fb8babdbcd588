"""A world and a method that live outside the package go through the rounds like its own."""

import json
import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from test_rounds import tiny_rounds

OUTSIDE = Path(__file__).parent / "outside"


def command(folder, *words):
    path = os.pathsep.join([str(folder / "src"), str(OUTSIDE)])
    bins = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    run = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": path, "PATH": bins},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout


def ran(folder):
    return re.findall(r"Running stage '(.*)'", command(folder, "-m", "dvc", "repro"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    tiny_rounds().lay_out(folder)
    yaml = YAML()
    data = yaml.load(folder / "params.yaml")
    data["env"] = {"spec": "greenhouse", "settings": {"beds": 3}}
    data["base"] |= {"context": 1024, "pack_tokens": 512}
    data["bob"] |= {"context": 256}
    data["train"]["pack_tokens"] = 256
    data["explore"] |= {"episodes": 6, "max_turns": 60}
    data["evaluate"] |= {"open_play": 3, "max_turns": 12, "worlds": 6}
    data["rounds"] = {
        "r001": {"prev": "r000", "method": "patient"},
        "r002": {"prev": "r001"},
        "r003": {"prev": "r002", "method": "rft"},
    }
    yaml.dump(data, folder / "params.yaml")
    assert ran(folder)[-1].endswith("@r003")
    return folder


@pytest.mark.slow
def test_a_world_and_a_method_from_outside_run_are_listed_diffed_and_tracked(project):
    report = json.loads((project / "data/episodes/r001/report.json").read_text())
    assert report["episodes"] == 6
    assert 0 < report["budget"]["env_steps"] <= 6 * 30  # half of explore.max_turns each
    skills = json.loads((project / "data/skills/r001/report.json").read_text())
    assert skills["skills"]["fill_can"] > 0
    assert skills["kept"] == skills["cut"] - sum(skills["dropped"].values())
    listed = command(project, "-m", "alicebob", "round", "list").splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["r000", "r001", "r002", "r003"]
    differing = command(project, "-m", "alicebob", "round", "diff", "r001", "r002")
    assert re.search(r"^method +patient +exif$", differing, re.MULTILINE)
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project}/mlflow.db")
    command(project, "-m", "alicebob", "sync")
    (experiment,) = [e for e in client.search_experiments() if e.name == "alicebob"]
    runs = {
        run.data.tags.get("alicebob.round"): run.data
        for run in client.search_runs([experiment.experiment_id])
    }
    assert runs["r001"].params["method"] == "patient"
    assert runs["r001"].params["patient.share"] == "0.5"
    assert "patient.share" not in runs["r002"].params
    assert runs["r003"].params["method"] == "rft"


def with_rounds(text, **changes):
    """Return params.yaml with changes to its rounds, and to the top where none is named."""
    yaml, out = YAML(), StringIO()
    data = yaml.load(text)
    for name, change in changes.items():
        (data["rounds"][name] if name in data["rounds"] else data.setdefault(name, {})).update(
            change
        )
    yaml.dump(data, out)
    return out.getvalue()


@pytest.mark.slow
def test_its_own_block_re_runs_its_own_rounds_only_and_is_refused_elsewhere(project):
    path = project / "params.yaml"
    text = path.read_text()
    path.write_text(with_rounds(text, r001={"patient": {"share": 0.6}}))
    assert ran(project)[:2] == ["plan", "explore@r001"]
    path.write_text(with_rounds(text, r003={"patient": {"share": 0.6}}))
    with pytest.raises(AssertionError, match=r"patient.share is not read by rft"):
        ran(project)
    path.write_text(with_rounds(text, patient={"share": 0.5}))  # as it is by default
    assert "explore@r001" not in ran(project)
    path.write_text(text)
