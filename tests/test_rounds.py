import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MEAN = {"mean", "low", "high", "n"}


def tiny_rounds():
    spec = importlib.util.spec_from_file_location("tiny_rounds", ROOT / "scripts/tiny_rounds.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(folder, *words):
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={
            **os.environ,
            "DVC_NO_ANALYTICS": "1",
            "PYTHONPATH": str(folder / "src"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        check=False,
    )


def repro(folder):
    """Run `dvc repro` and return the stages it ran."""
    run = command(folder, "-m", "dvc", "repro")
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return re.findall(r"Running stage '(.*)'", run.stdout)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two real rounds with tiny parameters, through DVC, Accelerate and MLflow."""
    folder = tmp_path_factory.mktemp("project")
    tiny_rounds().lay_out(folder)
    assert repro(folder)[-1] == "feedback@r002"
    return folder


@pytest.mark.slow
def test_rounds_run_end_to_end_and_a_second_run_does_nothing(project):
    assert repro(project) == []
    metrics = json.loads((project / "metrics/r002.json").read_text())
    for split in ("test", "validation"):
        assert set(metrics[split]["skills"]["success"]) == MEAN
        assert len(metrics[split]["skills"]["by_skill"]) == 22
        for name in ("progress", "score", "reward", "achievements"):
            assert set(metrics[split]["open_play"][name]) == MEAN
    assert metrics["data"]["episodes"] == 6
    assert metrics["data"]["valid_share"] == 1.0
    assert metrics["data"]["skills_total"] > metrics["data"]["skills"] > 0
    assert metrics["budget"]["explore.env_steps"] > 0
    shards = sorted(p.name for p in (project / "data/skills/r002").glob("*.parquet"))
    assert shards == ["r000.parquet", "r001.parquet", "r002.parquet"]
    listed = command(project, "-m", "alicebob", "round", "list")
    assert (project / "mlflow.db").exists()
    assert listed.returncode == 0
    text = "".join(
        path.read_text(errors="replace")
        for kind in ("data", "models", "metrics")
        for path in sorted((project / kind).rglob("*"))
        if path.is_file() and path.suffix in (".json", ".md")
    )
    assert str(project) not in text


@pytest.mark.slow
def test_a_new_round_runs_alone_and_a_change_runs_its_descendants(project):
    stages = ["explore", "skills", "train", "evaluate", "feedback"]
    added = command(project, "-m", "alicebob", "round", "add", "--from", "r001")
    assert added.returncode == 0, added.stderr
    assert repro(project) == ["plan", *(f"{stage}@r003" for stage in stages)]
    text = (project / "params.yaml").read_text()
    changed = re.sub(r"(  r003:.*?)\}", r"\1, train: {epochs: 2}}", text)
    assert changed != text
    (project / "params.yaml").write_text(changed)
    ran = repro(project)
    assert ran[:2] == ["plan", "train@r003"]
    assert all(stage.endswith("@r003") for stage in ran[1:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "damage", "message"),
    [
        ("train", "data/skills/r002/r002.parquet", "cannot be read as skills"),
        ("explore", "data/feedback/r001/feedback.json", "does not hold feedback"),
        ("evaluate", "models/bob/r002/adapter_model.safetensors", "cannot be read"),
    ],
)
def test_damaged_files_are_one_sentence(project, stage, damage, message):
    path = project / damage
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(b"torn")
    try:
        run = command(project, f"stages/{stage}.py", "r002")
    finally:
        path.unlink()
        path.write_bytes(whole)
    assert run.returncode == 1
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    unknown = command(project, f"stages/{stage}.py", "r999")
    assert unknown.returncode == 2
    assert "Unknown round 'r999'" in unknown.stderr


@pytest.mark.slow
def test_lineages_of_two_environments_live_in_one_repository(project):
    before = (project / "params.yaml").read_text()
    kept = {p: p.read_bytes() for p in sorted((project / "metrics").iterdir())}
    tiny_rounds().shrink(project, "webshop")
    assert repro(project)[-1] == "feedback@r002"
    assert repro(project) == []
    metrics = json.loads((project / "metrics/r002.json").read_text())
    for split in ("test", "validation"):
        assert metrics[split]["skills"]["success"]["n"] == 0
        for name in ("progress", "score", "reward", "success"):
            assert set(metrics[split]["open_play"][name]) == MEAN
            assert metrics[split]["open_play"][name]["n"] == 2
    assert metrics["data"]["episodes"] == 6
    assert metrics["data"]["valid_share"] >= 0.5
    assert "Bob was asked for 2 things" in (project / "data/feedback/r002/feedback.md").read_text()
    listed = command(project, "-m", "alicebob", "round", "list").stdout
    assert "success" in listed
    assert "skills" not in listed
    # Another catalogue is a setting; the round's Bob is tried there as he is.
    tried = command(project, "-m", "alicebob", "round", "try", "r002", "catalogue=generated:300")
    assert tried.returncode == 0, tried.stderr
    assert json.loads(tried.stdout)["test"]["open_play"]["reward"]["n"] == 2
    # Back again: DVC takes every output from its cache, and runs nothing.
    (project / "params.yaml").write_text(before)
    assert repro(project) == []
    assert all(path.read_bytes() == content for path, content in kept.items())
