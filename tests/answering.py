"""A tiny model that has learnt to answer what Alice is asked: real weights, drilled answers."""

import json
import random

import torch

from alicebob.alice.model.asking import prompt
from alicebob.alice.model.explore import texts
from alicebob.alice.model.transcript import shown
from alicebob.policies.conversation import Conversation, opening, write_reply
from alicebob.policies.models import load_base

STEPS, LEARNT = 1200, 0.006  # steps at most; the loss from which an answer is known by heart
LENGTHS = ((120, 12), (120, 12), (120, 12), (400, 6), (2400, 2))  # tokens of a prompt, rows
PLAYED = ("do", "do", "do", "place_sapling", "move_left", "move_up")

LABEL = {"instruction": "Sleep and wake up."}
THOUGHTS = {"thoughts": ["I am tired."]}
VERDICT = {"success": False, "reason": "strayed", "detail": "rest", "turn": 1}


def counsel(evidence):
    prose = "He rests too much now."
    return {"prose": prose, "explore": {"eat_cow": 1}, "evidence": [evidence]}


def drill(base, out, episodes, actions, suite, evidence):
    """Train the base to answer each of Alice's prompts with its answer, and to play; save it."""
    model, tokenizer = load_base(base)
    talk = Conversation(tokenizer)
    draw = random.Random(0)
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of products this small, more make no haste
    answers = {
        "label": LABEL,
        "think": THOUGHTS,
        "judge": VERDICT,
        "feedback": counsel(evidence),
        "play": None,
    }

    def table():
        names = draw.sample(suite, draw.randint(1, len(suite)))
        return "\n".join(
            f"- {name}: 0 of 1 done; mostly he did other things (rest (turn 1)); episodes "
            f"r001-validation-{name}-00; shown {draw.randint(0, 3)} times; you managed it in "
            f"{draw.choice((0, 25, 50, 100))}% of your explorations"
            for name in sorted(names)
        )

    def example(kind, longest):
        episode = draw.choice(episodes)
        start = draw.randrange(len(episode.turns) - 5)
        turns = shown(episode.turns[start : start + draw.randint(1, 30)], thoughts=True)
        if kind == "play":
            said = write_reply("rest", draw.choice(PLAYED))
            text = opening(draw.choice(texts("")), actions)
            ids = talk.question([text + episode.turns[start].observation])
            for turn in episode.turns[start + 1 : start + draw.randint(1, 3)]:
                ids += talk.reply(write_reply("rest", draw.choice(PLAYED)))
                ids += talk.next(turn.observation)
        else:
            fields = {
                "label": {"event": "wake up", "turns": turns},
                "think": {"instruction": LABEL["instruction"], "turns": turns, "count": "1"},
                "judge": {"reasons": "- strayed: x", "instruction": "Eat cow.", "turns": turns},
                "feedback": {"table": table(), "most": "6"},
            }[kind]
            said = json.dumps(answers[kind])
            ids = talk.question([prompt(kind, **fields)])
        ids = ids[-draw.randint(longest // 3, longest) :]
        reply = talk.reply(said)
        return ids + reply, len(ids)

    rate = 2e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    known = dict.fromkeys(set(answers) - {"play"}, 1.0)  # by kind: a running mean of the loss
    model.train()
    for step in range(STEPS):
        length, count = draw.choice(LENGTHS)
        kind = draw.choice(["feedback", "judge"] if length > 1000 else list(answers))
        rows = [example(kind, length) for _ in range(count)]
        longest = max(len(ids) for ids, _ in rows)
        padded = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in rows])
        labels = padded.clone()
        for row, (ids, start) in enumerate(rows):
            labels[row, :start] = -100
            labels[row, len(ids) :] = -100
        begun = torch.tensor([draw.randrange(2500) for _ in rows])[:, None]
        places = begun + torch.arange(longest)
        loss = model(input_ids=padded, position_ids=places, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * max(0.1, 1 - step / STEPS)
        optimizer.step()
        optimizer.zero_grad()
        if kind in known:
            known[kind] += 0.1 * (float(loss.detach()) - known[kind])
        if max(known.values()) < LEARNT:
            break
    torch.set_num_threads(threads)
    model.config.max_position_embeddings = 8192
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return step, known
