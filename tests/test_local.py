import numpy as np
import pytest
import templates
import torch
import transformers
from templates import of_family, sentencepiece

from alicebob.errors import UsageError
from alicebob.policies import Live, Task
from alicebob.policies.constraint import Choices
from alicebob.policies.conversation import Conversation, parse_reply, window_start
from alicebob.policies.local import Local
from alicebob.policies.writing import _nucleus
from alicebob.rollout import play

CONTEXT, NEW = 150, 10
MARK = "qzxreply"


class Watched(Local):
    """Keeps the logits that each token was drawn from."""

    seen: list

    def _draw(self, logits, lives):
        self.seen.append((list(lives), logits.clone()))
        return super()._draw(logits, lives)


def tasks(count):
    return [Task(f"t{n}", n, "Collect wood.", max_turns=8 + n) for n in range(count)]


def test_the_cache_gives_the_logits_of_reading_everything_anew(model, crafter):
    network, tokenizer = model
    talk = Conversation(tokenizer)
    policy = Watched(network, talk, context=CONTEXT, max_new_tokens=NEW)
    policy.seen = []
    episodes = list(play([crafter() for _ in range(3)], policy, tasks(3), "crafter"))
    drawn = {e.id: [] for e in episodes}
    for lives, logits in policy.seen:
        for live, row in zip(lives, logits, strict=True):
            drawn[live.task.id].append(row)
    moved = 0
    head = talk.head_length("Collect wood.")
    for episode in episodes:
        start, lengths, rows = 0, [], iter(drawn[episode.id])
        for number, turn in enumerate(episode.turns):
            read = len(talk.next(turn.observation))
            before = start
            start = window_start(start, [*lengths, read + NEW + len(talk.end)], head, CONTEXT)
            moved += start != before
            window = episode.turns[start:number]
            texts = [*(t.observation for t in window), turn.observation]
            ids = talk.first("Collect wood.", texts[0])
            for past, text in zip(window, texts[1:], strict=True):
                ids += list(past.token_ids) + talk.next(text)
            for token in turn.token_ids[: sum(turn.loss_mask)]:
                with torch.no_grad():
                    whole = network(torch.tensor([ids])).logits[0, -1]
                assert torch.allclose(whole, next(rows), atol=1e-4)
                ids.append(token)
            lengths.append(read + len(turn.token_ids))
    assert moved > 3


def test_the_same_wave_gives_the_same_episodes_and_counts_tokens(model, crafter):
    network, tokenizer = model
    talk = Conversation(tokenizer)

    def episodes():
        policy = Local(network, talk, context=CONTEXT, max_new_tokens=NEW)
        return list(play([crafter() for _ in range(4)], policy, tasks(4), "crafter"))

    first = episodes()
    assert first == episodes()
    for episode in first:
        written = sum(sum(turn.loss_mask) for turn in episode.turns)
        assert episode.budget["reply_tokens"] == written
        assert all(turn.token_ids[-1] == talk.end[-1] for turn in episode.turns)


def test_greedy_needs_no_draws(model, crafter):
    network, tokenizer = model
    policy = Local(network, Conversation(tokenizer), context=CONTEXT, temperature=0.0)
    actions = [
        next(play([crafter()], policy, [Task(name, 1, "Go.", max_turns=4)], "crafter")).actions
        for name in ("one", "two")
    ]
    assert actions[0] == actions[1]


def test_a_prompt_longer_than_the_context_is_one_sentence(model, crafter):
    network, tokenizer = model
    policy = Local(network, Conversation(tokenizer), context=40, max_new_tokens=NEW)
    with pytest.raises(UsageError, match="does not fit into a context of 40"):
        list(play([crafter()], policy, tasks(1), "crafter"))


def nucleus(weights, top_p):
    kept, ids = _nucleus(weights, top_p)
    return torch.zeros_like(weights).scatter(-1, ids, kept)


def test_the_nucleus_keeps_the_likeliest_tokens_up_to_the_share():
    weights = torch.tensor([[1.0, 6.0, 3.0], [0.0, 0.0, 5.0]])
    assert nucleus(weights, 0.85).tolist() == [[0, 6, 3], [0, 0, 5]]
    assert nucleus(weights, 0.6).tolist() == [[0, 6, 0], [0, 0, 5]]
    assert nucleus(weights, 1e-9).tolist() == [[0, 6, 0], [0, 0, 5]]


def replies(talk, crafter, most, likes, count=40, actions=None):
    """Return what a model writes that likes tokens by chance, held to admissible actions."""
    observation, info = crafter().reset(seed=0)
    info["admissible_actions"] = actions or info["admissible_actions"]
    live = Live(Task("e", 0), observation, info, np.random.default_rng(0))
    choices = Choices(talk, most)
    for _ in range(count):
        written = []
        while written[-1:] != talk.end[-1:] and len(written) < most:
            logits = likes(written)
            before = logits.clone()
            choices.narrow(logits, [live], [written])
            kept = logits.isfinite()
            assert kept.any()
            assert torch.equal(logits[kept], before[kept])
            written.append(int(logits.argmax()))
        yield written, info["admissible_actions"]


def test_the_nucleus_is_the_same_whether_few_tokens_reach_it_or_not(monkeypatch):
    weights = torch.randn(4, 500, generator=torch.Generator().manual_seed(0)).mul(3).exp()
    found = nucleus(weights, 0.9)
    kept = (found > 0).sum(-1)
    assert (found.sum(-1) >= 0.9 * weights.sum(-1)).all()
    assert (found.sum(-1) - found.where(found > 0, 1e9).amin(-1) < 0.9 * weights.sum(-1)).all()
    for likely in (1, int(kept.min()), 500):
        monkeypatch.setattr("alicebob.policies.writing.LIKELY", likely)
        assert torch.equal(nucleus(weights, 0.9), found)


@pytest.mark.parametrize("kind", ["its own", "prepend", "first", "always"])
def test_whatever_a_constrained_model_likes_it_names_an_admissible_action(model, crafter, kind):
    tokenizer = model[1] if kind == "its own" else sentencepiece(kind, templates.MISTRAL)
    talk, chance = Conversation(tokenizer), torch.Generator().manual_seed(0)
    named, most = set(), 60

    def likes(written):
        return torch.randn(1, len(tokenizer), generator=chance)

    for written, actions in replies(talk, crafter, most, likes):
        assert written[-1] == talk.end[-1]
        action = parse_reply(talk.decode(written))[1]
        assert action in actions
        named.add(action)
    assert len(named) > 5


def test_the_form_is_written_where_a_model_would_end_without_it_or_run_out(model, crafter):
    talk = Conversation(model[1])

    def ends(written):
        logits = torch.zeros(1, len(model[1]))
        logits[0, talk.end[-1]] = 1
        return logits

    def rambles(written):
        logits = torch.zeros(1, len(model[1]))
        logits[0, talk.plain("a")] = 1
        return logits

    ((short, actions),) = replies(talk, crafter, 40, ends, 1)
    assert talk.decode(short).startswith("Action:")
    ((long, _),) = replies(talk, crafter, 40, rambles, 1)
    action = parse_reply(talk.decode(long))[1]
    assert talk.decode(long).startswith("aaaa")
    assert action in actions
    assert len(long) <= 40
    with pytest.raises(UsageError, match="fits into bob"):
        list(replies(talk, crafter, 3, ends, 1))


def test_what_is_free_in_an_action_stays_on_its_line_without_a_second_mark(model, crafter):
    talk, chance = Conversation(model[1]), torch.Generator().manual_seed(0)
    again = [i for text in ("\nAction:", " Action: do", "\n") for i in talk.plain(text)]

    def likes(written):
        logits = torch.randn(1, len(model[1]), generator=chance)
        logits[0, again] += 3
        return logits

    for written, _ in replies(talk, crafter, 60, likes, actions=["search[...]"]):
        assert written[-1] == talk.end[-1]
        assert talk.decode(written).count("Action:") == 1
        action = parse_reply(talk.decode(written))[1]
        assert action.startswith("search[")
        assert action.endswith("]")


def test_only_tokens_that_go_on_with_an_action_are_left(model):
    _, tokenizer = model
    talk = Conversation(tokenizer)
    choices = Choices(talk, 30)
    actions = ("move_left", "move_up", "do")
    begun = {tokenizer.decode([i]) for i in choices.left(" move_", actions)}
    assert begun
    assert all("left".startswith(text) or "up".startswith(text) for text in begun)
    assert choices.left(" do", actions) == [talk.end[-1]]
    assert talk.end[-1] not in choices.left(" move_", actions)
    for tail, some in ((" dance", actions), (" ", ())):
        with pytest.raises(UsageError, match="no token goes on with one of the"):
            choices.left(tail, some)


def test_a_stop_text_ends_a_reply_and_is_no_part_of_it(model, crafter):
    network, tokenizer = model
    policy = Local(
        network, Conversation(tokenizer), context=CONTEXT, max_new_tokens=NEW, stop=["move"]
    )
    episodes = list(play([crafter() for _ in range(4)], policy, tasks(4), "crafter"))
    actions = [turn.action for episode in episodes for turn in episode.turns]
    assert not any("move" in action for action in actions)


@pytest.mark.parametrize(
    ("family", "architecture"),
    [("Qwen2.5", "Qwen2"), ("Qwen3", "Qwen3"), ("Llama-3", "Llama"), ("ChatML", "Llama")],
)
def test_a_family_plays_as_its_own_template_and_model_would(
    model, crafter, tmp_path, family, architecture
):
    tokenizer = of_family(model[1], family, tmp_path)
    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=2048,
    )
    torch.manual_seed(0)
    network = getattr(transformers, f"{architecture}ForCausalLM")(config).eval()
    talk = Conversation(tokenizer)
    policy = Local(network, talk, context=2000, max_new_tokens=6, temperature=0.0)
    task = Task("t", 1, "Collect wood.", max_turns=4)
    (episode,) = play([crafter()], policy, [task], "crafter")
    messages, replies = [], []
    for turn in episode.turns:
        told = turn.observation.strip()
        told = told if messages else f"Collect wood.\n{told}"
        messages.append({"role": "user", "content": told})
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        # Replies stand for the tokens that were written: read again, their text may give others.
        first, *parts = [
            tokenizer.encode(part, add_special_tokens=False) for part in text.split(MARK)
        ]
        ids = sum((reply + part for reply, part in zip(replies, parts, strict=True)), first)
        written = list(turn.token_ids[: sum(turn.loss_mask)])
        with torch.no_grad():
            found = network(torch.tensor([ids + written])).logits[0, len(ids) - 1 : -1]
        assert found.argmax(-1).tolist() == written
        replies.append([i for i in written if i != talk.end[-1]])
        messages.append({"role": "assistant", "content": MARK})
    assert len(episode.turns) == 4
