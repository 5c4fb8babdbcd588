"""STeP with a language model as the teacher: judged turn by turn, or neither right nor wrong."""

import functools
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from scripted import serving
from test_plan import write
from test_step import lessons
from textworld import Tower

from alicebob.alice import Alice
from alicebob.alice.correct import Corrected, counsel_in
from alicebob.alice.model.correct import Correcting, _form, _judged, _question
from alicebob.alice.model.role import Role
from alicebob.alice.model.shapes import record
from alicebob.alice.room import room
from alicebob.bob.rows import rows_of
from alicebob.bob.tiny import RandomPolicy
from alicebob.envs import World, make
from alicebob.envs.hooks import tasks_of
from alicebob.experiment.estimate import estimate
from alicebob.experiment.params import load_params
from alicebob.policies import Live, Reply, Task
from alicebob.policies.answering import LocalChat
from alicebob.policies.chat import ServedChat
from alicebob.policies.conversation import Conversation
from alicebob.policies.endpoint import Endpoint
from alicebob.policies.models import load_base
from alicebob.rollout import Actor, play
from alicebob.trace import AIMLESS, CORRECTION, ERROR, INVALID, REFLECTION, RIGHT, UNJUDGED

CRAFTER = World("crafter", {"observation": "compact", "limit": "balrog"})
GRID = room("grid")
VERDICTS = (RIGHT, ERROR, CORRECTION, UNJUDGED)


def answering(answer):
    """A server that answers what `answer` makes of a question."""
    return serving(answer=lambda body: answer(body["messages"][-1]["content"], body))


def chat_of(server):
    return SimpleNamespace(shared=lambda: ServedChat(Endpoint(server.url, "m", concurrency=2)))


def said(right, thought="", action=""):
    return json.dumps({"right": right, "thought": thought, "action": action})


def verdict(turn):
    (found,) = [tag for tag in turn.tags if tag in VERDICTS]
    return found


def step_in(question):
    """Return the action of the step that a question is about."""
    return re.search(r"<step>.*Action: (\w+)\n</step>", question, re.DOTALL)[1]


def played(server, tmp_path, monkeypatch, lead=1.0, turns=30):
    """Random play in Crafter beside the model that the parameters name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALICEBOB_ALICE_URL", server.url)
    alice = "{correct: model, model: 'served:m'}"
    write(tmp_path, rounds=f"  r001: {{prev: r000, method: step, alice: {alice}}}\n")
    spare = {"adapter": tmp_path, "scratch": tmp_path, "ledger": tmp_path / "used.jsonl"}
    her = Alice(load_params("r001"), CRAFTER, "r001", **spare)
    tasks = [Task(f"t{n}", n, "Collect wood.", max_turns=turns) for n in range(3)]
    return her.correct(tasks, Actor(RandomPolicy, 3, 2), her.room.memory(), lead, True)


def test_a_model_judges_every_step_and_what_is_wrong_is_followed_by_its_correction(
    tmp_path, monkeypatch
):
    asked = []

    def answer(question, body):
        asked.append((question, body))
        if step_in(question).startswith("move"):
            return said(True)
        return said(False, "a tree must be near", "move_left")

    with answering(answer) as server:
        episodes, known, report = played(server, tmp_path, monkeypatch)
    turns = [turn for episode in episodes for turn in episode.turns]
    assert len(asked) == len(turns)
    assert {verdict(turn) for turn in turns} == {RIGHT, ERROR, CORRECTION}
    for episode in episodes:
        for turn, after in zip(episode.turns, episode.turns[1:], strict=False):
            assert (verdict(after) == CORRECTION) == (verdict(turn) == ERROR)
            if verdict(turn) == RIGHT:
                assert turn.action.startswith("move")
                assert counsel_in(turn) == (turn.thought, turn.action)
            if verdict(turn) == ERROR:
                assert counsel_in(turn) == ("a tree must be near", "move_left")
                assert REFLECTION in after.tags
                assert after.thought.startswith(
                    f"Not {turn.action} but move_left: a tree must be near."
                )
    # The last turns are asked about in no order; where his step is her own word, she has another.
    question, body = next(each for each in asked[-3:] if step_in(each[0]) != "move_left")
    assert "> Collect wood." in question
    seen = [f"> {episode.turns[-1].observation.splitlines()[0]}" for episode in episodes]
    assert any(line in question for line in seen)
    assert all(any(line in each for each, _ in asked[-3:]) for line in seen)
    assert "Turn 6" in question
    assert "Turn 7" not in question
    form = body["response_format"]["json_schema"]["schema"]
    wrong = form["anyOf"][1]["properties"]["action"]["anyOf"][0]["enum"]
    assert "move_left" in wrong
    assert step_in(question) not in wrong
    assert known.episodes == 3  # watched as if she had acted herself
    assert report["correct"] == {"asked": len(turns), "repaired": 0, "rejected": 0}


def test_an_answer_that_is_none_is_asked_for_again_and_then_the_turn_is_not_learnt(
    tmp_path, monkeypatch, base
):
    repairs = []

    def answer(question, body):
        if len(body["messages"]) == 1:
            same = step_in(question)
            return said(False, "so", same if same == "do" else "fly")
        repairs.append(question)
        mended = len(repairs) % 2
        return said(False, "up there", "move_up") if mended else "I cannot say."

    with answering(answer) as server:
        episodes, _, report = played(server, tmp_path, monkeypatch, lead=0.0)
    assert {verdict(turn) for episode in episodes for turn in episode.turns} >= {ERROR, UNJUDGED}
    found = [tag for episode in episodes for turn in episode.turns for tag in turn.tags]
    tally = report["correct"]
    assert tally["rejected"] == found.count(UNJUDGED)
    assert tally["repaired"] == found.count(ERROR) == tally["asked"] - tally["rejected"]
    reasons = " ".join(repairs)
    assert "none of those that there are" in reasons
    assert "name another" in reasons
    talk = Conversation(load_base(base)[1])
    made = lessons(episodes, tmp_path, turns=1, counsel=False)
    assert made.report["turns"][UNJUDGED] > 0
    for episode in episodes:
        for turn in episode.turns:
            if verdict(turn) == UNJUDGED:
                assert AIMLESS in turn.tags
    assert not any(list(rows_of(skill, talk, 400, 1)) for skill in made.skills)


def test_a_model_teaches_where_the_embedded_alice_knows_no_better():
    def answer(question, body):
        return said(False, "up", re.search(r"<actions>\n> (.*)", question)[1])

    task = Task("t", 1, "Find the gold.", max_turns=6)
    with answering(answer) as server:
        watch = functools.partial(room("anywhere").watch, None)
        teacher = Correcting(chat_of(server), Tower, watch)
        (episode,) = play([Tower()], Corrected(Idle(), teacher, 1.0, True), [task], "tower")
    assert [verdict(turn) for turn in episode.turns] == [ERROR, CORRECTION] * 3
    assert "evidence" in episode.meta


class Idle(RandomPolicy):
    """Does what is no action."""

    def act(self, lives):
        return [Reply("wait") for _ in lives]


OFFERED = ["go  north", "click[X (1+1)]", "search[...]", "put ... in ...", "w" * 300]


@pytest.mark.parametrize(
    ("said_", "played"),
    [
        ("go north", "go  north"),
        ("CLICK[x (1+1)]", "click[X (1+1)]"),
        ("search[red  shoes]", "search[red shoes]"),
        ("put apple in box", "put apple in box"),
        ("w" * 300, "w" * 300),
        ("fly", ""),
        ("search[...]", ""),
        ("put apple in ...", ""),
        ("search[Action: comics]", ""),
        ("click[X (1+2)]", ""),
        ("wait", ""),
    ],
)
def test_what_a_model_has_instead_is_an_action_that_there_is_as_it_is_spelt(said_, played):
    text = said(False, "why", said_)
    if played:
        assert _judged(text, Reply("wait"), OFFERED).hers.action == played
    else:
        with pytest.raises(ValueError, match=r"none of those|name another|must not hold"):
            _judged(text, Reply("wait"), [*OFFERED, "wait"])


def test_the_form_has_all_actions_but_his_and_nothing_else():
    right, wrong = _form(OFFERED, "GO north")["anyOf"]
    named, *free = wrong["properties"]["action"]["anyOf"]
    assert named == {"enum": ["click[X (1+1)]", "w" * 300]}
    assert [re.fullmatch(each["pattern"], "search[a b]") is not None for each in free] == [
        True,
        False,
    ]
    assert _form(["wait"], "wait") == right  # what else should he do?
    assert _form([], "wait")["anyOf"][1]["properties"]["action"]["type"] == "string"


@pytest.mark.parametrize("spec", ["crafter", "webshop"])
def test_weights_that_know_nothing_name_actions_that_there_are(spec, base, tmp_path, monkeypatch):
    """Held to the form of a wrong step, with the thought given, whatever they write is of use."""
    monkeypatch.setenv("ALICEBOB_CACHE", str(tmp_path))
    settings = {
        "crafter": {"observation": "compact"},
        "webshop": {"catalogue": "generated:200", "observation": "compact"},
    }
    env = make(spec, **settings[spec])
    ((words, options),) = tasks_of(env, "train", [3])
    text, info = env.reset(seed=3, options=options)
    if spec == "webshop":
        text, *_, info = env.step("search[shoes]")
    live = Live(Task("t", 3, words, options), text, info, None)
    offered = list(info["admissible_actions"])
    wrong = _form(offered, "dance")["anyOf"][1]["properties"] | {"thought": "so"}
    model = load_base(base)
    chat = LocalChat(lambda: model, context=6000, max_new_tokens=3000, temperature=1.0)
    asked = [[f"{_question(live, Reply('dance', str(n)), offered)}"] for n in range(6)]
    answers = [found.text for _, found in chat.answers(asked, [record(**wrong)] * len(asked))]
    named = {_judged(text, Reply("dance"), offered).hers.action for text in answers}
    assert named <= set(offered)


def test_a_step_that_is_no_action_is_not_learnt_whatever_the_model_says_of_it(
    tmp_path, monkeypatch, base
):
    class Dancing(RandomPolicy):
        def act(self, lives):
            return [Reply("dance") for _ in lives]

    with answering(lambda question, body: said(True)) as server:
        teacher = Correcting(chat_of(server), CRAFTER, functools.partial(GRID.watch, GRID.memory()))
        policy = Corrected(Dancing(), teacher, 1.0, True)
        (episode,) = play([CRAFTER()], policy, [Task("t", 1, "Dance.", max_turns=5)], "crafter")
    assert all({RIGHT, INVALID} <= {*turn.tags} for turn in episode.turns)
    made = lessons([episode], tmp_path, turns=1)
    talk = Conversation(load_base(base)[1])
    assert not any(list(rows_of(skill, talk, 400, 1)) for skill in made.skills)


def test_a_served_model_is_asked_from_one_process_about_few_at_once(tmp_path):
    role = Role("served:m", "", "float32", 900, 0, 90, 0.0, 1.0)
    many = Actor(RandomPolicy, 32, 8)
    assert role.alongside(many) == replace(many, width=8, workers=1)
    assert role.alongside(replace(many, threads=True)).workers == 8
    assert replace(role, name="bob").alongside(many) == many


def test_what_a_model_is_asked_about_steps_is_told_beforehand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alice = "alice: {correct: model, model: m}"
    write(tmp_path, rounds=f"  r001: {{prev: r000, method: step, {alice}}}\n")
    params = load_params("r001")
    (cost,) = [cost for cost in estimate() if cost.stage == "explore" and cost.round == "r001"]
    assert cost.requests == params.explore.episodes * params.explore.max_turns
