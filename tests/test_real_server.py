"""A server that no one here wrote, `transformers serve`: tiny Bob behind it, and a real model."""

import json
from functools import partial

import pytest
from ruamel.yaml import YAML
from test_rounds import command, tiny_rounds
from test_smollm2 import TASKS, WORLD, taught

import alicebob
from alicebob.alice.model.think import add_thoughts
from alicebob.bob import playing
from alicebob.bob.sft import save_adapter
from alicebob.dataset import read_episodes, read_skills
from alicebob.envs import World
from alicebob.envs.hooks import actions_of
from alicebob.policies import Task
from alicebob.policies.chat import ServedChat
from alicebob.policies.endpoint import Endpoint
from alicebob.policies.models import load_base
from alicebob.policies.server import Server
from alicebob.rollout import Actor, play_all

NAME = "base"  # the folder that is served is its name
PATIENCE = 600.0  # seconds for an answer, where all else keeps the cores busy
CAVE = '''
from alicebob.envs.hooks import Trial


class Cave:
    """Whatever is done brings an echo, and nothing brings light."""

    instructions = "Listen."

    def suite(self):
        return [Trial("hear_echo", "Make an echo.", 2), Trial("see_light", "Find light.", 2)]

    def reset(self, *, seed=None, options=None):
        return "It is dark.", self._info()

    def step(self, action):
        return "It is dark. Something echoes.", 1.0, False, False, self._info(["hear_echo"])

    def _info(self, events=()):
        return {"events": list(events), "admissible_actions": ["shout", "knock", "wait"]}
'''


@pytest.mark.slow
def test_a_model_behind_a_real_server_plays(serve, base, crafter, tmp_path):
    with serve(base) as url:
        plays(Endpoint(url, base, concurrency=2, read_timeout=60), crafter, tmp_path)


def plays(endpoint, crafter, tmp_path):
    actions = crafter().reset(seed=0)[1]["admissible_actions"]
    policy = {"context": 400, "max_new_tokens": 12}
    tasks = [Task(f"e{n}", n, "Collect wood.", max_turns=3) for n in range(4)]
    episodes = play_all(
        tasks,
        World("crafter", {"observation": "compact", "limit": 40}),
        Actor(lambda: Server(endpoint, actions, **policy), workers=2, threads=True),
        tmp_path / "journals",
    )
    assert [len(episode.turns) for episode in episodes] == [3] * 4
    assert endpoint.usage.requests == 12
    assert endpoint.usage.retries == 0
    assert endpoint.usage.reply_tokens == sum(e.budget["reply_tokens"] for e in episodes) > 0
    assert all(e.budget["prompt_tokens"] > 0 for e in episodes)


@pytest.fixture
def cave(tmp_path):
    """A tiny project: a round of the embedded Alice, and one in which a real model speaks for her.

    What a model of this size says is mostly rejected; what is learnt in its round is then the
    first one's.
    """
    tiny_rounds().lay_out(tmp_path)
    (tmp_path / "cave.py").write_text(CAVE)
    data = YAML().load(tmp_path / "params.yaml")
    data["env"] = {"spec": "cave:Cave", "settings": {}}
    data["explore"] |= {"episodes": 2, "max_turns": 3}
    data["skills"]["validation_share"] = 0.0
    data["train"]["budget"] = 1000
    data["evaluate"] |= {"worlds": 1, "open_play": 1, "max_turns": 2}
    spoken = dict.fromkeys(("explore", "label", "think", "judge", "advise"), "model")
    spoken |= {"model": f"served:{NAME}", "max_new_tokens": 48, "labels": 2}
    data["rounds"] = {"r001": {"prev": "r000"}, "r002": {"prev": "r001", "alice": spoken}}
    YAML().dump(data, tmp_path / "params.yaml")
    return tmp_path


@pytest.mark.slow
def test_a_real_model_is_tried_and_speaks_for_alice_behind_a_real_server(
    serve, smollm2, cave, tmp_path, monkeypatch
):
    monkeypatch.setenv("ALICEBOB_ALICE_TIMEOUT", str(PATIENCE))
    with serve(NAME, smollm2[0]) as url:
        monkeypatch.setenv("ALICEBOB_ALICE_URL", url)
        run = command(cave, "-m", "dvc", "repro")
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
        skills = list(read_skills(cave / "data/skills/r001"))
        chat = ServedChat(Endpoint(url, NAME, read_timeout=PATIENCE), max_new_tokens=48)
        kept, thoughts = add_thoughts(skills[:1], chat, tmp_path / "thoughts.jsonl")
        options = ("--max-new-tokens", "16", "--temperature", "0", "--timeout", str(PATIENCE))
        words = ("evaluate", "--url", url, "--model", NAME, "--concurrency", "2", *options)
        tried = command(cave, "-m", "alicebob", *words)
    assert tried.returncode == 0, tried.stderr
    found = json.loads(tried.stdout)
    assert found["test"]["skills"]["success"]["n"] == 2
    assert found["test"]["skills"]["by_skill"]["hear_echo"]["mean"] == 1.0
    assert found["used_now"]["requests"] == 1 + 2 + 2  # both trials and open play
    assert found["used_now"]["retries"] == found["used_now"]["estimated"] == 0
    explored = list(read_episodes(cave / "data/episodes/r002"))
    assert [len(episode.turns) for episode in explored] == [3, 3]
    assert all(e.meta["model"] == NAME and e.budget["reply_tokens"] > 0 for e in explored)
    labelled = json.loads((cave / "data/skills/r002/report.json").read_text())
    judged = json.loads((cave / "data/feedback/r002/asked.json").read_text())
    assert labelled["instruction"]["asked"] > 0
    assert labelled["thoughts"]["asked"] == (
        labelled["instruction"]["asked"] - labelled["instruction"]["rejected"]
    )
    assert thoughts.asked == 1
    assert len(kept) == 1 - thoughts.rejected
    assert judged["judge"]["asked"] == 2
    some = judged["judge"]["rejected"] < 2  # of nothing that was judged there is nothing to say
    assert judged["feedback"]["asked"] == some
    ledger = (cave / ".work/alice/r002.jsonl").read_text().splitlines()
    assert len(ledger) >= 6 + labelled["instruction"]["asked"] + 2 + some
    assert {json.loads(line)["model"] for line in ledger} == {NAME}


def answered(episodes):
    return [(e.id, [(turn.thought, turn.action) for turn in e.turns]) for e in episodes]


@pytest.mark.slow
def test_bob_with_his_adapter_merged_in_says_behind_a_real_server_what_he_says_here(
    serve, smollm2, skills, tmp_path
):
    bob = smollm2[1]
    bob = bob.model_copy(update={"preamble": "full", "context": 2048})
    model, fitted = taught(*load_base(bob.model), bob, skills, tmp_path / "fit")
    save_adapter(model, bob.model, tmp_path / "r001", "# card\n", fitted)
    here = play_all(
        TASKS, WORLD, playing.actor(tmp_path / "r001", bob, WORLD, 1), tmp_path / "here"
    )
    model, tokenizer = alicebob.load_bob(tmp_path / "r001")
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    tokenizer.save_pretrained(tmp_path / "merged")
    names = ("context", "turns", "max_new_tokens", "temperature")
    spoken = {name: getattr(bob, name) for name in names}
    with serve("merged", tmp_path) as url:
        endpoint = Endpoint(url, "merged", read_timeout=PATIENCE)
        build = partial(Server, endpoint, actions_of(WORLD()), **spoken)
        there = play_all(TASKS, WORLD, Actor(build, threads=True), tmp_path / "there")
    assert answered(there) == answered(here)
    assert any(turn.action in actions_of(WORLD()) for e in here for turn in e.turns)
