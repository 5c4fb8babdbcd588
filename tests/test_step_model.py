"""STeP with a language model as the teacher: judged turn by turn, or neither right nor wrong."""

import functools
import json
import re
from types import SimpleNamespace

import pytest
from scripted import serving
from test_plan import write
from test_step import lessons
from textworld import Tower

from alicebob.alice import Alice
from alicebob.alice.correct import Corrected, counsel_in
from alicebob.alice.model.correct import Correcting
from alicebob.alice.room import room
from alicebob.bob.rows import rows_of
from alicebob.bob.tiny import RandomPolicy
from alicebob.envs import World
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
from alicebob.trace import AIMLESS, CORRECTION, ERROR, REFLECTION, RIGHT, UNJUDGED

CRAFTER = World("crafter", {"observation": "compact", "limit": "balrog"})
VERDICTS = (RIGHT, ERROR, CORRECTION, UNJUDGED)


def answering(answer):
    """A server that answers what `answer` makes of a question."""
    return serving(answer=lambda body: answer(body["messages"][-1]["content"], body))


def chat_of(server):
    return SimpleNamespace(chat=lambda: ServedChat(Endpoint(server.url, "m", concurrency=2)))


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
    (tmp_path / "asked").mkdir()
    spare = {"adapter": tmp_path, "scratch": tmp_path, "ledger": tmp_path / "used.jsonl"}
    her = Alice(load_params("r001"), CRAFTER, "r001", **spare)
    tasks = [Task(f"t{n}", n, "Collect wood.", max_turns=turns) for n in range(3)]
    monkeypatch.setenv("ALICEBOB_WORKERS", "1")
    return her.correct(tasks, Actor(RandomPolicy, 2, 2), her.room.memory(), lead, True)


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
    question, body = asked[-1]
    assert "> Collect wood." in question
    assert f"> {episodes[-1].turns[-1].observation.splitlines()[0]}" in question
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


@pytest.mark.parametrize("spec", ["crafter", "webshop"])
def test_what_a_model_may_answer_is_an_action_that_there_is(spec, base, tmp_path, monkeypatch):
    """Weights that know nothing, held to the form: whatever they write is of use or "right"."""
    monkeypatch.setenv("ALICEBOB_CACHE", str(tmp_path))
    settings = {
        "crafter": {"observation": "compact"},
        "webshop": {"catalogue": "generated:200", "observation": "compact"},
    }
    world = World(spec, settings[spec])
    env = world()
    asked = tasks_of(env, "train", [3]) if spec == "webshop" else [("Collect wood.", {})]
    ((words, options),) = asked
    sampling = {"context": 6000, "max_new_tokens": 3000, "temperature": 1.0}
    model = load_base(base)
    role = SimpleNamespace(chat=lambda: LocalChat(lambda: model, **sampling))
    where = room("grid" if spec == "crafter" else "shop")
    teacher = Correcting(role, world, functools.partial(where.watch, where.memory()))
    text, info = env.reset(seed=3, options=options)
    live = Live(Task("t", 3, words, options), text, info, None)
    teacher.start([live])
    texts = [(text, info)]
    if spec == "webshop":
        texts.append([env.step("search[shoes]")[i] for i in (0, 4)])
    for live.observation, live.info in texts:
        for _ in range(3):
            (judged,) = teacher.judge([live], [Reply("dance", f"no {_}")])
            if judged.hers is None:  # a thought that went on and on
                continue
            if judged.his is None:
                names = [each.lower() for each in live.info["admissible_actions"]]
                assert judged.hers.action.lower() in names or judged.hers.action[:7] == "search["
            else:
                assert judged.hers.action == "dance"


def test_what_a_model_is_asked_about_steps_is_told_beforehand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alice = "alice: {correct: model, model: m}"
    write(tmp_path, rounds=f"  r001: {{prev: r000, method: step, {alice}}}\n")
    params = load_params("r001")
    (cost,) = [cost for cost in estimate() if cost.stage == "explore" and cost.round == "r001"]
    assert cost.requests == params.explore.episodes * params.explore.max_turns
