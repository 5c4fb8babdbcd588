"""What a lineage of many rounds costs when there is nothing to do, beside DVC's own.

    python benchmarks/scale.py              # 10, 50 and 100 rounds; prints a table in Markdown
    python benchmarks/scale.py 10 --times 5

The rounds are laid out, not run: a small file for each output, figures for each round, and `dvc
commit` notes them all. Beside them lies a repository with the same graph of stages, each of which
is `true`, written out without templates, and one with as many stages in a line, of one file each.
Times are seconds of a core, the median of several runs: those of a clock count what else the
machine does.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from ruamel.yaml import YAML

sys.path.append(str(Path(__file__).resolve().parent.parent / "src"))
sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from evaluated import PARAMS, write

ROOT = Path(__file__).resolve().parent.parent

PAGE = """
from mlflow import MlflowClient
client = MlflowClient("sqlite:///mlflow.db")
experiment = client.get_experiment_by_name("alicebob").experiment_id
runs = client.search_runs([experiment], max_results=1000)
parent = next(run for run in runs if "alicebob.branch" in run.data.tags)
names = [name for name in parent.data.metrics if name.startswith("bob/")]
points = [client.get_metric_history(parent.info.run_id, name) for name in names]
assert all(len(found) > 1 for found in points)
"""


def environment() -> dict[str, str]:
    """Return the environment of the commands."""
    return {
        **{k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"},
        "DVC_NO_ANALYTICS": "1",
        "PYTHONPATH": str(ROOT / "src"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }


def run(folder: Path, *words: str) -> float:
    """Run a Python module or program; return the seconds of a core that it took."""
    before = _used()
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)[:60]} failed: {done.stdout[-500:]} {done.stderr[-1500:]}")
    return _used() - before


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def lay_out(folder: Path, rounds: int) -> None:
    """Lay out a lineage of rounds as if all had been run."""
    folder.mkdir()
    for name in ("dvc.yaml", "stages", ".dvc/config", ".dvcignore"):
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile)(ROOT / name, target)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    os.chdir(folder)
    names = [f"r{number:03}" for number in range(rounds + 1)]
    lines = [f"  {name}: {{prev: {prev}}}\n" for prev, name in pairwise(names)]
    Path("params.yaml").write_text(PARAMS[: PARAMS.index("rounds:")] + "rounds:\n" + "".join(lines))
    write({name: number / len(names) for number, name in enumerate(names)})
    for name in names:
        for kind in ("episodes", "skills", "evaluations"):
            _file(Path("data") / kind / name / "a.parquet", f"{kind} {name}")
        _file(Path("data/feedback") / name / "feedback.md", f"# Feedback\n\n{name}\n")
        curve = [{"step": step, "loss": 1 / step} for step in range(1, 31)]
        _file(Path("models/bob") / name / "training.json", json.dumps({"curve": curve}))
    _file(Path("models/base/config.json"), "{}")
    for name in ("curve", "open_play", "skills"):
        _file(Path(f"plots/{name}.svg"), "<svg/>")
    run(folder, "-m", "dvc", "commit", "-q", "-f")


def _file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def plain(folder: Path, stages: dict[str, Any]) -> None:
    """Lay out stages of `true` with these inputs and outputs, each a file."""
    (folder / ".dvc").mkdir(parents=True)
    shutil.copyfile(ROOT / ".dvc/config", folder / ".dvc/config")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    for stage in stages.values():
        for path in (*stage["deps"], *stage["outs"]):
            _file(folder / path, path)
    (folder / "dvc.yaml").write_text(json.dumps({"stages": stages}))
    run(folder, "-m", "dvc", "commit", "-q", "-f")


def same_graph(folder: Path) -> dict[str, Any]:
    """Return the stages of a repository's lock, each as `true`."""
    lock = YAML(typ="safe").load((folder / "dvc.lock").read_text())["stages"]
    return {
        name.replace("@", "-"): {
            "cmd": "true",
            **{side: [f"{i['path']}.txt" for i in s.get(side, [])] for side in ("deps", "outs")},
        }
        for name, s in lock.items()
    }


def measured(rounds: int, times: int) -> dict[str, float]:
    """Return the seconds of each command for a number of rounds."""
    with tempfile.TemporaryDirectory() as temporary:
        at = Path(temporary)
        lay_out(at / "ours", rounds)
        graph = same_graph(at / "ours")
        plain(at / "graph", graph)
        line = {
            f"s{n}": {"cmd": "true", "deps": [f"d/{n}"], "outs": [f"d/{n + 1}"]}
            for n in range(len(graph))
        }
        plain(at / "line", line)
        found = {"stages": float(len(graph))}

        def often(name: str, call: Callable[[], float]) -> None:
            call()
            found[name] = statistics.median(call() for _ in range(times))
            click.echo(f"{rounds} rounds: {name} {found[name]:.2f} s", err=True)

        for what in ("status", "repro"):
            for where in ("line", "graph", "ours"):
                often(f"dvc {what}, {where}", lambda: run(at / where, "-m", "dvc", what, "-q"))  # noqa: B023
        often("round list", lambda: run(at / "ours", "-m", "alicebob", "round", "list"))
        found["sync, all"] = run(at / "ours", "-m", "alicebob", "sync")
        often("sync, nothing", lambda: run(at / "ours", "-m", "alicebob", "sync"))
        often("MLflow's page", lambda: run(at / "ours", "-c", PAGE))
        return found


@click.command()
@click.argument("rounds", nargs=-1, type=int)
@click.option("--times", default=3, show_default=True, help="Runs of each command.")
def main(rounds: tuple[int, ...], times: int) -> None:
    """Measure, and print a table."""
    found = [measured(number, times) for number in rounds or (10, 50, 100)]
    heads = [f"{number} rounds" for number in rounds or (10, 50, 100)]
    click.echo("| " + " | ".join(["seconds of a core", *heads]) + " |")
    click.echo("|---" * (len(found) + 1) + "|")
    for name in found[0]:
        click.echo(f"| {name} | " + " | ".join(f"{each[name]:.3g}" for each in found) + " |")


if __name__ == "__main__":
    main()
