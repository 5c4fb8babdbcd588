import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from alicebob.endpoint import Endpoint
from alicebob.policies import Task
from alicebob.policies.server import Server
from alicebob.rollout import play_all

START = 120  # seconds


@pytest.fixture
def served(base, tmp_path):
    """Serve the tiny base with `transformers serve`; needs the package openai."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path / "server.log").open("wb")
    command = [str(Path(sys.executable).parent / "transformers"), "serve", base]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=log,
        stderr=log,
    )
    try:
        until = time.monotonic() + START
        while True:
            assert process.poll() is None, (tmp_path / "server.log").read_text()[-1000:]
            assert time.monotonic() < until
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/v1", base
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_model_behind_a_real_server_plays(served, crafter, tmp_path):
    url, name = served
    endpoint = Endpoint(url, name, concurrency=2, read_timeout=60)
    actions = crafter().reset(seed=0)[1]["admissible_actions"]
    policy = {"context": 400, "max_new_tokens": 12}
    tasks = [Task(f"e{n}", n, "Collect wood.", max_turns=3) for n in range(4)]
    episodes = play_all(
        tasks,
        lambda: (crafter, Server(endpoint, actions, **policy)),
        "crafter",
        tmp_path / "journals",
        workers=2,
        threads=True,
    )
    assert [len(episode.turns) for episode in episodes] == [3] * 4
    assert endpoint.usage.requests == 12
    assert endpoint.usage.retries == 0
    assert endpoint.usage.reply_tokens == sum(e.budget["reply_tokens"] for e in episodes) > 0
    assert all(e.budget["prompt_tokens"] > 0 for e in episodes)
