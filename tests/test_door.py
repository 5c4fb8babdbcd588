"""The README's own environment goes through the rounds in an empty folder; Bob opens the door."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_env_check import DOOR

from alicebob.cli import main
from alicebob.experiment.begin import carried, lay_down
from alicebob.experiment.params import load_params

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, but for the README's environment; no git repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "my_module.py").write_text(DOOR)
    yield tmp_path
    sys.modules.pop("my_module", None)


def init(*words):
    return CliRunner().invoke(main, ["init", *words])


def test_a_project_begins_with_what_this_repository_has():
    ours = {name: (ROOT / name).read_text(encoding="utf-8") for name in carried()}
    assert carried() == ours
    names = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("stages/*.py")}
    wanted = {
        "dvc.yaml",
        ".dvc/config",
        ".dvc/.gitignore",
        ".gitignore",
        ".dvcignore",
        "params.yaml",
    }
    assert set(carried()) == names | wanted


def test_it_is_laid_down_whole_and_writes_nothing_over(folder):
    (folder / ".gitignore").write_text("*.swp\n.venv/")
    done = init()
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("Wrote .dvc/.gitignore, .dvc/config, ")
    assert (folder / "dvc.yaml").read_bytes() == (ROOT / "dvc.yaml").read_bytes()
    lines = (folder / ".gitignore").read_text().splitlines()
    assert lines[:3] == ["*.swp", ".venv/", "__pycache__/"]
    assert lines.count(".venv/") == 1
    assert "no_scm = true" in (folder / ".dvc/config").read_text()
    assert "\nlaptop\t" in init().stdout  # a project is there: the presets are listed
    (folder / "params.yaml").unlink()  # as if it had been killed before the end
    (folder / "stages/train.py").unlink()
    assert set(lay_down()) == {"stages/train.py", "params.yaml"}


def test_what_is_in_the_way_is_named_and_nothing_written(folder):
    (folder / "dvc.yaml").write_text("stages: {}\n")
    done = init("--env", "my_module:Door")
    assert done.exit_code == 2
    assert "dvc.yaml is there and is another one than a project begins with" in done.stderr
    assert sorted(path.name for path in folder.glob("[!_]*")) == ["dvc.yaml", "my_module.py"]


def test_in_a_git_repository_dvc_is_told_so(folder):
    subprocess.run(["git", "init", "-q"], check=True)
    assert init().exit_code == 0
    assert "no_scm" not in (folder / ".dvc/config").read_text()


def test_a_world_of_ones_own_and_single_values_are_set(folder):
    assert init("--env", "my_module:Door", "evaluate.max_turns=4", "seed=7").exit_code == 0
    params = load_params("r003", folder / "params.yaml")
    assert (params.env.spec, params.env.settings) == ("my_module:Door", {})
    assert (params.evaluate.max_turns, params.seed, params.bob.context) == (4, 7, 512)
    text = (folder / "params.yaml").read_text()
    assert "# everything drawn in this lineage follows from it" in text
    for wrong in ("nosuch=1", "seed.x=1", "evaluate.turns=3", "evaluate.max_turns=0"):
        done = init(wrong)
        assert done.exit_code == 2
        assert wrong.partition("=")[0] in done.stderr
    assert (folder / "params.yaml").read_text() == text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--env", "nowhere:Door"), "Environment 'nowhere:Door' cannot be imported"),
        (("--env", "my_module:Window"), "module 'my_module' has no attribute 'Window'"),
        (("--preset", "labtop"), "Did you mean 'laptop'"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(folder, words, told):
    done = init(*words)
    assert done.exit_code == 2
    assert told in done.stderr
    assert [path.name for path in folder.glob("[!_]*")] == ["my_module.py"]


def shell(folder, line):
    """Run a line as the README has it, with the environment's programs on the path."""
    bins = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": bins, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_the_readmes_environment_goes_through_the_rounds_and_bob_opens_the_door(folder):
    assert "she brought about: open_door" in shell(folder, "alicebob env check my_module:Door")
    shell(folder, "alicebob init --env my_module:Door evaluate.max_turns=4")
    shell(folder, "dvc repro")
    rewards = [
        json.loads((folder / f"metrics/{name}.json").read_text())["test"]["open_play"]["reward"]
        for name in ("r000", "r003")
    ]
    assert rewards[1]["mean"] >= 0.9
    assert rewards[1]["low"] > rewards[0]["high"]
    listed = shell(folder, "alicebob round list").splitlines()
    assert [line.split()[0] for line in listed[1:5]] == ["r000", "r001", "r002", "r003"]
    shell(folder, "alicebob sync")
    assert "Running stage" not in shell(folder, "dvc repro")
    # Forced, the same code has its work published again; other code of one's own does it anew.
    force = "dvc repro --force --single-item explore@r001"
    assert "Finished before; published again" in shell(folder, force)
    (folder / "my_module.py").write_text(DOOR.replace('"a door"', '"one door"'))
    assert "published again" not in shell(folder, force)
    assert "one door" in shell(folder, "alicebob episode show r001-explore-0000")
