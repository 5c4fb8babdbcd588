import functools
import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from scripted import serving
from test_webshop import ENTRY, HOSTILE, lay_out, walk

from alicebob import make
from alicebob.alice.embedded import explore
from alicebob.alice.model.explore import Watched
from alicebob.alice.model.label import relabel
from alicebob.alice.room import room
from alicebob.alice.shop import ROOM
from alicebob.alice.shop.advise import advise
from alicebob.alice.shop.explore import Shopper
from alicebob.alice.shop.judge import PARTS, judge
from alicebob.alice.shop.label import label, names, reworded
from alicebob.alice.shop.memory import Memory
from alicebob.alice.shop.reading import Offer, options_on, read
from alicebob.alice.shop.think import bare, think
from alicebob.alice.validity import check
from alicebob.bob.rows import rows_of
from alicebob.bob.tiny import RandomPolicy, build_tokenizer
from alicebob.envs import World
from alicebob.envs.hooks import actions_of, room_of, score_of, task_free, tasks_of
from alicebob.envs.webshop.goals import split_of
from alicebob.errors import DamagedData, UnknownName, UsageError
from alicebob.evaluation import report, tasks
from alicebob.policies import Task
from alicebob.policies.chat import ServedChat
from alicebob.policies.constraint import Choices
from alicebob.policies.conversation import Conversation
from alicebob.policies.endpoint import Endpoint
from alicebob.policies.models import load_base
from alicebob.rollout import play
from alicebob.trace import INTENT, Outcome

SETTINGS = {"catalogue": "generated:600", "observation": "text_rich", "tagger": "content-words"}
WORLD = World("webshop", SETTINGS)
PERSONAS = ("I hike in the snow.", "I cook every day.", "My skin is dry.", "I work at home.")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALICEBOB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def shop():
    return make("webshop", **SETTINGS)


def shopping(folder, count=60, wishes=None, memory=None, settings=SETTINGS, personas=PERSONAS):
    world = World("webshop", settings)
    env = world()
    chosen = [
        Task(f"r001-explore-{n:04d}", n, "", task_free(env, personas[n % len(personas)]), 15)
        for n in range(count)
    ]
    return explore(ROOM, world, memory or Memory(), wishes or {}, chosen, 10, folder)


def thought(episodes):
    """Return the skills of episodes, with their thoughts."""
    return [think(skill) for skill in label(episodes, "r001")]


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    return shopping(tmp_path_factory.mktemp("explored"))


# what she reads


@pytest.mark.parametrize("observation", ["text", "text_rich", "compact"])
def test_a_page_is_read_as_it_is(observation):
    env = make("webshop", **SETTINGS | {"observation": observation, "limit": 100})
    kinds = Counter()
    for seed in range(6):
        for *_, text, _reward, _over, _cut, info in [s for s in walk(env, seed) if len(s) == 6]:
            page = read(text)
            if info["page"] == "done":
                assert page is None
                continue
            kinds[page.kind] += 1
            assert (page.kind, page.told) == (info["page"], env.goal.instruction)
            links = [a for a in info["admissible_actions"] if a.startswith("click[g0ws")]
            assert [f"click[{o.asin.lower()}]" for o in page.offers] == links
            if page.kind == "item":
                product = env.catalogue[env.catalogue.number(info["product"])]
                assert page.price == f"Price: {product.price_tag}"
                assert product.title.startswith(page.title)
    assert set(kinds) == {"index", "results", "item", "sub_page"}
    assert read("nothing of the kind") is None


def test_a_choice_stands_alone_on_a_compact_page_and_alice_forgets_nothing(tmp_path):
    settings = SETTINGS | {"observation": "compact"}
    env = make("webshop", **settings)
    env.reset(seed=1, options={"persona": "I need light."})
    env.step("search[desk lamp]")
    link = next(a for a in env.step("click[next >]")[-1]["admissible_actions"] if "g0ws" in a)
    text, *_, info = env.step(link)
    before = options_on(read(text), info)
    name, value = next((name, values[-1]) for name, values in before.items())
    text, *_, info = env.step(f"click[{value}]")
    assert f"\nchosen {name}: {value}\n" in f"{text}\n"
    assert options_on(read(text), info) == before | {name: [value]}
    _, memory = shopping(tmp_path, 20, settings=settings)
    opened = [known.options for known in memory.products.values() if known.options]
    assert len(opened) > 10
    assert all(len(values) > 1 for groups in opened for values in groups.values())


def test_kinds_of_things_and_qualities_are_found_in_what_titles_share():
    memory = Memory()
    for number, title in enumerate(
        [
            "Acme Pro Running Shoes, Waterproof, for snow",
            "Bolt Lite Running Shoes, Waterproof, Wide Fit",
            "Core Max Running Shoes, for the gym",
            "Acme Desk Lamp, Wide Fit",
        ]
    ):
        memory.see(Offer(f"B{number:09d}", title, "$5"))
    things = memory.things()
    assert set(things) == {"running shoes", "lamp"}
    assert len(things["running shoes"]) == 3
    shared = memory.qualities()
    assert (shared["waterproof"], shared["wide fit"]) == (2, 2)
    assert memory.products["B000000001"].qualities(shared) == ["waterproof", "wide fit"]


# what she does


def test_she_buys_something_new_each_time_the_same_in_any_run(explored, tmp_path):
    episodes, memory = explored
    again, same = shopping(tmp_path)
    assert [e.to_json() for e in again] == [e.to_json() for e in episodes]
    assert same.to_json() == memory.to_json()
    assert all(e.turns[-1].events == ("bought",) for e in episodes)
    assert "progress" not in episodes[0].summary  # there is no goal to come near to
    assert len({e.summary["result"]["asin"] for e in episodes}) > 35
    assert memory.episodes == memory.events["bought"] == len(episodes)
    assert sum(known.bought for known in memory.products.values()) == len(episodes)
    assert len(memory.things()) > 20


def test_another_seed_is_another_shopping_trip(shop):
    def actions(seed):
        task = Task("r001-explore-0000", seed, options=task_free(shop, "I hike."), max_turns=15)
        (episode,) = play([shop], Shopper(), [task], "webshop")
        return episode.actions

    assert actions(1) == actions(1)
    assert len({tuple(actions(seed)) for seed in range(8)}) > 4


def test_a_memory_is_kept_whole_and_merges_in_any_order(explored, tmp_path):
    _, memory = explored
    memory.save(tmp_path / "knowledge.json")
    assert Memory.load(tmp_path / "knowledge.json") == memory
    one, other = Memory(), Memory()
    one.see(Offer("B000000001", "Lamp", "$1"))
    one.close(["bought"], "B000000001")
    other.see(Offer("B000000002", "Desk", "$1"))
    other.products["B000000001"] = replace(one.products["B000000001"], lines=("bright",))
    first, second = one.copy(), other.copy()
    first.merge(other)
    second.merge(one)
    assert first.to_json() == second.to_json()
    (tmp_path / "knowledge.json").write_text('{"episodes": 1}')
    with pytest.raises(DamagedData, match=r"knowledge\.json does not hold"):
        Memory.load(tmp_path / "knowledge.json")


def test_wishes_tilt_what_she_looks_for(explored, tmp_path):
    _, memory = explored
    thing = min(memory.things())

    def share(wishes, folder):
        episodes, _ = shopping(tmp_path / folder, 30, wishes, memory.copy())
        return sum(thing in e.turns[-1].tags[0] for e in episodes) / 30

    assert share({thing: 9.0}, "with") > 0.6 > 0.2 > share({}, "without")


def test_she_says_where_she_cannot_shop(crafter):
    with pytest.raises(UsageError, match="no pages"):
        next(play([crafter()], Shopper(), [Task("a", 1)], "crafter"))
    assert room_of(crafter()) == "grid"
    assert room(room_of(make("webshop", **SETTINGS))) is ROOM


def test_whoever_explores_her_memory_grows(shop):
    task = Task("a", 3, options=task_free(shop, "I like tea."), max_turns=12)
    policy = Watched(RandomPolicy(), functools.partial(ROOM.watch, ROOM.memory()))
    (episode,) = play([shop], policy, [task], "webshop")
    memory = Memory.from_json(episode.meta["evidence"])
    assert memory.episodes == 1
    assert len(memory.products) >= 1


# what she writes down


def test_what_was_bought_becomes_a_request_that_buying_it_again_fulfils(explored):
    episodes, _ = explored
    skills = thought(episodes)
    held_out = [e for e in episodes if e.summary["result"]["held_out"]]
    assert 30 < len(skills) <= len(episodes) - len(held_out)
    kept, dropped = check(skills, episodes, WORLD)
    assert len(kept) >= 0.85 * len(skills), dropped
    by_id = {episode.id: episode for episode in episodes}
    for skill in kept:
        goal = skill.options["goal"]
        assert split_of(goal["asin"]) == "train"
        assert (skill.turns[-1].reward, skill.turns[-1].events[-1]) == (1.0, "goal")
        persona = by_id[skill.episode].options["persona"]
        for turn in skill.turns:
            assert skill.instruction in turn.observation
            assert persona not in turn.observation
        # A request names nothing that she had not read or typed.
        turns = by_id[skill.episode].turns
        seen = " ".join(f"{turn.observation} {turn.action}" for turn in turns).lower()
        said, *_ = re.split(r" with |, and price", skill.instruction.removeprefix("Find me "))
        assert all(word.strip(",") in seen for word in said.lower().split())
        assert all(value in seen for value in goal["options"].values())


def test_options_are_searched_for_and_the_purchase_has_them(explored):
    episodes, memory = explored
    skills = thought(episodes)
    named = [skill for skill in skills if skill.options["goal"]["options"]]
    assert len(named) > 0.9 * len(skills)
    for skill in named:
        listed = ", and ".join(f"{n}: {v}" for n, v in skill.options["goal"]["options"].items())
        assert skill.turns[0].action.endswith(f" with {listed}]")
        assert f" with {listed}, and price" in skill.instruction
    assert any(known.options for known in memory.products.values())
    # Where the purchase lacks what the search named, the search does not explain it.
    episode = next(e for e in episodes if e.id == named[0].episode)
    result = {**episode.summary["result"], "options": {}}
    other = replace(episode, summary={**episode.summary, "result": result})
    assert label([episode], "r001")
    assert label([other], "r001") == []
    # Where it has one that the search did not name, the thought does not say so.
    first = named[0].turns[0]
    assert first.thought == "all that is asked"
    words = first.action[len("search[") :].partition(" with ")[0]
    turns = [*episode.turns]
    turns[named[0].start] = replace(turns[named[0].start], action=f"search[{words}]")
    (less,) = thought([replace(episode, turns=tuple(turns))])
    assert less.turns[0].thought == words


def test_what_a_turn_was_for_goes_once_it_has_a_thought_or_shall_have_none(explored):
    episodes, _ = explored
    cut = label(episodes, "r001")
    assert all(turn.tags[0].startswith(INTENT) for skill in cut for turn in skill.turns)
    assert not any(turn.thought for skill in cut for turn in skill.turns)
    silent = [bare(skill) for skill in cut]
    assert not any(turn.tags or turn.thought for skill in silent for turn in skill.turns)
    told = [think(skill) for skill in cut]
    assert {skill.turns[-1].thought for skill in told} == {"all chosen"}
    chosen = [turn for skill in told for turn in skill.turns[2:-1]]
    assert len(chosen) > 30
    assert all(turn.thought.endswith(f": {turn.action[len('click[') : -1]}") for turn in chosen)
    without = [tuple(replace(turn, thought="") for turn in skill.turns) for skill in told]
    assert without == [skill.turns for skill in silent]


def test_a_skill_that_was_tampered_with_is_dropped(explored):
    episodes, _ = explored
    skill = check(thought(episodes), episodes, WORLD)[0][0]
    first, *rest = skill.turns
    cheap = {"goal": {**skill.options["goal"], "price_upper": 0.5}}
    wrong = [
        replace(skill, turns=(replace(first, action="search[gold]"), *rest)),
        replace(skill, id="b", turns=(replace(first, observation="WebShop"), *rest)),
        replace(skill, id="c", options=cheap),
    ]
    kept, dropped = check(wrong, episodes, WORLD)
    assert kept == []
    assert set(dropped) == {
        "its turns are not its episode's",
        "the replay shows another observation",
        "the replay has other events",
    }


def test_another_instruction_stands_on_the_pages_too(explored):
    episodes, _ = explored
    skill = check(thought(episodes), episodes, WORLD)[0][0]
    other = reworded(skill, "I need that one, please.")
    assert all("I need that one, please." in turn.observation for turn in other.turns)
    assert check([other], episodes, WORLD)[0] == [other]


def test_a_language_model_writes_the_request_and_the_rest_holds(explored, tmp_path):
    episodes, _ = explored
    skills = check(thought(episodes), episodes, WORLD)[0][:4]
    said = 'My "dream" is one of these.'
    with serving(answer=lambda body: json.dumps({"instruction": said})) as server:
        talk = ServedChat(Endpoint(server.url, "m", concurrency=2))
        told, tally = relabel(skills, talk, tmp_path / "i.jsonl", ROOM.reworded)
        asked = [body["messages"][0]["content"] for _, _, body in server.requests]
    assert tally.rejected == 0
    # She is shown what was done, and not the words that the rule found for it.
    assert not any(skill.instruction in question for skill in skills for question in asked)
    assert {skill.instruction for skill in told} == {said}
    assert check(told, episodes, WORLD)[0] == told
    assert not names(told[0])
    assert names(skills[0])


def test_human_goals_get_requests_as_people_put_them(tmp_path):
    settings = SETTINGS | {"goals": "human"}
    episodes, _ = shopping(tmp_path, 20, settings=settings)
    skills = thought(episodes)
    kept, _ = check(skills, episodes, World("webshop", settings))
    assert len(kept) >= 0.85 * len(skills) > 5
    assert not any(skill.instruction.startswith("Find me") for skill in skills)


# how Bob is tried, and what she says of it


def test_goals_are_given_by_split_and_none_twice(shop):
    test = tasks_of(shop, "test", range(40))
    assert test == tasks_of(shop, "test", range(40))
    assert len({json.dumps(options) for _, options in test}) == 40
    products = {}
    for split in ("train", "validation", "test"):
        products[split] = set()
        for told, options in tasks_of(shop, split, range(40)):
            shop.reset(seed=1, options=options)
            assert shop.goal.instruction == told
            products[split].add(shop.goal.asin)
            assert split_of(shop.goal.asin) == split
    assert not products["train"] & (products["validation"] | products["test"])
    with pytest.raises(UnknownName, match="split"):
        shop.reset(options={"split": "tset"})
    assert actions_of(shop)[0] == "search[words]"
    assert score_of(shop)({"reward": 0.5, "bought": 1.0}) == 50.0


class Scripted:
    """Searches the instruction, opens the first product, and ends as the script says."""

    def __init__(self, *script):
        self.script = script

    def start(self, wave):
        pass

    def finish(self, live):
        return {}

    def act(self, lives):
        return [self.one(live) for live in lives]

    def one(self, live):
        from alicebob.policies import Reply

        turn = len(live.turns)
        if turn == 0 and self.script[0] == "search":
            return Reply(f"search[{live.task.instruction}]")
        if turn == 1 and self.script[0] == "search":
            links = [a for a in live.info["admissible_actions"] if a.startswith("click[g0ws")]
            return Reply(links[0])
        rest = self.script[2:] if self.script[0] == "search" else self.script
        return Reply(rest[min(turn - 2 * (self.script[0] == "search"), len(rest) - 1)])


def tried(shop, *script, count=8):
    class Amount:
        worlds, open_play, max_turns, hopeless = 1, count, 8, 0

    chosen = tasks("validation", shop, Amount, 1, range(1000, 2000), "r001")
    return [e for task in chosen for e in play([shop], Scripted(*script), [task], "webshop")]


def test_every_failure_gets_its_reason_and_the_figures_their_shares(shop):
    def reasons(*script):
        return Counter(v.reason for v in judge(tried(shop, *script), Memory()))

    assert set(reasons("click[nonsense]")) == {"invalid"}
    assert set(reasons("search[lamp]")) <= {"loop", "never_bought", "invalid"}
    bought = tried(shop, "search", "open", "click[buy now]")
    assert all(e.outcome in (Outcome.SUCCESS, Outcome.FAILURE) for e in bought)
    found = Counter(v.reason for v in judge(bought, Memory()))
    assert found["missed_option"] >= 4
    assert set(found) <= {"", "missed_option", "wrong_kind", "wrong_product", "over_price"}
    figures = report(bought, score_of(shop))
    play_figures = figures["open_play"]
    assert figures["skills"]["success"]["n"] == 0
    assert play_figures["success"]["n"] == play_figures["reward"]["n"] == 8
    assert play_figures["score"]["mean"] == pytest.approx(100 * play_figures["reward"]["mean"])
    assert play_figures["reward"]["mean"] == play_figures["progress"]["mean"]
    assert play_figures["by_event"]["bought"]["mean"] == 1.0


def test_feedback_wishes_for_what_is_missed_and_cites_it(shop, explored):
    _, memory = explored
    episodes = tried(shop, "search", "open", "click[buy now]", count=30)
    found = judge(episodes, memory)
    written = advise("r001", found, episodes, memory, {"buy": 7})
    assert written.skills["bought"]["succeeded"] == 30
    assert written.skills["options"]["succeeded"] < 10
    assert written.skills["options"]["failure"] == "missed_option"
    parts = [weight for name, weight in written.explore.items() if name in PARTS]
    assert written.explore["options"] == max(parts)
    assert sum(written.explore.values()) == pytest.approx(1.0, abs=1e-3)
    assert any(name in memory.things() for name in written.explore)
    assert written.skills["options"]["evidence"][0] in written.prose
    assert "shown 7 purchases" in written.prose


# hostile texts


def test_hostile_texts_change_no_mask_and_no_report(tmp_path):
    entries = [
        ENTRY
        | {
            "asin": f"H00000000{n}",
            "name": f"Lamp {HOSTILE} number {n}" + "y" * 100_000 * (n == 1),
            "full_description": HOSTILE,
            "small_description": [HOSTILE, "| **bold** | <img src=x>"],
            "customization_options": {"Color": [{"value": f"red {HOSTILE}"}, {"value": "blue"}]},
        }
        for n in range(1, 9)
    ]
    told = {
        entry["asin"]: {
            "attributes": ["bright"],
            "instruction": f"Find me <|end|> lamps `{HOSTILE}`",
            "instruction_attributes": ["bright"],
        }
        for entry in entries
    }
    settings = {
        "catalogue": str(lay_out(tmp_path / "hostile", *entries, attributes=told)),
        "observation": "text_rich",
        "tagger": "content-words",
    }
    episodes, memory = shopping(
        tmp_path / "journals", 12, settings=settings, personas=("I read by a lamp.",)
    )
    assert all(e.turns[-1].events == ("bought",) for e in episodes)
    tokenizer = build_tokenizer(["Find me a lamp <|end|>"] * 9, ["lamp"], 400)
    conversation = Conversation(tokenizer)
    end = conversation.end[-1]
    skills = thought([replace_held(e) for e in episodes])
    assert skills
    kept, _ = check(skills, [replace_held(e) for e in episodes], World("webshop", settings))
    assert kept
    for skill in kept:
        for row in rows_of(skill, conversation, 10**6, 1):
            learnt = [i for i, m in zip(row.ids, row.mask, strict=True) if m]
            assert learnt.count(end) == row.ids.count(end) == 1  # the end of the one reply
            assert learnt == list(row.ids[-len(learnt) :])
    env = make("webshop", **settings)
    shown = [
        e.evolve(meta={"target": "goal"}, instruction=HOSTILE)
        for e in play([env], RandomPolicy(), [Task("r001-x", 1, max_turns=15)], "webshop")
    ]
    written = advise("r001", judge(shown, memory), shown, memory, {})
    assert not set(written.prose) & set("\x1b\x00<|")
    assert len(written.prose) < 3000


def replace_held(episode):
    """Return an episode whose purchase may be learnt from, whatever its split."""
    result = {**episode.summary["result"], "held_out": False}
    return episode.evolve(summary={**episode.summary, "result": result})


# what the base reads


def test_random_play_fills_in_words_of_the_page(shop):
    (told, options), *_ = tasks_of(shop, "train", [5])
    (episode,) = play([shop], RandomPolicy(), [Task("b", 5, told, options, 15)], "webshop")
    first = episode.turns[0].action
    assert first.startswith("search[")
    assert first[len("search[") : -1] in " ".join(episode.turns[0].observation.split())
    assert not any("invalid_action" in turn.tags for turn in episode.turns)


def test_a_constrained_search_is_free_and_everything_else_is_not(base):
    _, tokenizer = load_base(base)
    choices = Choices(Conversation(tokenizer), 60)
    actions = ("search[...]", "click[Buy Now]")

    def texts(tail):
        return {tokenizer.decode([i]) for i in choices.left(tail, actions) or ()}

    assert {text.strip()[:1] for text in texts("")} <= {"s", "c", ""}
    assert texts(" search[") == texts(" search[a lamp") == texts(" search[]") == set()
    space = choices.left(" click[", ("click[next >]",))
    assert " " in {tokenizer.decode([i]) for i in space}
    again = choices.left(" click[", ("click[next >]",), spaced=True)
    assert not any(tokenizer.decode([i]).startswith(" ") for i in again)
    end = [Conversation(tokenizer).end[-1]]
    assert choices.left(" search[a lamp]", actions) == end
    for tail in (" search[]", " search[a lamp"):  # the first bracket is what is searched for
        (close,) = choices.left(tail, actions, room=3)
        assert tokenizer.decode([close]) == "]"
    assert choices.left(" search[]]", actions, room=2) == end
    assert all("Buy Now]".startswith(text.lstrip()) for text in texts(" click["))
