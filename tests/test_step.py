"""STeP: Bob acts, Alice judges, corrects and counsels; what was wrong is read and not learnt."""

import dataclasses
import functools
import json
import re
from types import SimpleNamespace

import pytest
import torch
from test_rounds import repro, tiny_rounds

from alicebob import dataset
from alicebob.alice import correct
from alicebob.alice.correct import Corrected, Guided, beside, counsel_in
from alicebob.alice.embedded import explore, learned
from alicebob.alice.room import Counsel, room
from alicebob.alice.shop.correct import ShopGuide
from alicebob.alice.shop.memory import Memory
from alicebob.alice.shop.reading import options_on, prices, read
from alicebob.alice.speakers import Embedded
from alicebob.alice.validity import check
from alicebob.bob.rows import IGNORED, pack, rows_of
from alicebob.bob.tiny import RandomPolicy
from alicebob.envs import World, make
from alicebob.envs.hooks import suite_of, tasks_of, told
from alicebob.errors import UsageError
from alicebob.methods import step
from alicebob.methods.experts import SKILLS, experts_of
from alicebob.methods.rft import training_tasks
from alicebob.policies import Reply, Task
from alicebob.policies.conversation import Conversation
from alicebob.policies.local import Local
from alicebob.policies.models import load_base
from alicebob.rollout import Actor, play, play_all
from alicebob.settings import Skills
from alicebob.trace import (
    AIMLESS,
    CORRECTED,
    CORRECTION,
    ERROR,
    REFLECTION,
    RIGHT,
    UNJUDGED,
    Outcome,
)

CRAFTER = World("crafter", {"observation": "compact", "limit": "balrog"})
SHOP = World("webshop", {"catalogue": "generated:600", "observation": "compact"})
GRID = room("grid")
#: A teacher that is a model: Bob himself, who knows nothing and is held to the form of his answers.
SPOKEN = {
    "alice": {"correct": "model", "model": "bob", "context": 4000, "max_new_tokens": 300},
    "explore": {"episodes": 4, "max_turns": 8},
}


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """What Alice knows after a few episodes of her own."""
    tasks = [Task(f"known-{n}", n, max_turns=300) for n in range(30)]
    folder = tmp_path_factory.mktemp("known")
    return explore(GRID, CRAFTER, GRID.memory(), {}, tasks, 10, folder)[1]


def watched(known, lead, reflects=True, student=RandomPolicy, **actor):
    teaches = functools.partial(Guided, functools.partial(GRID.guide, known, ()))
    return beside(Actor(student, **actor), teaches, lead, reflects)


def free(count, turns=60):
    return [Task(f"open-{n}", 100 + n, told(CRAFTER()), max_turns=turns) for n in range(count)]


@pytest.fixture(scope="module")
def episodes(known, tmp_path_factory):
    """Random play under Alice's eyes, every mistake corrected after it was made."""
    return play_all(free(4), CRAFTER, watched(known, 1.0, width=2), tmp_path_factory.mktemp("led"))


def verdicts(turn):
    return [tag for tag in turn.tags if tag in (RIGHT, ERROR, CORRECTION)]


# what she says as he plays


def test_every_turn_has_a_verdict_and_a_mistake_is_followed_by_its_correction(episodes):
    seen = {RIGHT: 0, ERROR: 0, CORRECTION: 0}
    for episode in episodes:
        for turn, after in zip(episode.turns, (*episode.turns[1:], None), strict=True):
            (verdict,) = verdicts(turn)
            seen[verdict] += 1
            if verdict == ERROR:
                thought, action = counsel_in(turn)
                assert action != turn.action
                if after is not None:
                    assert verdicts(after) == [CORRECTION]
                    assert REFLECTION in after.tags
                    said = f": {thought}" if thought else ""
                    why = f"Not {turn.action} but {action}{said}."
                    assert after.thought.startswith(why)
            if verdict == RIGHT and AIMLESS not in turn.tags and "asleep" not in turn.tags:
                thought, action = counsel_in(turn)
                assert action == turn.action
                assert thought
    assert min(seen.values()) > 10


def test_who_never_leads_only_counsels_and_who_sees_one_turn_is_told_no_reasons(known, tmp_path):
    alone = play_all(free(2), CRAFTER, watched(known, 0.0), tmp_path / "a")
    turns = [turn for episode in alone for turn in episode.turns]
    assert {verdict for turn in turns for verdict in verdicts(turn)} == {RIGHT, ERROR}
    led = play_all(free(2), CRAFTER, watched(known, 1.0, reflects=False), tmp_path / "b")
    hers = [t for episode in led for t in episode.turns if CORRECTION in t.tags]
    assert hers
    assert not any(REFLECTION in turn.tags or "Not " in turn.thought for turn in hers)


class Foolish(RandomPolicy):
    """A student who never does anything that is an action."""

    def act(self, lives):
        return [Reply("dance") for _ in lives]


def test_alice_helps_a_student_who_can_do_nothing(known, tmp_path):
    """Every other action is hers: on his states, with what is granted for a trial and known."""
    tasks = [
        Task(f"{trial.name}-{n}", 50 + n, trial.instruction, trial.options, 60, trial.name)
        for trial in suite_of(CRAFTER())
        if trial.name in ("collect_wood", "place_stone", "collect_stone", "wake_up", "place_table")
        for n in range(2)
    ]
    led = play_all(tasks, CRAFTER, watched(known, 1.0, student=Foolish), tmp_path)
    won = [episode.outcome is Outcome.SUCCESS for episode in led]
    assert sum(won) >= 0.8 * len(won), [(e.id, e.outcome) for e in led]
    for episode in led:
        assert all("invalid_action" in t.tags for t in episode.turns if ERROR in t.tags)


def test_what_she_learns_from_him_is_knowledge_of_the_world(episodes, known):
    after = known.copy()
    bare = learned(episodes, after)
    assert after.episodes == known.episodes + len(episodes)
    assert "evidence" not in bare[0].meta
    granted = suite_of(CRAFTER())[0].options  # a trial's items are no vitals to her
    task = Task("g", 3, options={**granted, "inventory": {"wood": 5, "sapling": 1}}, max_turns=3)
    teacher = Guided(functools.partial(GRID.guide, known, ()))
    policy = Corrected(RandomPolicy(), teacher, 0.0, False)
    env = CRAFTER()
    live = SimpleNamespace(task=task, turns=[], memory=None, draw=None)
    live.observation, live.info = env.reset(seed=3, options=task.options)
    live = correct.Live(task, live.observation, live.info, None)
    policy.start([live])
    guide = teacher.guides[id(live)]
    assert set(guide._senses.vitals) == {"health", "food", "drink", "energy"}


def test_episodes_do_not_depend_on_processes_or_on_a_kill(known, tmp_path):
    tasks = free(5, turns=25)
    whole = play_all(tasks, CRAFTER, watched(known, 0.5, width=2), tmp_path / "a")
    assert whole == play_all(
        tasks, CRAFTER, watched(known, 0.5, width=2, workers=2), tmp_path / "b"
    )
    journal = tmp_path / "b/episodes.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:3]) + lines[3][:40])  # killed as it wrote
    again = []
    resumed = play_all(
        tasks, CRAFTER, watched(known, 0.5, width=2), tmp_path / "b", done=again.append
    )
    assert whole == resumed
    assert len(again) == len(tasks)


def test_where_she_knows_no_better_one_sentence_says_so(tmp_path):
    spare = SimpleNamespace(**dict.fromkeys(("params", "world", "bar")))
    her = Embedded(room("anywhere"), spare.params, spare.world, "r001", tmp_path, spare.bar)
    with pytest.raises(UsageError, match=r"cannot correct Bob as he plays.*another method"):
        her.teaches(None)


# what is learnt


def lessons(episodes, tmp_path, turns=0, **own):
    dataset.write_episodes(tmp_path / "episodes.parquet", episodes)
    skills = Skills(open_play=True, open_play_share=1.0, max_turns=4, validation_share=0.1)
    params = SimpleNamespace(step=step.Step(**own), bob=SimpleNamespace(turns=turns), skills=skills)
    return step.lessons(SimpleNamespace(params=params, id="r002", read=lambda kind: tmp_path))


@pytest.fixture(scope="module")
def talk(base):
    return Conversation(load_base(base)[1])


def learnt(talk, rows):
    """Return (what is read, what is learnt) of rows as texts."""
    (packed,) = pack(rows, sum(len(row.ids) for row in rows), 0)
    kept = [token for token in packed.labels if token != IGNORED]
    return talk.decode(packed.input_ids), talk.decode(kept)


def test_a_mistake_is_read_without_loss_and_its_reflection_and_correction_are_learnt(
    episodes, talk, tmp_path
):
    for masked in (True, False):
        said = lessons(episodes, tmp_path, counsel=False, masked=masked)
        assert [skill.name for skill in said.skills] == [CORRECTED] * len(episodes)
        skill = said.skills[0]
        for start, wrong in enumerate(episodes[0].turns[:-1]):
            if ERROR not in wrong.tags or "asleep" in (
                *wrong.tags,
                *episodes[0].turns[start + 1].tags,
            ):
                continue
            pair = dataclasses.replace(skill, turns=skill.turns[start : start + 2])
            read, kept = learnt(talk, list(rows_of(pair, talk, 4096)))
            reflected = pair.turns[1]
            assert wrong.observation.split("\n")[0] in read
            assert f"Action: {wrong.action}" in read
            assert (kept.count("Action:") == 2) is not masked
            assert f"Thought: {reflected.thought}" in kept
            assert kept.strip().endswith(f"Action: {reflected.action}")
            assert reflected.thought.startswith(f"Not {wrong.action} but ")
            break
        else:
            pytest.fail("no mistake")


def test_counsel_that_was_not_followed_is_learnt_where_it_was_given(episodes, talk, tmp_path):
    said = lessons(episodes, tmp_path)
    by_id = {episode.id: episode for episode in episodes}
    counsel = [skill for skill in said.skills if skill.context or len(skill.turns) == 1]
    mistakes = [(e.id, turn) for e in episodes for turn in e.turns if ERROR in turn.tags]
    # The same counsel for the same sight is learnt once of an episode.
    distinct = {(name, turn.observation, *counsel_in(turn)) for name, turn in mistakes}
    assert len(distinct) == len(counsel) < len(mistakes)
    for skill in counsel[:40]:
        there = by_id[skill.episode].turns[skill.end - 1]
        # As many as skills.max_turns, where Bob sees all that fit.
        assert len(skill.turns) == min(4, skill.end)
        assert (skill.turns[-1].thought, skill.turns[-1].action) == counsel_in(there)
        if AIMLESS in there.tags or "asleep" in there.tags:
            continue
        _, kept = learnt(talk, list(rows_of(skill, talk, 4096)))
        assert kept.count("Action:") == 1
        assert kept.strip().endswith(f"Action: {skill.turns[-1].action}")
    one = lessons(episodes, tmp_path, turns=1)
    assert all(len(s.turns) == 1 for s in one.skills if not s.id.endswith(CORRECTED))
    assert said.report["turns"][ERROR] == len(mistakes)
    for skill in said.skills:
        replies = [
            (turn.observation, turn.thought, turn.action)
            for turn in skill.turns
            if skill.id.endswith(CORRECTED) and not {ERROR, AIMLESS} & {*turn.tags}
        ]
        assert len(replies) == len({*replies})


def test_all_of_it_replays_and_what_was_never_seen_is_dropped(episodes, tmp_path):
    skills = lessons(episodes, tmp_path).skills
    kept, dropped = check(skills, episodes, CRAFTER)
    assert (len(kept), dropped) == (len(skills), {})
    counsel = next(skill for skill in skills if len(skill.turns) == 4)
    last = dataclasses.replace(counsel.turns[-1], observation="nowhere")
    first = dataclasses.replace(counsel.turns[0], action="dance")
    for turns in ((*counsel.turns[:-1], last), (first, *counsel.turns[1:])):
        lie = dataclasses.replace(counsel, turns=turns)
        assert check([lie], episodes, CRAFTER) == ([], {"its turns are not its episode's": 1})


def test_of_episodes_with_an_end_to_reach_those_that_failed_give_counsel_alone(episodes, tmp_path):
    lost = [e.evolve(meta={"target": "goal"}, outcome=Outcome.FAILURE) for e in episodes[:1]]
    won = [e.evolve(meta={"target": "goal"}, outcome=Outcome.SUCCESS) for e in episodes[:1]]
    more, fewer = (lessons(some, tmp_path).skills for some in (won, lost))
    assert len(more) == len(fewer) + 1
    assert lessons(lost, tmp_path, counsel=False).skills == []


def test_corrected_play_is_no_expert_and_no_task_to_others(episodes, skills, tmp_path):
    own = lessons(episodes, tmp_path).skills
    dataset.write_skills(tmp_path / "skills/r002.parquet", [*own, *skills[:1]])
    round_ = SimpleNamespace(inherited=lambda kind: tmp_path / kind)
    assert [expert.skill.name for expert in experts_of(round_, SKILLS, [])] == ["wander"]
    round_.world = functools.partial(make, "test_rollout:Line")
    round_.params = SimpleNamespace(explore=SimpleNamespace(max_turns=9))
    round_.id = "r003"
    assert [task.target for task in training_tasks(round_, [5, 6])] == ["wander", "wander"]


@pytest.mark.parametrize("times", [0.0, 1.0, 3.0])
def test_golden_and_corrected_play_share_the_budget_as_asked(times):
    shares = step._shares({"open_play": 0.4, "open_play_again": 0.25}, times)
    own = shares["corrected"] + shares["corrected_again"]
    assert own == pytest.approx(1 / (1 + times))
    assert shares["corrected_again"] / own == pytest.approx(0.25 / 0.65)
    golden = sum(shares.values()) - own + (1 - own) * 0.35  # the rest is for the other skills
    assert golden == pytest.approx(times * own)
    assert step._shares({"open_play": 0.0, "open_play_again": 0.0}, 1.0)["corrected"] == 0.5


# her turns in his context


class Watching(Local):
    """Keeps the logits that each token was drawn from."""

    seen: list

    def _draw(self, logits, lives):
        self.seen.append(logits.clone())
        return super()._draw(logits, lives)


class Nagging:
    """Finds every other turn wrong."""

    def __init__(self, live):
        self.turn = 0

    def counsel(self, live):
        return Counsel("move_left", "collect wood, tree_left")

    def approves(self, live, action, thought):
        self.turn += 1
        return Counsel(action, "on") if self.turn % 2 else None

    def saw(self, live, action):
        pass

    def close(self, live):
        return {}


def test_bob_goes_on_from_what_alice_said_in_his_place(model, crafter):
    """The logits after a correction are those of reading everything anew, her turn for his."""
    network, tokenizer = model
    talk = Conversation(tokenizer)
    bob = Watching(network, talk, context=400, max_new_tokens=6)
    bob.seen = []
    policy = Corrected(bob, Guided(Nagging), 1.0, True)
    (episode,) = play([crafter()], policy, [Task("e", 1, "Collect wood.", max_turns=9)], "crafter")
    corrected = [number for number, turn in enumerate(episode.turns) if CORRECTION in turn.tags]
    assert corrected
    assert not episode.turns[corrected[0]].token_ids
    drawn = iter(bob.seen)
    ids = []
    for number, turn in enumerate(episode.turns):
        ids += (
            talk.next(turn.observation) if number else talk.first("Collect wood.", turn.observation)
        )
        with torch.no_grad():
            whole = network(torch.tensor([ids])).logits[0, -1]
        assert torch.allclose(whole, next(drawn)[0], atol=1e-4)
        if number in corrected:
            hers = f"Thought: {turn.thought}\nAction: {turn.action}"
            ids += talk.reply(hers)
            break
        ids += turn.token_ids
        for _ in range(sum(turn.loss_mask) - 1):
            next(drawn)
    assert "Not " in talk.decode(ids)
    after = episode.turns[corrected[0] + 1]
    ids += talk.next(after.observation)
    with torch.no_grad():
        whole = network(torch.tensor([ids])).logits[0, -1]
    assert any(torch.allclose(whole, logits[0], atol=1e-4) for logits in drawn)


# in a shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALICEBOB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield make("webshop", **SHOP.settings)


def test_in_a_shop_she_goes_by_the_request(shop):
    asked = tasks_of(shop, "train", list(range(20)))
    tasks = [
        Task(f"s{n}", n, words, options, 15, "goal") for n, (words, options) in enumerate(asked)
    ]
    guide = functools.partial(ShopGuide, Memory(), ())
    led = [
        next(play([shop], Corrected(Foolish(), Guided(guide), 1.0, True), [t], "webshop"))
        for t in tasks
    ]
    rewards = [episode.reward for episode in led]
    assert sum(rewards) / len(rewards) > 0.7
    hers = [turn for episode in led for turn in episode.turns if CORRECTION in turn.tags]
    assert {turn.action.partition("[")[0] for turn in hers} == {"search", "click"}
    assert any(turn.thought.endswith("all chosen") for turn in hers)


def test_in_a_shop_what_is_as_good_as_hers_is_right(shop):
    (words, options), *_ = tasks_of(shop, "train", [3])
    text, info = shop.reset(seed=3, options=options)
    live = correct.Live(Task("s", 3, words, options), text, info, None)
    guide = ShopGuide(Memory(), (), live)
    hers = guide.counsel(live)
    assert hers.action.startswith("search[")
    assert "lower than" not in hers.action
    assert guide.approves(live, hers.action.upper().replace("SEARCH", "search"), "")
    assert guide.approves(live, "search[nothing of it]", "") is None
    live.observation, *_, live.info = shop.step(hers.action)
    best = guide.counsel(live)
    assert guide.approves(live, best.action, "") is not None
    links = [a for a in live.info["admissible_actions"] if a.startswith("click[g0ws")]
    assert any(guide.approves(live, link, "") is None for link in links)
    live.observation, *_, live.info = shop.step(best.action)
    chosen = guide.counsel(live)
    assert chosen.action.startswith("click[")
    assert guide.approves(live, "click[< prev]", "") is None


def test_in_a_shop_she_goes_back_only_for_what_the_page_says(shop):
    advice = set()
    for seed, (words, options) in enumerate(tasks_of(shop, "train", list(range(6)))):
        text, info = shop.reset(seed=seed, options=options)
        live = correct.Live(Task("s", seed, words, options), text, info, None)
        guide = ShopGuide(Memory(), (), live)
        live.observation, *_, live.info = shop.step(guide.counsel(live).action)
        cheap = [offer for offer in read(live.observation).offers if _costs(offer.price, words)]
        guide.counsel(live)
        links = [a for a in live.info["admissible_actions"] if a.startswith("click[g0ws")]
        for link in links:
            wrong = guide.approves(live, link, "") is None
            text, *_, info = shop.step(link)
            there = dataclasses.replace(live, observation=text, info=info)
            back = guide.counsel(there).action.lower() == "click[< prev]"
            assert back == (bool(cheap) and not _costs(read(text).price, words))
            advice.add((wrong, back))
            shop.step("click[< prev]")
            guide.counsel(live)
    assert advice == {(True, True), (True, False), (False, False)}


def test_in_a_shop_options_that_are_not_asked_for_are_as_good_as_each_other(shop):
    (words, options), *_ = tasks_of(shop, "train", [3])
    text, info = shop.reset(seed=3, options=options)
    words = f"{words.partition(' with ')[0]}, and price lower than {10**6} dollars"
    text = re.sub("(?<=Instruction: ).*", words, text)
    live = correct.Live(Task("s", 3, words, options), text, info, None)
    guide = ShopGuide(Memory(), (), live)
    text, *_, live.info = shop.step(guide.counsel(live).action)
    live.observation = re.sub("(?<=Instruction: ).*", words, text)
    text, *_, live.info = shop.step(guide.counsel(live).action)
    live.observation = re.sub("(?<=Instruction: ).*", words, text)
    offered = [
        v for values in options_on(read(live.observation), live.info).values() for v in values
    ]
    hers = guide.counsel(live).action
    assert hers.lower() in [f"click[{value}]" for value in offered]  # as she does when she explores
    for action in (*(f"click[{value}]" for value in offered), "click[buy now]"):
        assert guide.approves(live, action, "") is not None
    assert guide.approves(live, "click[description]", "") is None
    _, values = next(iter(options_on(read(live.observation), live.info).items()))
    others = [value for value in offered if value not in values]
    live.observation = live.observation.replace(words, words.replace(",", f" {values[0]},", 1), 1)
    assert guide.counsel(live).action.lower() == f"click[{values[0]}]"  # which is asked for
    assert guide.approves(live, f"click[{values[-1]}]", "") is None
    assert guide.approves(live, "click[buy now]", "") is None
    assert all(guide.approves(live, f"click[{value}]", "") for value in others)
    live.observation = live.observation.replace(f" {values[0]},", ",", 1)
    assert ShopGuide.acting(Memory(), (), live).counsel(live).action.lower() == "click[buy now]"


def _costs(price, words):
    """Whether a price is within what is asked for."""
    return min(prices(price)) <= float(re.search(r"lower than ([\d.]+) dollars", words)[1])


# whole rounds


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "more"), [("laptop", {}), ("webshop", {}), ("laptop", SPOKEN)])
def test_a_round_of_step_goes_on_from_one_of_exif(preset, more, tmp_path):
    corrected = {"prev": "r001", "method": "step", "step": {"golden": 2.0}, **more}
    rounds = {"r001": {"prev": "r000"}, "r002": corrected}
    tiny_rounds().lay_out(tmp_path, preset, more={"rounds": rounds})
    assert repro(tmp_path)[-1] == "feedback@r002"
    assert repro(tmp_path) == []
    report = json.loads((tmp_path / "data/skills/r002/report.json").read_text())
    assert report["dropped"] == {}
    assert report["skills"][CORRECTED] == report["kept"] > 0
    metrics = json.loads((tmp_path / "metrics/r002.json").read_text())
    assert metrics["budget"]["explore.prompt_tokens"] > 0
    told = json.loads((tmp_path / "data/episodes/r002/report.json").read_text()).get("correct")
    if more:  # whatever she says, who knows nothing
        asked = metrics["budget"]["explore.env_steps"]
        assert sum(report["turns"].values()) == told["asked"] == asked
        assert report["turns"].get(UNJUDGED, 0) == told["rejected"] < asked
        return
    assert told is None
    assert report["turns"][ERROR] > 0
    rows = json.loads((tmp_path / "models/bob/r002/report.json").read_text())["rows at hand"]
    kinds = {kind.split()[0] for kind in rows}
    assert kinds > {CORRECTED}  # and her own skills
