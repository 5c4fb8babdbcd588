"""Bob behind a server that loads his adapter: the same play as here, or one clear sentence."""

import json
import socket
from pathlib import Path

import pytest
import torch
from lora_server import KINDS, lora_server
from ruamel.yaml import YAML
from test_outside import command, ran
from test_rounds import tiny_rounds

from alicebob.bob import playing
from alicebob.bob.sft import Lora, new_adapter, save_adapter
from alicebob.dataset import read_episodes
from alicebob.envs import World
from alicebob.errors import ProviderError, UsageError
from alicebob.experiment.params import load_params
from alicebob.policies import Task, endpoint
from alicebob.policies.models import load_base
from alicebob.rollout import play_all

WORLD = World("crafter", {"observation": "compact", "limit": 40})
TASKS = [Task(f"e{n:02d}", n, "Collect wood.", max_turns=7) for n in range(5)]
URL = f"{playing.WHERE}_URL"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(endpoint, "FIRST", 0.01)


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory):
    """An adapter that makes another of the base."""
    model = new_adapter(load_base(base)[0], Lora(4, 4.0), 1)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=draw) * 0.3)
    folder = tmp_path_factory.mktemp("adapter") / "r001"
    save_adapter(model, base, folder, "# card\n")
    return folder


@pytest.fixture
def bob(base):
    """The block `bob`: greedy, with a window that moves."""
    settings = {"model": base, "temperature": 0.0, "turns": 0, "context": 130}
    return load_params("r001", Path("params.yaml")).bob.model_copy(update=settings)


def played(adapter, bob, journals, rollout="served", **changes):
    settings = bob.model_copy(update={"rollout": rollout, **changes})
    return play_all(TASKS, WORLD, playing.actor(adapter, settings, WORLD, 2), journals)


def as_played(episodes):
    return [(e.id, e.turns, e.outcome, e.budget) for e in episodes]


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_episodes_are_the_local_ones_token_for_token(
    base, adapter, bob, tmp_path, monkeypatch, kind
):
    with lora_server(base, kind) as server:
        monkeypatch.setenv(URL, server.url)
        there = played(adapter, bob, tmp_path / "there")
        asked = len(server.asked)
        assert played(adapter, bob, tmp_path / "there") == there  # all was there
    here = played(adapter, bob, tmp_path / "here", "local")
    assert as_played(there) == as_played(here)
    unmoved = played(adapter, bob, tmp_path / "wide", "local", context=1000)
    assert as_played(unmoved) != as_played(here)
    assert len(server.asked) == asked == sum(len(e.turns) for e in here) + 2 + (kind == "sglang")
    (name,) = {e.meta["model"] for e in there}
    assert name.startswith("r001-")
    assert [body["lora_name"] for path, body in server.asked if "/unload" in path] == [name]
    assert server.models == {}


def test_without_his_adapter_he_would_play_otherwise(base, bob, adapter, tmp_path):
    empty = new_adapter(load_base(base)[0], Lora(4, 4.0), 1)
    save_adapter(empty, base, tmp_path / "r000", "# card\n")
    plain = played(tmp_path / "r000", bob, tmp_path / "plain", "local")
    assert as_played(plain) != as_played(played(adapter, bob, tmp_path / "here", "local"))


def test_what_is_drawn_follows_from_the_episode(base, adapter, bob, tmp_path, monkeypatch):
    with lora_server(base) as server:
        monkeypatch.setenv(URL, server.url)
        first, again = (
            played(adapter, bob, tmp_path / name, temperature=0.8, top_p=0.9) for name in "ab"
        )
        body = next(body for path, body in server.asked if path == "/v1/completions")
    assert first == again
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.8, 0.9, 16)
    assert (body["top_k"], body["min_p"], body["repetition_penalty"]) == (-1, 0.0, 1.0)


def test_a_stopped_run_goes_on_and_an_adapter_that_a_kill_left_there_serves_again(
    base, adapter, bob, tmp_path, monkeypatch, capsys
):
    with lora_server(base) as server:
        monkeypatch.setenv(URL, server.url)
        whole = played(adapter, bob, tmp_path / "whole")
        monkeypatch.setenv(f"{playing.WHERE}_CONCURRENCY", "1")
        server.script = lambda number, body: 400 if number > first + 12 else 0
        first = len(server.asked)
        with pytest.raises(ProviderError, match=r"of 5 waves of episodes are owed: .*Run again"):
            played(adapter, bob, tmp_path / "cut")
        assert server.models == {}
        kept = len((tmp_path / "cut/episodes.jsonl").read_text().splitlines())
        assert 0 < kept < 5
        server.script = lambda number, body: 0
        name = whole[0].meta["model"]
        server.calls["/v1/load_lora_adapter"](
            server, {"lora_name": name, "lora_path": str(adapter)}
        )
        before = len(server.asked)
        assert played(adapter, bob, tmp_path / "cut") == whole
        turns = sum("completions" in path for path, _ in server.asked[before:])
        assert turns == 7 * (5 - kept)
        assert server.models == {}
    assert "still loaded" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        ({"adapters": False}, r"did not load the adapter r001-.* \(HTTP 404.*--enable-lora"),
        ({"says_ids": False}, r"does not say which tokens it wrote"),
        ({"script": lambda number, body: 404}, r"refused the request for r001-.* with HTTP 404"),
    ],
)
def test_a_server_that_cannot_is_told_in_a_sentence_and_nothing_is_played(
    base, adapter, bob, tmp_path, monkeypatch, setup, said
):
    with lora_server(base, **setup) as server:
        monkeypatch.setenv(URL, server.url)
        with pytest.raises(ProviderError, match=said):
            played(adapter, bob, tmp_path)
        assert server.models == {}
    assert not list(tmp_path.glob("*.jsonl"))


def test_an_adapter_that_is_not_unloaded_is_said(base, adapter, bob, tmp_path, monkeypatch, capsys):
    with lora_server(base) as server:
        monkeypatch.setenv(URL, server.url)
        del server.calls["/v1/unload_lora_adapter"]
        assert len(played(adapter, bob, tmp_path)) == len(TASKS)
    assert "is still loaded at the server" in capsys.readouterr().err


def test_nobody_there_and_no_address_are_told(adapter, bob, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv(URL, f"http://127.0.0.1:{free.getsockname()[1]}/v1")
    with pytest.raises(ProviderError, match="Nobody answers at"):
        played(adapter, bob, tmp_path)
    monkeypatch.delenv(URL)
    with pytest.raises(UsageError, match=f"bob.rollout is served; put .* variable {URL}"):
        played(adapter, bob, tmp_path)


def test_what_a_server_cannot_hold_is_refused_at_the_start(tmp_path, monkeypatch):
    text = Path("params.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    text = text.replace("rollout: local ", "rollout: served ").replace(
        "constrained: false", "constrained: true"
    )
    Path("params.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"bob.constrained needs bob.rollout: local"):
        load_params("r001")


@pytest.fixture
def project(tmp_path):
    """A round of EXIF and one in which Bob explores, tiny, with a greedy Bob behind a server."""
    tiny_rounds().lay_out(tmp_path)
    data = YAML().load(tmp_path / "params.yaml")
    data["env"] = {"spec": "greenhouse", "settings": {"beds": 3}}
    data["base"] |= {"context": 1024, "pack_tokens": 512}
    data["bob"] |= {"context": 256, "rollout": "served", "temperature": 0.0}
    data["train"]["pack_tokens"] = 256
    data["explore"] |= {"episodes": 6, "max_turns": 20}
    data["evaluate"] |= {"open_play": 3, "max_turns": 8, "worlds": 6}
    data["rounds"] = {"r001": {"prev": "r000"}, "r002": {"prev": "r001", "method": "rft"}}
    YAML().dump(data, tmp_path / "params.yaml")
    return tmp_path


def evaluated(project, round_id):
    """Return a round's figures, and what Bob did in both splits."""
    metrics = json.loads((project / f"metrics/{round_id}.json").read_text())
    splits = {split: metrics[split] for split in ("validation", "test")}
    folder = project / f"data/evaluations/{round_id}"
    return splits, [as_played(read_episodes(folder / f"{split}.parquet")) for split in splits]


@pytest.mark.slow
def test_rounds_whose_bob_is_served_are_those_of_a_local_one(project, monkeypatch):
    with lora_server(str(project / "models/base")) as server:
        monkeypatch.setenv(URL, server.url)
        assert ran(project)[-1] == "feedback@r002"
        served = [evaluated(project, f"r00{n}") for n in range(3)]
        explored = read_episodes(project / "data/episodes/r002")
        asked = {kind: [] for kind in ("load_lora_adapter", "unload_lora_adapter")}
        for path, body in server.asked:
            asked.setdefault(path.rpartition("/")[2], []).append(body.get("lora_name"))
        assert asked["load_lora_adapter"] == asked["unload_lora_adapter"]
        rounds = [name.partition("-")[0] for name in asked["load_lora_adapter"]]
        assert sorted(rounds) == ["r000", "r001", "r001", "r002"]  # r002 explored as r001's Bob
        assert server.models == {}
        tried = [turns for _, splits in served for split in splits for _, turns, *_ in split]
        turns = [*tried, *(episode.turns for episode in explored)]
        assert len(asked["completions"]) == sum(map(len, turns))
        assert ran(project) == []
    monkeypatch.delenv(URL)
    data = YAML().load(project / "params.yaml")
    data["bob"]["rollout"] = "local"
    YAML().dump(data, project / "params.yaml")
    again = ran(project)
    assert "baseline" in again
    assert "train@r001" not in again
    assert [evaluated(project, f"r00{n}") for n in range(3)] == served
    there = (project / "params.yaml").read_text().replace("rollout: local", "rollout: served")
    (project / "params.yaml").write_text(there)
    with pytest.raises(AssertionError, match=f"variable {URL}"):
        command(project, "-m", "alicebob", "round", "try", "r001")
