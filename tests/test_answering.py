"""Questions that a model on this machine answers: in their form, bounded, and read once."""

import json
import math

import pytest
import templates
import torch
from architectures import tiny
from scripted import serving
from templates import of_family, sentencepiece
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from alicebob.alice.feedback import Verdict
from alicebob.alice.grid import ROOM as GRID
from alicebob.alice.grid.memory import Knowledge
from alicebob.alice.model import advise, judge, label, think
from alicebob.alice.model.asking import Answer, Asker
from alicebob.alice.model.shapes import line, none_or, record, text, whole
from alicebob.errors import UsageError
from alicebob.policies import answering
from alicebob.policies.answering import LocalChat
from alicebob.policies.chat import ServedChat
from alicebob.policies.conversation import Conversation
from alicebob.policies.endpoint import Endpoint
from alicebob.policies.forms import Grammar, longest, narrow
from alicebob.policies.reading import Anew, Held, Kept, Plain
from alicebob.trace import Episode, Outcome, Skill, Turn

TOLD = "You are told at length what to do with it, and in which form to answer. "
QUESTIONS = [[TOLD * 3 + "It is " + "very " * n + "late."] for n in (3, 0, 9, 1, 5)]
FORM = {
    "anyOf": [
        record(done=True, why=""),
        record(done=False, why=line(3, 20), turn=none_or(whole(1, 12))),
    ]
}


def answers(model, questions, forms=(), **settings):
    settings = {"max_new_tokens": 12, "context": 900, "temperature": 0.0} | settings
    chat = LocalChat(lambda: model, **settings)
    return [found for _, found in sorted(chat.answers(questions, forms))]


class Counted(Kept):
    """Counts the tokens that it reads."""

    def step(self, rows, chunks):
        self.read_ = getattr(self, "read_", 0) + sum(map(len, chunks))
        return super().step(rows, chunks)


def test_what_questions_begin_with_is_read_once_and_changes_no_answer(model, monkeypatch):
    reader = Counted(model[0])
    monkeypatch.setattr(answering, "reader_of", lambda *_: reader)
    monkeypatch.setattr(answering, "WIDEST", 2)
    found = answers(model, QUESTIONS, max_new_tokens=4)
    read, reader.read_ = reader.read_, 0
    begun = len(answering._beginning([Conversation(model[1]).question(q) for q in QUESTIONS]))
    assert begun > 50
    monkeypatch.setattr(answering, "_beginning", lambda _: [])
    assert answers(model, QUESTIONS, max_new_tokens=4) == found
    assert reader.read_ - read == (len(QUESTIONS) - 1) * begun
    assert [answers(model, [q], max_new_tokens=4)[0] for q in QUESTIONS] == found


def test_an_answer_does_not_depend_on_what_is_asked_beside_it(model):
    drawn = {"temperature": 1.0, "top_p": 0.9}
    together = answers(model, QUESTIONS, [FORM] * 5, **drawn)
    assert [answers(model, [q], [FORM], **drawn)[0] for q in QUESTIONS] == together
    assert len({found.text for found in together}) > 1


@pytest.mark.parametrize("way", [Kept, Anew, Plain])
def test_whatever_the_way_of_reading_rows_may_begin_alike(model, way):
    network, ids = model[0].eval(), list(range(260, 300))
    rows, reader = [Held(slot=0), Held(slot=1)], way(network)
    with torch.inference_mode():
        for _ in range(2):  # the second time it may know the beginning
            reader.start(2, 60)
            reader.share(rows, ids[:20])
            found = reader.read(rows, [ids[20:], ids[30:]])
            for row, own in zip(found, (ids, ids[:20] + ids[30:]), strict=True):
                plain = network(torch.tensor([own]), use_cache=False).logits[0, -1]
                assert torch.allclose(row, plain, atol=1e-4)


def with_bytes(tokenizer):
    """Return a tokenizer whose bytes are text, as Llama 2's are, and no special tokens."""
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    data["added_tokens"] = [t for t in data["added_tokens"] if not t["content"].startswith("<0x")]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(data)), **tokenizer.special_tokens_map
    )
    fast.chat_template = tokenizer.chat_template
    return fast


@pytest.mark.parametrize("kind", ["its own", "Qwen2.5", "Llama-3", "prepend", "always", "first"])
def test_whatever_the_tokenizer_what_is_held_to_a_form_is_an_object_of_it(model, kind, tmp_path):
    tokenizer = model[1]
    if kind in templates.FAMILIES:
        tokenizer = of_family(tokenizer, kind, tmp_path)
    elif kind != "its own":
        tokenizer = with_bytes(sentencepiece(kind, templates.MISTRAL))
    talk = Conversation(tokenizer)
    grammar, draw = Grammar(talk), torch.Generator().manual_seed(3)
    seen = set()
    for _ in range(20):
        matcher, ids = grammar.begin(FORM), []
        while not matcher.is_stopped():
            logits = torch.randn((1, len(tokenizer) + 8), generator=draw)  # some are padded
            narrow(logits, [matcher])
            ids.append(int(logits.argmax()))
            assert matcher.consume_token(ids[-1])
        assert len(ids) <= longest(FORM)
        found = json.loads(talk.decode(ids))
        assert talk.decode(ids) in (json.dumps(found), json.dumps(found, ensure_ascii=False))
        assert found["done"] is (found["why"] == "")
        assert found["done"] or (3 <= len(found["why"]) <= 21 and min(found["why"]) >= " ")
        assert found.get("turn") in (None, *range(1, 13))
        seen.add(found["done"])
    assert seen == {True, False}


def test_an_answer_takes_no_more_tokens_than_its_form_can_need(model):
    most = longest(FORM)
    assert most == len('{"done": false, "why": "' + 21 * "x" + '", "turn": null}') + 2
    found = answers(model, QUESTIONS, [FORM] * 5, max_new_tokens=800, temperature=1.0)
    assert all(said.reply_tokens <= most for said in found)
    assert all(json.loads(said.text) for said in found)
    with pytest.raises(UsageError, match=rf"an answer of {int(most) + 1} do not fit"):
        answers(model, QUESTIONS, [FORM] * 5, max_new_tokens=800, context=90)


@pytest.mark.parametrize(
    ("form", "most"),
    [
        ({"enum": ["a", "long"]}, 6),
        (text(3, 9), 12),
        (none_or(whole(-10, 5)), 4),
        ({"type": "array", "items": whole(1, 9), "maxItems": 3}, 2 + 3 * 3),
        (record(a={"type": "boolean"}), len('{"a": false}') + 2),
        ({"type": "string"}, math.inf),
        ({"type": "number"}, math.inf),
    ],
)
def test_how_long_an_answer_can_get_follows_from_its_schema(form, most):
    assert longest(form) == most


def skill():
    turns = (Turn("a tree ahead", "do"), Turn("wood in hand", "noop"))
    return Skill("s", "collect_wood", "Get it.", "r001", "e", "crafter", 1, 0, 2, turns)


def episode():
    turns = (Turn("a tree", "noop", "rest"),) * 3
    meta = {"target": "collect_wood"}
    return Episode(
        "e-0", "crafter", 1, "Do it.", turns=turns, outcome=Outcome.TURN_LIMIT, meta=meta
    )


def asked_of(verb, chat, folder):
    journal, verdicts = folder / "asked.jsonl", [Verdict("e-0", "collect_wood", False, "strayed")]
    return {
        "label": lambda: label.relabel([skill()], chat, journal, GRID.reworded),
        "think": lambda: think.add_thoughts([skill()], chat, journal),
        "judge": lambda: judge.judge_with(chat, [episode()], journal, GRID.reasons),
        "advise": lambda: advise.write_with(
            chat, "r001", verdicts, Knowledge(), {}, GRID.reasons, journal
        ),
    }[verb]()[1]


@pytest.mark.parametrize("verb", ["label", "think", "judge", "advise"])
def test_a_model_that_knows_nothing_answers_in_form_and_is_refused_for_what_it_says(
    verb, model, tmp_path
):
    chat = LocalChat(lambda: model, context=8000, max_new_tokens=4000, temperature=1.0)
    tally = asked_of(verb, chat, tmp_path)
    assert tally.asked == 1
    for said in tally.refused:
        assert json.loads(said["text"] + ("" if said["text"].endswith("}") else '"}'))
        assert "at most" in said["reason"] or "speaks of" in said["reason"]


class Word(Answer):
    word: str


def test_a_served_model_is_sent_the_form_and_one_that_refuses_it_is_told_of_once(tmp_path, capsys):
    good = '{"word": "ja"}'
    with serving(answer=lambda body: good) as server:
        chat = ServedChat(Endpoint(server.url, "m"))
        Asker(chat, Word, tmp_path / "a.jsonl", form=lambda _: record(word=line(1, 9))).ask(["a"])
        (sent,) = [body["response_format"] for _, _, body in server.requests]
    assert sent["json_schema"]["schema"] == record(word=line(1, 9))
    assert not capsys.readouterr().err

    refusing = lambda _, body: "400" if "response_format" in body else "ok"  # noqa: E731
    with serving(refusing, lambda body: good) as server:
        chat = ServedChat(Endpoint(server.url, "m", concurrency=2))
        asker = Asker(chat, Word, tmp_path / "b.jsonl")
        assert [found.word for found in asker.ask(list("abcdef"))] == ["ja"] * 6
        formed = ["response_format" in body for _, _, body in server.requests]
    assert 1 <= formed.count(True) <= 2
    assert formed.count(False) == 6
    told = capsys.readouterr().err
    assert told.count("without their form (response_format)") == 1


def test_a_tokenizer_that_no_grammar_can_be_made_for_is_told_of(model, capsys):
    network, tokenizer = model

    class Slow:
        """As those that Python writes are."""

        def __getattr__(self, name):
            return getattr(tokenizer, name)

    (found,) = answers((network, Slow()), QUESTIONS[:1], [FORM])
    assert found.reply_tokens <= longest(FORM) + 1
    assert "Warning: alice.model cannot be held to the form of its answers" in (
        capsys.readouterr().err
    )


def test_a_model_that_keeps_no_keys_answers_too(model):
    network, tokenizer = tiny("mamba"), model[1]
    found = answers((network, tokenizer), QUESTIONS[:2], [FORM] * 2, max_new_tokens=120)
    assert all(json.loads(said.text) for said in found)
