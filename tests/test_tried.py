import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from scripted import serving

from alicebob.cli import main
from alicebob.dataset import read_episodes
from alicebob.policies import endpoint

KEY = "canary-4711-key"
PARAMS = (Path(__file__).parent.parent / "params.yaml").read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    small = PARAMS.replace("worlds: 6 ", "worlds: 1 ").replace("open_play: 32 ", "open_play: 2 ")
    (tmp_path / "params.yaml").write_text(small.replace("max_turns: 2000 ", "max_turns: 5 "))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CANARY_KEY", KEY)
    monkeypatch.setattr(endpoint, "FIRST", 0.01)
    return tmp_path


def evaluate(server, *words):
    options = ("--url", server.url, "--model", "org/a model", "--key-env", "CANARY_KEY")
    return CliRunner().invoke(main, ["evaluate", *options, *words, "observation=smartplay"])


def test_a_served_model_is_tried_on_the_worlds_of_the_rounds(folder):
    with serving(answer=lambda body: "Action: do") as server:
        result = evaluate(server)
        assert result.exit_code == 0, result.output
        sent = len(server.requests)
        assert evaluate(server).exit_code == 0
        assert len(server.requests) == sent  # all was there
    found = json.loads(result.stdout)
    assert found["test"]["skills"]["success"]["n"] == 22
    assert found["test"]["open_play"]["progress"]["n"] == 2
    assert found["budget"]["reply_tokens"] == 7 * sent == found["used_now"]["reply_tokens"]
    out = folder / "data" / "served" / "org-a-model"
    episodes = read_episodes(out / "episodes.parquet")
    assert len(episodes) == 24
    assert "split: test" in (out / "README.md").read_text()  # so `datasets` names it
    assert all("You see" in e.turns[0].observation for e in episodes if e.turns)
    written = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    assert KEY.encode() not in written
    assert KEY not in result.output


def test_a_budget_ends_in_one_sentence_and_the_rest_is_played_later(folder):
    with serving(answer=lambda body: "Action: do") as server:
        stopped = evaluate(server, "--max-requests", "60", "--concurrency", "4")
        assert stopped.exit_code == 1
        assert "budget of 60 requests" in stopped.output
        assert "Traceback" not in stopped.output
        assert len(server.requests) == 60
        assert not (folder / "data/served/org-a-model/metrics.json").exists()
        again = evaluate(server)
        assert again.exit_code == 0
        assert json.loads(again.stdout)["used_now"]["requests"] == len(server.requests) - 60


def test_a_cost_without_prices_is_refused(folder):
    with serving() as server:
        result = evaluate(server, "--max-cost", "1")
    assert result.exit_code == 2
    assert "needs --prices" in result.output


def test_what_episodes_cost_is_said_before_and_why_a_budget_went(folder):
    with serving(lambda *_: "500") as server:
        result = evaluate(server, "--max-requests", "3", "--concurrency", "1")
    assert result.exit_code == 1
    assert "24 episodes, a request a turn: at most 50 for one and 396 for all." in result.stderr
    assert "With --max-requests 3 perhaps none ends." in result.stderr
    assert (
        "budget of 3 requests for org/a model is used up (3 of 3 requests had no" in result.stderr
    )
    assert "HTTP 500: no" in result.stderr


def test_a_dead_server_is_told_in_a_sentence_and_nothing_is_used(folder):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    adapter = folder / "r001"
    adapter.mkdir()
    for more in ((), ("--adapter", str(adapter))):
        words = ("evaluate", "--url", url, "--model", "m", "--max-requests", "20", *more)
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 1
        assert f"Nobody answers at {url}" in result.stderr
        assert "budget" not in result.stderr
        assert "Traceback" not in result.output


def test_replies_without_text_or_count_are_warned_of(folder):
    body = {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}
    with serving(lambda *_: json.dumps(body).encode()) as server:
        result = evaluate(server, "--max-new-tokens", "9")
    assert result.exit_code == 0, result.output
    used = json.loads(result.stdout)["used_now"]
    assert used["silent"] == used["estimated"] == used["requests"] == len(server.requests)
    assert used["reply_tokens"] == 9 * used["requests"]
    assert json.loads(result.stdout)["test"]["skills"]["success"]["mean"] == 0
    assert "replies had no text and lost their turn" in result.stderr
    assert "more than --max-new-tokens 9" in result.stderr
    assert "are estimates" in result.stderr


def test_a_reply_that_leaves_no_room_for_a_prompt_is_refused(folder):
    with serving() as server:
        result = evaluate(server, "--context", "256")
    assert result.exit_code == 2
    assert "leaves no room for a prompt" in result.stderr
    assert not server.requests
