import pytest
import torch
from architectures import WAYS, tiny

from alicebob.bob.rows import IGNORED, Row, pack
from alicebob.errors import UsageError
from alicebob.policies import Task, faithful, reading
from alicebob.policies.conversation import Conversation
from alicebob.policies.faithful import apart, reader_of
from alicebob.policies.local import Local
from alicebob.rollout import play

CONTEXT = 150


def greedy(network, tokenizer, crafter, turns=0):
    """Return the episodes of three rows that differ in length, and the policy's conversation."""
    talk = Conversation(tokenizer)
    reader = reader_of(network, CONTEXT)
    policy = Local(
        network,
        talk,
        context=CONTEXT,
        turns=turns,
        max_new_tokens=5,
        temperature=0.0,
        reader=reader,
    )
    tasks = [Task(f"t{n}", n, "Go." * (n + 1), max_turns=2 + n) for n in range(3)]
    return list(play([crafter() for _ in tasks], policy, tasks, "crafter")), talk


def packed(network, rows):
    (one,) = pack(rows, 90, 0)
    ids, places = torch.tensor([one.input_ids]), torch.tensor([one.position_ids])
    with torch.no_grad():
        return network(input_ids=ids, position_ids=places, use_cache=False).logits[0]


@pytest.mark.parametrize("kind", WAYS)
def test_whatever_the_architecture_what_is_played_is_what_is_trained(kind, model, crafter, capsys):
    network, (way, together) = tiny(kind), WAYS[kind]
    if way == "refused":
        with pytest.raises(UsageError, match="cannot be played as it would be trained"):
            reader_of(network, CONTEXT)
        return
    assert type(reader_of(network, CONTEXT)).__name__ == way
    assert ("which is slower" in capsys.readouterr().err) == (way != "Kept")
    episodes, talk = greedy(network, model[1], crafter, turns=1)
    for episode in episodes:
        for turn in episode.turns:
            ids = talk.first(episode.instruction, turn.observation)
            written = list(turn.token_ids[: sum(turn.loss_mask)])
            with torch.no_grad():
                found = network(torch.tensor([ids + written]), use_cache=False).logits[0]
            likeliest = found[len(ids) - 1 : -1].max(-1).values
            chosen = found[len(ids) - 1 : -1].gather(1, torch.tensor(written)[:, None])[:, 0]
            assert torch.allclose(chosen, likeliest, atol=1e-3 * float(found.std()))
    assert apart(network) is together
    draw = torch.Generator().manual_seed(1)
    one, other, long = (
        tuple(torch.randint(3, 500, (n,), generator=draw).tolist()) for n in (20, 20, 39)
    )
    rows = [[Row(first, (1,) * 20), Row(long, (1,) * 39)] for first in (one, other)]
    moved = (packed(network, rows[0])[:39] - packed(network, rows[1])[:39]).abs().max()
    assert (moved < 1e-3) or not together


def test_windows_that_are_not_heeded_are_noticed(monkeypatch):
    network = tiny("mistral", sliding_window=60)
    made = reading._masks
    monkeypatch.setattr(reading, "_masks", lambda *a: torch.ones_like(made(*a)).tril())
    assert isinstance(reader_of(network, CONTEXT), reading.Anew)
    assert isinstance(reader_of(network, 60), reading.Kept)  # no text is longer than the window
    monkeypatch.undo()
    assert isinstance(reader_of(network, CONTEXT), reading.Kept)


def test_a_mask_that_is_added_is_noticed(monkeypatch):
    network = tiny("llama")
    network.set_attn_implementation("eager")
    assert isinstance(reader_of(network, CONTEXT), reading.Kept)
    made = reading._masks
    monkeypatch.setattr(reading, "_masks", lambda *a: made(*a) == 0)
    assert isinstance(reader_of(network, CONTEXT), reading.Anew)


@pytest.mark.parametrize(
    ("kind", "way"), [("llama", "Kept"), ("gemma2", "Kept"), ("mamba", "Plain")]
)
def test_half_precision_is_taken_for_rounding_not_for_a_fault(kind, way):
    network = tiny(kind, initializer_range=0.05).to(torch.bfloat16)
    assert type(reader_of(network, CONTEXT)).__name__ == way


def test_a_model_that_cannot_be_trained_or_played_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="padding after a row changes"):
        apart(tiny("roberta"))

    def fail(*_):
        raise IndexError

    monkeypatch.setattr(faithful, "_differs", fail)
    with pytest.raises(UsageError, match="fails or gives no numbers"):
        reader_of(tiny("llama"), CONTEXT)


def test_rows_that_must_not_share_a_pack_have_one_each():
    rows = [Row(tuple(range(1, n + 1)), (1,) * n) for n in (5, 9, 3)]
    filled = pack(rows, 100, 0, together=False)
    assert len(filled) == 3
    assert {len(one.input_ids) for one in filled} == {9}
    assert sum(i != IGNORED for one in filled for i in one.labels) == 17 - 3
