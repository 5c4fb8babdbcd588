"""Learn-by-interact: from documents to tasks, to play, to examples that are learnt or looked up."""

import dataclasses
import functools
import json
import pickle
import re
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from ruamel.yaml import YAML
from scripted import serving
from test_plan import write
from test_retrieval import tiny  # noqa: F401 - a fixture
from test_rounds import repro, tiny_rounds

from alicebob import dataset, evaluation
from alicebob.alice import Alice, backward, committee, propose
from alicebob.alice.embedded import attempt
from alicebob.alice.model import propose as model_propose
from alicebob.alice.model.backward import told_afterwards
from alicebob.alice.model.committee import judged
from alicebob.alice.model.query import asking
from alicebob.alice.query import plainly
from alicebob.alice.room import room
from alicebob.alice.validity import check
from alicebob.bob.fitting import check_room
from alicebob.bob.references import HEAD, References, shelf
from alicebob.envs import World
from alicebob.envs.hooks import documents_of, has_goals, tasks_of
from alicebob.errors import UsageError
from alicebob.experiment import plan
from alicebob.experiment.estimate import estimate
from alicebob.experiment.params import load_params
from alicebob.methods import method
from alicebob.methods.learn_by_interact import VERDICTS, looking_up
from alicebob.policies import Live, Task
from alicebob.policies.chat import ServedChat
from alicebob.policies.conversation import Conversation
from alicebob.policies.endpoint import Endpoint
from alicebob.policies.local import Local
from alicebob.retrieval.documents import Document, read_documents
from alicebob.rollout import play
from alicebob.settings import Skills
from alicebob.trace import INVALID, REFERENCE, Episode, Outcome, Turn

CRAFTER = World("crafter", {"observation": "compact", "limit": "balrog"})
SHOP = World("webshop", {"catalogue": "generated:600", "observation": "compact"})


def walk(count, **changes):
    turns = tuple(Turn(f"here {n}", f"go {n}") for n in range(count))
    return Episode(
        "e", "world", 3, "Walk.", turns=turns, final=f"here {count}", outcome=Outcome.FAILURE
    ).evolve(**changes)


# documents and tasks


@pytest.mark.parametrize("world", [CRAFTER, SHOP])
def test_the_documents_of_a_world_name_tasks_and_none_comes_twice(world, monkeypatch, tmp_path):
    monkeypatch.setenv("ALICEBOB_CACHE", str(tmp_path))
    env = world()
    documents = read_documents(Path(documents_of(env)))
    found = propose.named(documents, 3, env, range(200), 30)
    tasks = propose.different(found)
    assert len(documents) + 3 < len(tasks) <= len(found) <= 3 * len(documents)
    assert len({task.instruction for task in tasks}) == len(tasks)
    assert max(task.max_turns for task in tasks) <= 30
    if has_goals(env):
        train = {told for told, _ in tasks_of(env, "train", range(200))}
        assert {task.instruction for task in tasks} <= train


def test_a_document_names_what_it_speaks_of_and_nothing_else():
    iron = Document("a", "How to make an iron pickaxe.")
    assert [t.name for t in propose.named([iron], 1, CRAFTER(), (), 9)] == ["make_iron_pickaxe"]
    with pytest.raises(UsageError, match="names nothing that this environment has"):
        propose.named([Document("b", "Of the sea.")], 3, CRAFTER(), (), 9)


def test_tasks_in_the_same_words_are_one():
    tasks = [SimpleNamespace(instruction=t) for t in ("Collect wood.", "collect  the wood", "Eat.")]
    assert [t.instruction for t in propose.different(tasks)] == ["Collect wood.", "Eat."]


# stretches


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_n_turns_have_n_times_n_plus_1_by_2_stretches(count):
    found = list(backward.stretches(walk(count), 100))
    assert len(found) == count * (count + 1) // 2
    assert len({(each.start, each.end) for each in found}) == len(found)
    assert all(0 <= each.start < each.end <= count for each in found)
    bound = list(backward.stretches(walk(count), 3))
    assert [b for b in found if b.end - b.start <= 3] == bound


def test_repeats_go_once_and_what_is_held_out_goes():
    turns = [Turn("a", "x"), Turn("a", "x"), Turn("b", "y"), Turn("a", "x")]
    episode = walk(0, turns=tuple(turns), summary={"result": {"held_out": True}})
    kept, lost = backward.sift(list(backward.stretches(episode, 9)))
    steps = [[turn.action for turn in each.turns] for each in kept]
    assert steps == [["x"], ["x", "y"], ["y"]]
    # 0-2, 0-3, 0-4 have the step twice in a row; 1-2 is 0-1 again; four end at the end.
    assert lost == {
        "another did the same": 1,
        "it ends in what is held out": 4,
        "it repeats a step": 2,
    }


def test_both_instructions_of_a_stretch_say_what_was_done_and_what_came_of_it():
    turns = [
        Turn("a", "move_left"),
        Turn("b", "move_left"),
        Turn("c", "do", events=("collect_wood",)),
        Turn("d", "place_table", events=("place_table",)),
    ]
    episode = walk(0, turns=tuple(turns))
    labels = {("e", 3): [("collect_wood", "Get wood.")], ("e", 4): [("place_table", "Put it.")]}
    whole, part, start = (backward.Stretch(episode, *ends) for ends in ((0, 4), (1, 3), (0, 2)))
    said = "Move left, 2 times; then do (collect wood); then place table (place table)."
    assert backward.replicate(whole) == said
    assert backward.task(whole, labels) == ("place_table", "Get wood. Then put it.")
    assert backward.task(part, labels) == ("collect_wood", "Get wood.")
    assert backward.task(start, labels) == ("", "")


def test_a_success_without_a_label_is_what_it_was_told_and_a_failure_is_nothing():
    won = walk(2, outcome=Outcome.SUCCESS, meta={"target": "goal"})
    assert backward.labels_of([won], []) == {("e", 2): [("goal", "Walk.")]}
    assert backward.labels_of([walk(2)], []) == {}


def test_a_page_that_shows_the_request_shows_the_new_one_and_still_replays(tmp_path, monkeypatch):
    monkeypatch.setenv("ALICEBOB_CACHE", str(tmp_path / "cache"))
    shop = room("shop")
    (told, options), *_ = tasks_of(SHOP(), "train", [3])
    tasks = [Task("s", 3, told, options, 15, "goal")]
    (episode,), _ = attempt(shop, SHOP, shop.memory(), tasks, 20, tmp_path / "plays")
    stretch = backward.Stretch(episode, 0, 2)
    skill = stretch.skill("r001", backward.REPLICATE, "Do it again.")
    assert "Instruction: Do it again." in skill.turns[0].observation
    assert check([skill], [episode], SHOP) == ([skill], {})
    lie = dataclasses.replace(skill, instruction="Something else.")
    assert check([lie], [episode], SHOP)[1] == {"its turns are not its episode's": 1}


# the committee


def test_the_committee_is_unanimous_or_the_skill_goes():
    assert committee.unanimous({"a": "", "b": ""})
    assert not committee.unanimous({"a": "", "b": "no"})
    assert not committee.unanimous({"a": ""})  # one judge is no committee


@pytest.mark.parametrize(
    ("turns", "final", "judge"),
    [
        ([Turn("a", "x"), Turn("b", "y")], "b", "aligned"),
        ([Turn("a", "x"), Turn("b", "y", tags=(INVALID,))], "c", "coherent"),
        ([Turn("a", "x")], "b", "natural"),
        ([Turn("a", "x"), Turn("b", "y"), Turn("a", "z")], "c", "reasonable"),
        ([Turn("a", "x"), Turn("b", "y")], "c", ""),
    ],
)
def test_each_judge_has_its_reason(turns, final, judge):
    stretch = backward.Stretch(walk(0, turns=tuple(turns), final=final), 0, len(turns))
    skill = stretch.skill("r001", backward.REPLICATE, "Again.")
    found = committee.verdicts(skill, stretch)
    assert set(found) == set(committee.JUDGES)
    assert judge in (*(name for name, why in found.items() if why), "")
    assert committee.unanimous(found) is not bool(judge)
    (line,) = committee.lines([skill], [found]).splitlines()
    row = json.loads(line)
    assert (row["skill"], row["kept"]) == (skill.id, not judge)
    assert row["verdicts"] == found


# Alice plays


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """What Alice did about tasks of documents, from no knowledge at all."""
    grid = room("grid")
    documents = read_documents(Path(documents_of(CRAFTER())))
    posed = propose.different(propose.named(documents, 3, CRAFTER(), (), 60))
    tasks = [
        Task(f"p-{n}", 70 + n, t.instruction, t.options, 60, t.name)
        for n, t in enumerate(posed[:12])
    ]
    return attempt(grid, CRAFTER, grid.memory(), tasks, 4, tmp_path_factory.mktemp("played"))


def test_alice_carries_tasks_out_and_learns_from_it(played, tmp_path):
    episodes, memory = played
    assert {Outcome.SUCCESS, Outcome.TURN_LIMIT} <= {e.outcome for e in episodes}
    assert memory.episodes == len(episodes)
    assert any(turn.thought for episode in episodes for turn in episode.turns)


def test_where_her_room_has_no_way_of_its_own_she_explores_with_a_wish(tmp_path):
    anywhere, door = room("anywhere"), World("textworld:Door")
    tasks = [Task(f"t-{n}", n, "Open the door.", {}, 6, "open_door") for n in range(12)]
    episodes, memory = attempt(anywhere, door, anywhere.memory(), tasks, 4, tmp_path)
    assert [e.outcome for e in episodes[-4:]] == [Outcome.SUCCESS] * 4
    assert memory.episodes == len(tasks)
    assert not any("intent:" in tag for e in episodes for t in e.turns for tag in t.tags)


def skills_of(episodes, longest=6):
    params = SimpleNamespace(
        skills=Skills(open_play=False, open_play_share=1.0, max_turns=30, validation_share=0.1),
        alice=SimpleNamespace(),
    )
    labels = backward.labels_of(episodes, room("grid").label(episodes, "r001", CRAFTER, params))
    found = [s for e in episodes for s in backward.stretches(e, longest)]
    skills = []
    for each in backward.sift(found)[0]:
        skills.append(each.skill("r001", backward.REPLICATE, backward.replicate(each)))
        name, told = backward.task(each, labels)
        skills += [each.skill("r001", name, told)] if name else []
    return skills


@pytest.fixture(scope="module")
def pool(played, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    dataset.write_skills(folder / "r001.parquet", skills_of(played[0]))
    return folder


def test_all_stretches_replay_and_failures_are_kept(played, pool):
    episodes, skills = played[0], dataset.read_skills(pool)
    assert check(skills, episodes, CRAFTER) == (skills, {})
    failed = {e.id for e in episodes if e.outcome is not Outcome.SUCCESS}
    assert failed & {skill.episode for skill in skills}
    assert len({skill.name for skill in skills}) > 2


# looking up


def live_of(skill, told="Collect wood."):
    return Live(Task("t", 1, told), skill.turns[0].observation, {}, None)


@pytest.fixture(scope="module")
def embedder(tiny):  # noqa: F811
    return str(tiny)


@pytest.fixture(scope="module")
def talk(base):
    from alicebob.policies.models import load_base

    return Conversation(load_base(base)[1])


def references(mode, pool, talk, embedder, spare, tokens=10_000, most=5):
    books = shelf(pool, mode, most, tokens, embedder, spare)
    return References(books, plainly if mode in ("model", "both") else None, talk)


@pytest.mark.parametrize("mode", ["instruction", "observation", "model", "both"])
def test_each_mode_looks_up_what_it_says(mode, pool, talk, embedder, tmp_path):
    refer = references(mode, pool, talk, embedder, tmp_path)
    skills = dataset.read_skills(pool)
    wanted = next(skill for skill in skills if skill.name != backward.REPLICATE)
    live = live_of(wanted, wanted.instruction)
    found = refer.found(live, wanted.instruction)
    assert 0 < len(found) <= (10 if mode == "both" else 5)
    spans = [(skills[n].episode, skills[n].start, skills[n].end) for n in found]
    assert len(set(spans)) == len(spans)  # nothing twice, also of the two kinds
    if mode in ("observation", "both"):
        assert skills[found[0]].turns[0].observation == live.observation
    if mode == "instruction":
        elsewhere = dataclasses.replace(live, observation="nothing that is anywhere")
        assert skills[found[0]].instruction == wanted.instruction
        assert refer.found(elsewhere, wanted.instruction) == found
    assert refer.found(live, wanted.instruction) == found


def test_what_is_shown_keeps_to_the_tokens(pool, talk, embedder, tmp_path):
    skills = dataset.read_skills(pool)
    live = live_of(skills[0])
    wide = references("observation", pool, talk, embedder, tmp_path)([live], [10_000])[0]
    assert len(wide.tags) == 5
    assert all(tag.startswith(REFERENCE) for tag in wide.tags)
    for tokens in (60, 150, 300):
        refer = references("observation", pool, talk, embedder, tmp_path, tokens)
        (shown,) = refer([live], [10_000])
        assert len(talk.plain(shown.text)) <= tokens
        assert len(shown.tags) < 5
        (none,) = refer([live], [10])
        assert none.text == ""
    (some,) = references("observation", pool, talk, embedder, tmp_path, 300)([live], [999])
    assert some.tags


class Looking(Local):
    """Keeps the prompts that were read."""

    def _write(self, rows, prompts):
        written = super()._write(rows, prompts)
        for row, ids in zip(rows, written, strict=True):
            self.seen.append((list(row.cached[: len(row.cached) - len(ids) + 1]), row.told))
        return written


@pytest.mark.parametrize("turns", [0, 1])
def test_bob_reads_at_every_turn_what_is_like_that_turn(turns, pool, model, embedder, tmp_path):
    network, tokenizer = model
    talk = Conversation(tokenizer)
    refer = references("observation", pool, talk, embedder, tmp_path, tokens=200)
    bob = Looking(network, talk, context=512, turns=turns, max_new_tokens=6, refer=refer)
    bob.seen = []
    (episode,) = play([CRAFTER()], bob, [Task("e", 71, "Collect wood.", max_turns=5)], "crafter")
    assert len({turn.tags for turn in episode.turns}) > 1
    assert any(tag.startswith(REFERENCE) for turn in episode.turns for tag in turn.tags)
    for n, (turn, (ids, told)) in enumerate(zip(episode.turns, bob.seen, strict=True)):
        text = talk.decode(ids)
        assert told.endswith("Collect wood.")
        assert (HEAD in told) is any(tag.startswith(REFERENCE) for tag in turn.tags)
        assert len(ids) <= 512
        # What is read begins with what was looked up for this very turn.
        seen = [turn.observation for turn in episode.turns[n if turns else 0 : n + 1]]
        heads = [talk.first(told, observation) for observation in seen]
        assert any(ids[: len(head)] == head for head in heads)
        assert turn.observation.split("\n")[0] in text


def test_what_bob_is_tried_on_is_not_looked_up(tmp_path, monkeypatch, played):
    monkeypatch.chdir(tmp_path)
    write(tmp_path)
    params = load_params("r001")
    skill = skills_of(played[0][:1])[0]
    evaluation.check_apart([skill], CRAFTER, params)
    with pytest.raises(UsageError, match=r"has the world 1000005 of an episode that Bob is tried"):
        evaluation.check_apart([dataclasses.replace(skill, seed=1_000_005)], CRAFTER, params)
    monkeypatch.setenv("ALICEBOB_CACHE", str(tmp_path / "cache"))
    amount = params.evaluate
    space = params.seeds.of("test")
    asked = evaluation.open_play_tasks("test", SHOP(), amount.open_play, 15, 1, space, "")
    leaked = dataclasses.replace(skill, instruction=f" {asked[0].instruction.upper()}")
    with pytest.raises(UsageError, match=r"has the instruction .* so he may not look it up"):
        evaluation.check_apart([leaked], SHOP, params)


def round_of(tmp_path, monkeypatch, pool, **own):
    """A round of the method, as far as its part that acts looks at it."""
    monkeypatch.chdir(tmp_path)
    own = json.dumps({"sft": False, **own})
    rounds = f"  r001: {{prev: r000, method: learn_by_interact, learn_by_interact: {own}}}\n"
    write(tmp_path, rounds=rounds)
    alice = SimpleNamespace(query=lambda: plainly, alongside=lambda verb, actor: actor)
    return SimpleNamespace(
        params=load_params("r001"),
        world=CRAFTER,
        id="r001",
        alice=alice,
        read=lambda kind: pool,
        scratch=tmp_path,
    )


@pytest.mark.parametrize("mode", ["instruction", "observation", "model", "both"])
def test_who_looks_up_can_be_sent_to_another_process(mode, tmp_path, monkeypatch, pool, embedder):
    own = {"retrieve": mode, "embedder": embedder}
    actor = looking_up(round_of(tmp_path, monkeypatch, pool, **own), tmp_path, 4)
    assert pickle.loads(pickle.dumps(actor)).width == 4
    assert (tmp_path / "vectors.f32").exists() is (mode != "observation")


def test_a_leak_stops_the_round_before_anything_is_played(tmp_path, monkeypatch, played):
    skill = dataclasses.replace(skills_of(played[0][:1])[0], seed=2_000_001)
    dataset.write_skills(tmp_path / "pool/r001.parquet", [skill])
    with pytest.raises(UsageError, match="world 2000001 of an episode that Bob is tried in"):
        looking_up(round_of(tmp_path, monkeypatch, tmp_path / "pool", retrieve="both"), tmp_path, 4)


def test_where_examples_have_no_room_a_sentence_says_what_would_do(talk):
    fits = functools.partial(check_room, talk, CRAFTER(), range(100), max_new_tokens=40)
    assert fits(context=400) == ""
    with pytest.raises(
        UsageError, match=r", 500 of references,.* These would do: bob.context=(\d+)"
    ) as e:
        fits(context=400, references=500)
    would = int(re.search(r"bob.context=(\d+)", str(e.value))[1])
    assert fits(context=would, references=500) == ""


# a language model in Alice's place


def answering(answer):
    """A server that answers each question with what `answer` makes of it, and a chat with it."""
    return serving(answer=lambda body: json.dumps(answer(body["messages"][0]["content"])))


def chat(server):
    return ServedChat(Endpoint(server.url, "m", concurrency=2))


def test_a_model_makes_tasks_of_each_document_and_no_more_than_asked(tmp_path):
    def answer(question):
        count = 2 if "> Of wood" in question else 5
        return {"tasks": [f"Do {n}." for n in range(count)]}

    documents = [Document("a", "Of wood."), Document("b", "Of stone.")]
    with answering(answer) as server:
        found, tally = model_propose.pose(documents, 3, chat(server), tmp_path / "j.jsonl")
    assert found == ["Do 0.", "Do 1."]
    assert (tally.asked, tally.rejected) == (2, 1)
    assert "5 tasks; up to 3" in tally.refused[-1]["reason"]


def test_a_model_writes_both_instructions_of_a_stretch(tmp_path):
    stretches = list(backward.stretches(walk(2), 9))
    with answering(lambda question: {"summary": "Go on.", "task": "Get there."}) as server:
        found, tally = told_afterwards(stretches, "r001", chat(server), tmp_path / "j.jsonl")
    assert tally.asked == 3
    assert [(s.name, s.instruction, each) for s, each in found] == [
        item
        for each in stretches
        for item in ((backward.REPLICATE, "Go on.", each), ("asked", "Get there.", each))
    ]
    assert len({skill.id for skill, _ in found}) == 6


def test_each_model_judge_is_asked_alone_and_one_no_is_enough(tmp_path):
    asked = []

    def answer(question):
        asked.append(question)
        no = "judge 2 of 2" in question and "> Again 1." in question
        return {"accept": not no, "why": "It goes round." if no else ""}

    stretches = [backward.Stretch(walk(3), n, n + 2) for n in range(2)]
    skills = [(s.skill("r001", "x", f"Again {n}."), s) for n, s in enumerate(stretches)]
    with answering(answer) as server:
        votes, tally = judged(skills, 2, chat(server), tmp_path / "j.jsonl")
    assert len(asked) == len(set(asked)) == tally.asked == 4
    assert votes == [
        {"model 1": "", "model 2": ""},
        {"model 1": "", "model 2": "It goes round."},
    ]
    assert [committee.unanimous(vote) for vote in votes] == [True, False]


def test_a_model_says_what_to_look_up_and_an_empty_answer_is_the_embedded_query(capsys):
    def answer(question):
        return {"query": "how to get wood"} if "> tree" in question else {"why": "no"}

    with answering(answer) as server:
        ask = asking(SimpleNamespace(shared=lambda: chat(server)))
        lives = [Live(Task("t", 1, "Get wood."), seen, {}, None) for seen in ("tree", "sea")]
        one, two = ask(lives)
        assert one == "how to get wood"
        assert two == plainly()(lives)[1]
        assert "Seen: sea" in two
        ask(lives)
    assert capsys.readouterr().err.count("the embedded ones stand in") == 1


def test_alice_asks_her_model_wherever_the_parameters_say_so(tmp_path, monkeypatch, played):
    def answer(question):
        if "<document>" in question:
            return {"tasks": ["Find water.", "find the water", "Cut wood."]}
        if "judge" in question:
            return {"accept": True, "why": ""}
        if "query" in question:
            return {"query": "where is water"}
        return {"summary": "Do as was done.", "task": "Get somewhere."}

    monkeypatch.chdir(tmp_path)
    verbs = "propose: model, label: model, judge: model, query: model, labels: 3"
    alice = f"{{{verbs}, model: 'served:m'}}"
    write(tmp_path, rounds=f"  r001: {{prev: r000, method: learn_by_interact, alice: {alice}}}\n")
    with answering(answer) as server:
        monkeypatch.setenv("ALICEBOB_ALICE_URL", server.url)
        spare = {"adapter": tmp_path, "scratch": tmp_path, "ledger": tmp_path / "used.jsonl"}
        her = Alice(load_params("r001"), CRAFTER, "r001", **spare)
        tasks, report = her.propose([Document("a", "Of water."), Document("b", "Of wood.")], 3, ())
        assert [task.instruction for task in tasks] == ["Find water.", "Cut wood."]
        assert (report["posed"], report["propose"]["asked"]) == (6, 2)
        found = list(backward.stretches(played[0][0], 2))
        skills, lost, report = her.backward(found, played[0])
        assert (len(skills), lost) == (6, {})
        assert report["not asked"] == len(found) - 3
        votes, report = her.approve(skills, 2)
        assert all(map(committee.unanimous, votes))
        assert report["committee"]["asked"] == 12
        ask = pickle.loads(pickle.dumps(her.query()))()
        assert ask([live_of(skills[0][0])]) == ["where is water"]


# parameters


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{retrieve: all}", r"learn_by_interact.retrieve"),
        ("{sft: false}", r"sft: false needs learn_by_interact.retrieve"),
        ("{judges: 1}", r"learn_by_interact.judges"),
        ("{tokens: 100}", r"learn_by_interact.tokens is not read"),
        ("{retrieve: observation, embedder: x}", r"learn_by_interact.embedder is not read"),
        ("{retrieve: both, sft: false}, train: {budget: 5}", r"train.budget is not read"),
    ],
)
def test_what_nobody_reads_or_makes_no_sense_is_refused(tmp_path, monkeypatch, block, message):
    monkeypatch.chdir(tmp_path)
    rounds = f"  r001: {{prev: r000, method: learn_by_interact, learn_by_interact: {block}}}\n"
    write(tmp_path, rounds=rounds)
    with pytest.raises(UsageError, match=message):
        plan.write()


def test_what_a_model_may_ask_is_told_beforehand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    verbs = "alice: {propose: model, label: model, judge: model, query: model, model: m}"
    own = "learn_by_interact: {retrieve: both, judges: 3, tokens: 100}"
    rounds = f"  r001: {{prev: r000, method: learn_by_interact, {own}, {verbs}}}\n"
    write(tmp_path, rounds=rounds)
    costs = {cost.stage: cost for cost in estimate()}
    assert costs["explore"].requests == len(list(Path(documents_of(CRAFTER())).glob("*.md")))
    assert costs["skills"].requests > 2 * 40 * 3  # the committee's, and those for the words
    assert costs["evaluate"].requests == costs["evaluate"].turns > 0
    assert costs["train"].requests == 0


def test_documents_that_changed_count(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.md").write_text("Wood.")
    own = "{documents: mine}"
    rounds = f"  r001: {{prev: r000, method: learn_by_interact, learn_by_interact: {own}}}\n"
    write(tmp_path, rounds=rounds)
    found = plan.contents()
    (tmp_path / "mine/a.md").write_text("Stone.")
    again = plan.contents()
    assert {name for name in found if found[name] != again[name]} == {"r001/explore.json"}
    assert method("learn_by_interact").lacking == []


# whole rounds


def changed(text, name, **block):
    yaml, out = YAML(), StringIO()
    data = yaml.load(text)
    data["rounds"][name].update(block)
    yaml.dump(data, out)
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["laptop", "webshop"])
def test_a_lineage_learns_by_interact_and_looks_up(preset, tmp_path):
    method = "learn_by_interact"
    room = {"laptop": {"context": 700}, "webshop": {"context": 2600}}[preset]
    looks = {"actor": "bob", "sft": False, "retrieve": "observation", "tokens": 400}
    more = {
        "rounds": {
            "r001": {"prev": "r000", "method": method, method: {"longest": 4}},
            "r002": {"prev": "r001", "method": method, method: {"longest": 4, **looks}},
        },
        "bob": room,
        "train": {"pack_tokens": room["context"]},
    }
    tiny_rounds().lay_out(tmp_path, preset, more=more)
    assert repro(tmp_path)[-1] == "feedback@r002"
    assert repro(tmp_path) == []
    folder = tmp_path / "data/skills/r001"
    report = json.loads((folder / "report.json").read_text())
    assert report["kept"] > 0
    assert report["dropped"]["the committee was not unanimous"] >= 0
    assert report["failed episodes"] > 0
    rows = [json.loads(line) for line in (folder / VERDICTS).read_text().splitlines()]
    assert len(rows) == report["judged"]
    assert sum(row["kept"] for row in rows) == report["kept"]
    explored = dataset.read_episodes(tmp_path / "data/episodes/r001")
    assert all(episode.instruction for episode in explored)
    told = json.loads((tmp_path / "data/episodes/r001/report.json").read_text())
    assert 0 < told["tasks"] <= told["posed"] <= 3 * told["documents"]
    one, two = (tmp_path / f"models/bob/{r}/adapter_model.safetensors" for r in ("r001", "r002"))
    assert one.read_bytes() == two.read_bytes()
    tried = {r: dataset.read_episodes(tmp_path / f"data/evaluations/{r}") for r in ("r001", "r002")}
    for name, episodes in tried.items():
        tags = [tag for episode in episodes for turn in episode.turns for tag in turn.tags]
        assert any(tag.startswith(REFERENCE) for tag in tags) is (name == "r002")
