"""RFT: what Bob managed is learnt, and in hindsight what his failures show."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import ROOT
from test_plan import write

from alicebob import dataset
from alicebob.alice import Alice
from alicebob.alice.validity import check
from alicebob.bob.tiny import RandomPolicy
from alicebob.envs import World
from alicebob.errors import UsageError
from alicebob.experiment import plan
from alicebob.experiment.params import Experiment, schema
from alicebob.methods.rft import keep_successes, tasks_and_open_play, training_tasks
from alicebob.rollout import play, seeds
from alicebob.trace import AGAIN, AIM, AIMLESS, OPEN_PLAY, WHOLE, Outcome

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


def test_of_open_play_the_episodes_in_which_most_was_achieved_are_learnt(tried):
    here, *_ = tried(CRAFTER, 8, open_play=0.75, best=0.5)
    tasks = tasks_and_open_play(here, "rft", 0.75)
    free = [task for task in tasks if not task.target]
    assert (len(tasks), len(free)) == (8, 6)
    assert len({task.seed for task in tasks}) == 8
    played = play([here.world() for _ in free], RandomPolicy(), free, "crafter")
    thought = [
        replace(e, turns=tuple(replace(t, thought="collect_wood, tree_up") for t in e.turns))
        for e in played
    ]
    dataset.write_episodes(here.read("episodes") / "episodes.parquet", thought)
    said = keep_successes(here)
    counts = {episode.id: len(episode.summary["events"]) for episode in thought}
    kept = {skill.episode for skill in said.skills}
    assert len(kept) == 3
    assert min(counts[i] for i in kept) >= max(counts[i] for i in counts.keys() - kept)
    assert check(said.skills, thought, here.world) == (said.skills, {})
    for skill in said.skills:
        assert (skill.name, skill.instruction) == (OPEN_PLAY, free[0].instruction)
        had = [n for n, turn in enumerate(skill.turns) if turn.events]
        wood = next((n for n in had if "collect_wood" in skill.turns[n].events), len(skill.turns))
        for n, turn in enumerate(skill.turns):
            assert (AIMLESS in turn.tags) == (n > max(had, default=-1))
            assert (f"{AIM}collect_wood" in turn.tags) == (AIMLESS not in turn.tags)
            assert (AGAIN in turn.tags) == (n > wood)
    assert not [task for task in tasks_and_open_play(_shop(here), "rft", 0.75) if not task.target]


def _shop(here):
    return SimpleNamespace(**{**vars(here), "world": World(SHOP["spec"], SHOP["settings"])})


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
    assert found["rft"] == {"hindsight": True, "best": 0.2}
    assert found["skills"]["max_turns"] == 9
