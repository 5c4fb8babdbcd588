"""RFT: what Bob managed is learnt, and in hindsight what his failures show."""

from types import SimpleNamespace

import pytest
from conftest import ROOT
from test_plan import write

from alicebob import dataset
from alicebob.alice import Alice
from alicebob.alice.validity import check
from alicebob.envs import World
from alicebob.errors import UsageError
from alicebob.experiment import plan
from alicebob.experiment.params import Experiment, schema
from alicebob.methods.rft import keep_successes, training_tasks
from alicebob.rollout import seeds
from alicebob.trace import WHOLE, Outcome

CRAFTER = {"spec": "crafter", "settings": {"observation": "compact", "limit": "balrog"}}
SHOP = {"spec": "webshop", "settings": {"catalogue": "generated:600", "observation": "compact"}}


@pytest.fixture
def tried(tmp_path, monkeypatch):
    """Return what becomes of some training tasks, some of them done, with or without hindsight."""
    monkeypatch.setenv("ALICEBOB_CACHE", str(tmp_path / "cache"))

    def made(env, count, **own):
        data = Experiment(ROOT / "params.yaml").shared
        data["env"], data["rft"] = env, own
        data["explore"] = {"episodes": count, "max_turns": 60, "generation": count}
        params = schema(("rft",)).model_validate(data)
        world, scratch = World(env["spec"], env["settings"]), tmp_path / f"{len(own)}"
        scratch.mkdir()
        folders = {"adapter": tmp_path, "scratch": scratch, "ledger": tmp_path / "ledger"}
        alice = Alice(params, world, "r001", **folders)
        here = SimpleNamespace(id="r001", params=params, world=world, alice=alice)
        here.read = lambda kind: scratch
        chosen = seeds("rft", 1, count, params.seeds.of("explore"))
        episodes, _ = alice.attempt(training_tasks(here, chosen), alice.room.memory())
        dataset.write_episodes(scratch / "episodes.parquet", episodes)
        return here, episodes, keep_successes(here)

    return made


@pytest.mark.parametrize(("env", "count"), [(CRAFTER, 24), (SHOP, 120)])
def test_failed_tasks_are_learnt_as_what_they_show(tried, env, count):
    _, episodes, plain = tried(env, count)
    here, again, said = tried(env, count, hindsight=True)
    assert again == episodes
    won = {episode.id for episode in episodes if episode.outcome is Outcome.SUCCESS}
    failed = {episode.id: episode for episode in episodes if episode.id not in won}
    assert {skill.episode for skill in plain.skills} == won
    assert said.skills[: len(won)] == plain.skills
    shown = said.skills[len(won) :]
    assert said.report["in hindsight"] == len(shown) > 0
    for skill in shown:
        assert skill.instruction != failed[skill.episode].instruction
        assert skill.name not in WHOLE
        assert skill.turns[-1].events
        assert skill.turns[-1].thought
    assert check(said.skills, episodes, here.world) == (said.skills, {})


def test_without_hindsight_nothing_of_alices_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, rounds="  r001: {prev: r000, method: rft, skills: {max_turns: 9}}\n")
    with pytest.raises(UsageError, match=r"skills.max_turns is not read by rft"):
        plan.check()
    own = "rft: {hindsight: true}"
    write(
        tmp_path, rounds=f"  r001: {{prev: r000, method: rft, {own}, skills: {{max_turns: 9}}}}\n"
    )
    found = plan.contents()["r001/skills.json"]["params"]
    assert found["rft"] == {"hindsight": True}
    assert found["skills"]["max_turns"] == 9
