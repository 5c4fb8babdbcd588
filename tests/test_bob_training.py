import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from numpy.random import default_rng

from alicebob.alice.feedback import Feedback
from alicebob.bob.objective import logits_only_where_there_is_loss
from alicebob.bob.rows import IGNORED, Row, balanced, held_out, pack, rows_of
from alicebob.bob.sft import Lora, new_adapter, packs_of, save_adapter, train
from alicebob.bob.tiny import train_base
from alicebob.bob.training import Schedule, save_curve
from alicebob.errors import DamagedData, UsageError
from alicebob.methods import shared
from alicebob.policies.conversation import Conversation
from alicebob.policies.models import load_adapter, load_base
from alicebob.trace import Turn

SCHEDULE = Schedule(1e-3, epochs=3, batch=2, every=2, seed=1)


def packs(tokenizer, skills, **changes):
    settings = {
        "context": 200,
        "turns": 0,
        "pack_tokens": 256,
        "budget": 3000,
        "repeat": 2,
        "shares": {},
        "asked": {},
        "validation_share": 0.0,
        "seed": 1,
    }
    return packs_of(skills, Conversation(tokenizer), **{**settings, **changes})


def test_loss_is_on_replies_alone_and_each_turn_is_learnt_once(model, skills):
    _, tokenizer = model
    talk = Conversation(tokenizer)
    skill = replace(skills[0], turns=tuple(t for s in skills[:4] for t in s.turns))
    rows = list(rows_of(skill, talk, 120))
    assert len(rows) > 2
    assert all(len(row.ids) <= 120 for row in rows)
    learnt = [i for row in rows for i, m in zip(row.ids, row.mask, strict=True) if m]
    replies = [i for turn in skill.turns for i in talk.reply(f"Action: {turn.action}")]
    assert learnt == replies


def test_a_skill_whose_words_do_not_fit_is_left_out_and_said(model, skills, capsys):
    _, tokenizer = model
    wordy = replace(skills[0], instruction="Go on and on. " * 60)
    filled, _, counts, left_out = packs(tokenizer, [wordy, *skills[1:4]])
    assert left_out == 1
    told = capsys.readouterr().err
    assert "1 of 4 skills are left out of training: A prompt of" in told
    assert (filled, counts) == packs(tokenizer, skills[1:4])[::2][:2]
    with pytest.raises(UsageError, match=r"A prompt of \d+ tokens does not fit"):
        packs(tokenizer, [wordy])


def test_aimless_turns_and_context_are_read_and_not_learnt(model, skills):
    _, tokenizer = model
    talk = Conversation(tokenizer)
    marked = tuple(
        replace(turn, tags=("aimless",)) if n == 3 else turn
        for n, turn in enumerate(skills[0].turns)
    )
    (row,) = rows_of(replace(skills[0], turns=marked, context=2), talk, 500)
    learnt = [i for i, m in zip(row.ids, row.mask, strict=True) if m]
    kept = [marked[2], marked[4]]
    assert learnt == [i for turn in kept for i in talk.reply(f"Action: {turn.action}")]


def test_packs_hold_every_row_once_and_rare_kinds_are_not_drowned():
    draw = default_rng(0)
    rows = [Row(tuple(range(n)), (1,) * n) for n in (50, 90, 10, 100, 40, 60)]
    filled = pack(rows, 100, padding=7)
    assert len(filled) == 4
    assert all(len(p.input_ids) == 100 for p in filled)
    assert sum(i != IGNORED for p in filled for i in p.labels) == 350 - len(
        rows
    )  # the first tokens
    with pytest.raises(UsageError, match="A row of 101 tokens"):
        pack([Row((1,) * 101, (1,) * 101)], 100, 7)
    groups = {"common": [Row((1,) * 10, (1,) * 10)] * 900, "rare": [Row((2,) * 10, (1,) * 10)] * 9}
    chosen = balanced(groups, 1000, 3, {}, draw, {})
    rare = sum(row.ids[0] == 2 for row in chosen)
    assert 0.08 * len(chosen) < rare <= 27


def test_what_is_asked_for_gets_more_of_its_familys_share():
    kinds = ("make_table", "eat_cow", "open_play make_table on", "open_play eat_cow")
    groups = {kind: [Row((n,) * 10, (1,) * 10)] * 900 for n, kind in enumerate(kinds)}

    def tokens(asked):
        chosen = balanced(groups, 6000, 3, {"open_play": 0.5}, default_rng(0), asked)
        return [10 * sum(row.ids[0] == n for row in chosen) for n in range(len(kinds))]

    assert tokens({}) == tokens({"defeat_zombie": 5.0}) == [1500] * 4
    assert tokens({"make_table": 2.0}) == [2250, 750, 2250, 750]


def test_what_feedback_asks_for_most_weighs_most(tmp_path):
    def asked(by_feedback, **explore):
        Feedback("r001", explore=explore).save(tmp_path)
        params = SimpleNamespace(train=SimpleNamespace(by_feedback=by_feedback))
        return shared._asked(SimpleNamespace(params=params, inherited=lambda kind: tmp_path))

    assert asked(2.0, eat_cow=0.3, make_table=0.6, wake_up=0.0) == {"eat_cow": 1, "make_table": 2}
    assert asked(0.0, eat_cow=0.3) == asked(2.0) == asked(2.0, wake_up=0.0) == {}


def test_a_pack_gives_the_logits_of_its_rows(model, skills):
    network, tokenizer = model
    filled, *_ = packs(tokenizer, skills[:4], pack_tokens=600)
    one = filled[0]
    together = network(
        input_ids=torch.tensor([one.input_ids]),
        position_ids=torch.tensor([one.position_ids]),
        use_cache=False,
    ).logits[0]
    starts = [n for n, place in enumerate(one.position_ids) if place == 0] + [len(one.input_ids)]
    assert len(starts) > 3
    for first, last in pairwise(starts):
        alone = network(torch.tensor([one.input_ids[first:last]])).logits[0]
        assert torch.allclose(together[first:last], alone, atol=2e-5)


def test_logits_are_computed_only_where_there_is_loss(model, skills):
    network, tokenizer = model
    filled, *_ = packs(tokenizer, skills)
    ids = torch.tensor([filled[0].input_ids])
    places = torch.tensor([filled[0].labels])[:, 1:] != IGNORED
    whole = network(ids, use_cache=False).logits
    with logits_only_where_there_is_loss(network) as chosen:
        chosen["places"] = places
        few = network(ids, use_cache=False).logits
    assert torch.allclose(few, whole[:, :-1][places], atol=1e-5)
    assert network(ids, use_cache=False).logits.shape == whole.shape


def weights(network):
    return {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad}


def adapted(base):
    network, tokenizer = load_base(base)
    return new_adapter(network, Lora(4), 1), tokenizer


@pytest.fixture(scope="module")
def run(base, skills, tmp_path_factory):
    """A run of three looks, and a function that runs it again in another folder."""
    _, tokenizer = load_base(base)
    filled, looked, *_ = packs(tokenizer, skills, validation_share=0.64)
    assert looked
    schedule = replace(SCHEDULE, patience=50)

    def again(work, report=lambda values, step: None):
        network, _ = adapted(base)
        fitted = train(network, filled, looked, schedule, work, report)
        save_curve(fitted, work / "curve.json")
        return network, (work / "curve.json").read_bytes()

    work = tmp_path_factory.mktemp("run") / "fit"
    network, curve = again(work)
    steps = sorted(int(p.name[11:]) for p in work.glob("checkpoint-*"))
    assert len(steps) == 3
    return work, again, weights(network), curve, steps


def same(run, work):
    """Run again in a folder, and tell whether weights and curve end in the same bytes."""
    _, again, expected, curve, _ = run
    network, found = again(work)
    return found == curve and all(
        torch.equal(value, expected[name]) for name, value in weights(network).items()
    )


@pytest.mark.parametrize("more", [{"micro_batch": 1}, {"micro_batch": 2, "checkpointing": True}])
def test_parts_of_a_batch_teach_what_the_whole_batch_does(base, skills, tmp_path, more):
    _, tokenizer = load_base(base)
    filled, *_ = packs(tokenizer, skills)
    assert len({sum(label != IGNORED for label in p.labels) for p in filled[:4]}) > 1

    def learnt(folder, **changes):
        network, _ = adapted(base)
        schedule = replace(SCHEDULE, batch=4, epochs=2, every=100, **changes)
        fitted = train(network, filled, [], schedule, tmp_path / folder)
        return weights(network), fitted

    whole, told = learnt("whole")
    parts, again = learnt("parts", **more)
    assert (told.steps, told.tokens) == (again.steps, again.tokens)
    start, _ = adapted(base)
    assert max((whole[n] - w).abs().max() for n, w in weights(start).items()) > 1e-3
    for name, value in whole.items():
        assert torch.allclose(value, parts[name], atol=2e-5), name


def test_a_part_that_does_not_divide_a_batch_is_refused(base, skills, tmp_path):
    network, tokenizer = adapted(base)
    filled, *_ = packs(tokenizer, skills)
    with pytest.raises(UsageError, match=r"train.micro_batch \(3\) does not divide the 4 packs"):
        train(network, filled, [], replace(SCHEDULE, batch=4, micro_batch=3), tmp_path)


def test_a_round_has_two_checkpoints_at_least(base, skills, tmp_path, capsys):
    network, tokenizer = adapted(base)
    filled, *_ = packs(tokenizer, skills)
    fitted = train(network, filled, [], replace(SCHEDULE, every=1000), tmp_path)
    assert len(list(tmp_path.glob("checkpoint-*"))) >= 2
    told = f"train.every (1000) is more than half of {fitted.steps} steps"
    assert told in capsys.readouterr().err


def test_an_adapter_is_computed_as_short_as_its_base_and_kept_long(base, skills, tmp_path):
    network, tokenizer = load_base(base, "bfloat16")
    network = new_adapter(network, Lora(4), 1)
    filled, *_ = packs(tokenizer, skills)
    read = set()
    for name, module in network.named_modules():
        if name.endswith("lora_B.default"):
            module.register_forward_hook(
                lambda _, given, out: read.add((given[0].dtype, out.dtype))
            )
    fitted = train(network, filled, [], SCHEDULE, tmp_path)
    assert read == {(torch.bfloat16, torch.bfloat16)}
    assert {w.dtype for w in weights(network).values()} == {torch.float32}
    losses = [entry["loss"] for entry in fitted.curve if "loss" in entry]
    assert losses[-1] < losses[0]


def test_training_learns(run):
    looks = [entry["eval_loss"] for entry in json.loads(run[3])["curve"] if "eval_loss" in entry]
    assert looks[-1] < looks[0]


def test_a_killed_run_ends_in_the_same_bytes(run, tmp_path, capsys):
    shutil.copytree(run[0], tmp_path / "fit")
    torn = tmp_path / "fit" / f"checkpoint-{run[4][-1]}"
    (torn / "COMPLETE").unlink()  # as if the kill had come while it was written
    (torn / "adapter_model.safetensors").write_bytes(b"torn")
    assert same(run, tmp_path / "fit")
    said = capsys.readouterr().err
    assert f"Training goes on from {tmp_path}/fit/checkpoint-{run[4][-2]}." in said
    assert "damaged" not in said


def test_what_is_logged_does_not_depend_on_where_a_run_was_killed(base, tmp_path):
    """With 11 steps between checkpoints a mean over two of them would lose the eleventh."""
    draw = default_rng(0)
    rows = [Row(tuple(draw.integers(10, 400, 16).tolist()), (1,) * 16) for _ in range(26)]
    filled, schedule = pack(rows, 16, 0), Schedule(1e-3, epochs=1, batch=1, every=11, seed=1)
    whole = train(adapted(base)[0], filled, [], schedule, tmp_path)
    for later in ("checkpoint-22", "checkpoint-26"):
        shutil.rmtree(tmp_path / later)
    assert train(adapted(base)[0], filled, [], schedule, tmp_path).curve == whole.curve


DAMAGES = {
    "flipped": lambda data: bytes([*data[:-9], data[-9] ^ 1, *data[-8:]]),
    "truncated": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
}
DAMAGED = [
    *[("adapter_model.safetensors", damage) for damage in DAMAGES],
    *[(name, "flipped") for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth")],
    *[("trainer_state.json", "flipped"), ("COMPLETE", "flipped"), ("COMPLETE", "emptied")],
]


@pytest.mark.parametrize(("name", "damage"), DAMAGED)
def test_a_damaged_checkpoint_is_named_and_the_older_whole_one_taken(
    run, tmp_path, capsys, name, damage
):
    shutil.copytree(run[0], tmp_path / "fit")
    newest = tmp_path / "fit" / f"checkpoint-{run[4][-1]}"
    (newest / name).write_bytes(DAMAGES[damage]((newest / name).read_bytes()))
    assert same(run, tmp_path / "fit")
    said = capsys.readouterr().err
    assert f"{newest} is damaged (" in said
    assert name in said
    assert f"Training goes on from {tmp_path}/fit/checkpoint-{run[4][-2]}." in said


def test_a_file_of_another_checkpoint_is_damage_and_where_none_is_whole_training_begins_anew(
    run, tmp_path, capsys
):
    shutil.copytree(run[0], tmp_path / "fit")
    folders = [tmp_path / "fit" / f"checkpoint-{step}" for step in run[4]]
    held = [(folder / "optimizer.pt").read_bytes() for folder in folders]
    for folder, other in zip(folders, [held[-1], *held[:-1]], strict=True):
        (folder / "optimizer.pt").write_bytes(other)
    assert same(run, tmp_path / "fit")
    said = capsys.readouterr().err
    assert all(
        f"{folder} is damaged (optimizer.pt: not what COMPLETE vouches for)" in said
        for folder in folders
    )
    assert "goes on" not in said


@pytest.fixture
def rising(base, tmp_path):
    """A run whose first look is its best, and what it ends in."""
    draw = default_rng(0)
    rows = [Row(tuple(draw.integers(10, 400, 32).tolist()), (1,) * 32) for _ in range(8)]
    filled, looked = pack(rows[:6], 32, 0), pack(rows[6:], 32, 0)
    schedule = Schedule(1e-1, epochs=4, batch=2, every=2, patience=50, seed=1)

    def again(report=lambda values, step: None):
        network, _ = adapted(base)
        train(network, filled, looked, schedule, tmp_path / "fit", report)
        return weights(network)

    ended = again()
    state = json.loads((tmp_path / "fit/checkpoint-12/trainer_state.json").read_text())
    assert state["best_global_step"] < 10
    return again, ended, tmp_path / "fit" / f"checkpoint-{state['best_global_step']}"


def test_what_rests_on_a_best_that_was_lost_is_lost_too(rising, capsys):
    """Else it would end in its last weights, which are not the best."""
    again, ended, best = rising
    (best / "adapter_model.safetensors").write_bytes(b"")
    assert all(torch.equal(value, ended[name]) for name, value in again().items())
    said = capsys.readouterr().err
    assert f"{best} is damaged (adapter_model.safetensors: " in said
    assert f"checkpoint-12 is damaged (its best, {best.name}, is lost)" in said


def test_a_best_that_is_damaged_while_training_runs_is_not_taken(rising, capsys):
    again, ended, best = rising
    for folder in best.parent.glob("checkpoint-1*"):
        shutil.rmtree(folder)

    def spoil(values, step):
        if step == 12:
            (best / "adapter_model.safetensors").write_bytes(b"")

    with pytest.raises(DamagedData, match=rf"{best}, the best .* was damaged \(adapter_model"):
        again(spoil)
    assert all(torch.equal(value, ended[name]) for name, value in again().items())


def test_a_base_that_was_killed_after_a_checkpoint_ends_in_the_same_bytes(
    crafter, random_episodes, tmp_path
):
    def build(name):
        shape = {"vocabulary": 400, "layers": 1, "width": 32, "context": 512}
        schedule = {"epochs": 3, "pack_tokens": 128, "batch": 1, "learning_rate": 3e-3}
        work, out = tmp_path / "fit", tmp_path / name
        train_base(random_episodes, crafter(), out, work, **shape, **schedule, seed=0)
        return {path.name: path.read_bytes() for path in sorted(out.iterdir())}

    whole = build("a")
    later = max(tmp_path.glob("fit/checkpoint-*"), key=lambda path: int(path.name[11:]))
    assert later.name != "checkpoint-200"  # the last, when all was done
    shutil.rmtree(later)
    assert build("b") == whole


def test_a_killed_run_stops_early_where_the_whole_one_does(base, tmp_path):
    draw = default_rng(0)
    rows = [Row(tuple(draw.integers(10, 400, 32).tolist()), (1,) * 32) for _ in range(14)]
    filled, looked = pack(rows[:12], 32, 0), pack(rows[12:], 32, 0)
    schedule = Schedule(3e-2, epochs=12, batch=2, every=2, patience=2, seed=1)
    whole = train(adapted(base)[0], filled, looked, schedule, tmp_path)
    looks = [int(entry["step"]) for entry in whole.curve if "eval_loss" in entry]
    assert 3 * schedule.every <= whole.steps < 72  # it did stop early, and not at once

    def resumed():
        return train(adapted(base)[0], filled, looked, schedule, tmp_path)

    assert resumed().curve == whole.curve  # killed when all was done but the end
    shutil.rmtree(tmp_path / f"checkpoint-{looks[-1]}")
    assert resumed().curve == whole.curve  # killed while patience was being tried


@pytest.mark.parametrize("batch", [1, 2, 4, 16])
def test_every_row_is_learnt_from_and_counted_whatever_the_batch(base, tmp_path, batch):
    """The last packs are the shortest rows: to drop them drops whole kinds of skill."""
    draw = default_rng(0)
    sizes = (30, 29, 28, 27, 9, 8, 7, 6, 5)
    rows = [Row(tuple(draw.integers(10, 400, size).tolist()), (1,) * size) for size in sizes]
    ended = []
    for last in (rows[-1], Row(rows[-1].ids[::-1], rows[-1].mask)):
        filled = pack([*rows[:-1], last], 32, 0)
        assert len(filled) == 5
        network, _ = adapted(base)
        schedule = Schedule(1e-3, epochs=2, batch=batch, every=100, seed=1)
        fitted = train(network, filled, [], schedule, tmp_path / f"{len(ended)}")
        assert (fitted.steps, fitted.tokens) == (2 * -(-5 // batch), 2 * sum(sizes))
        ended.append(weights(network))
    assert not all(torch.equal(value, ended[1][name]) for name, value in ended[0].items())


def test_the_counts_of_kinds_are_of_what_is_trained(model, skills):
    _, tokenizer = model
    filled, _, counts, _ = packs(tokenizer, skills, budget=700, repeat=1)
    begun = [places.count(0) for places in (pack.position_ids for pack in filled)]
    padded = [labels[-1] == IGNORED for labels in (pack.labels for pack in filled)]
    assert sum(counts.values()) == sum(begun) - sum(padded) < len(skills)


def test_a_batch_that_cannot_be_shared_is_refused(base, skills, tmp_path, monkeypatch):
    network, tokenizer = adapted(base)
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="cannot be divided among 3 processes"):
        train(network, packs(tokenizer, skills)[0], [], SCHEDULE, tmp_path)


def test_a_base_of_the_same_shape_is_another_base(base, tmp_path):
    network, _ = adapted(base)
    save_adapter(network, base, tmp_path / "a", "# card\n")
    assert load_adapter(load_base(base, "bfloat16")[0], tmp_path / "a")
    other, _ = load_base(base)
    with torch.no_grad():
        other.get_input_embeddings().weight[0, 0] += 1.0
    with pytest.raises(UsageError, match="made for another base"):
        load_adapter(other, tmp_path / "a")


def test_an_adapter_is_saved_alike_and_refuses_another_base(base, skills, tmp_path):
    network, tokenizer = adapted(base)
    filled, *_ = packs(tokenizer, skills[:6])
    fitted = train(network, filled, [], replace(SCHEDULE, epochs=1), tmp_path / "w")
    for name in "ab":
        save_adapter(network, base, tmp_path / name, "# card\n", fitted)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "base.json",
        "training.json",
    ]
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files
    )
    assert "second" not in (tmp_path / "a" / "training.json").read_text()
    back = load_adapter(load_base(base)[0], tmp_path / "a", trainable=True)
    assert all(torch.equal(v, weights(network)[n]) for n, v in weights(back).items())
    other = json.loads((tmp_path / "a" / "base.json").read_text()) | {"fingerprint": "0" * 16}
    (tmp_path / "a" / "base.json").write_text(json.dumps(other))
    with pytest.raises(UsageError, match="made for another base"):
        load_adapter(load_base(base)[0], tmp_path / "a")
    (tmp_path / "b" / "adapter_model.safetensors").write_bytes(b"torn")
    with pytest.raises(DamagedData, match="cannot be read"):
        load_adapter(load_base(base)[0], tmp_path / "b")
    with pytest.raises(UsageError, match=r"holds no adapter_model.safetensors"):
        load_adapter(load_base(base)[0], tmp_path / "w")


def test_nothing_to_learn_and_no_such_model_are_one_sentence(base, tmp_path):
    network, _ = adapted(base)
    with pytest.raises(UsageError, match="no skills to train on"):
        train(network, [], [], SCHEDULE, tmp_path)
    with pytest.raises(UsageError, match=r"bob.model '/nowhere' cannot be loaded"):
        load_base("/nowhere")


def test_skills_of_an_episode_fall_on_one_side(skills):
    sides = {}
    for skill in skills:
        sides.setdefault(skill.episode, set()).add(held_out(skill, 0.5))
    assert all(len(side) == 1 for side in sides.values())


TWO = """
import json, os, pickle, sys, torch
from pathlib import Path
from alicebob.bob.sft import Lora, new_adapter, train
from alicebob.policies.models import load_base
from alicebob.bob.training import Schedule
torch.set_num_threads(1)
base, packs, out = sys.argv[1:]
network = new_adapter(load_base(base)[0], Lora(4), 1)
filled = pickle.loads(Path(packs).read_bytes())
fitted = train(network, filled, [], Schedule(1e-3, epochs=1, batch=2, every=1, seed=1), Path(out))
if os.environ.get("RANK", "0") == "0":
    print("LOSSES", json.dumps([*(e["loss"] for e in fitted.curve), fitted.tokens]))
"""


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(base, skills, tmp_path):
    import pickle

    _, tokenizer = load_base(base)
    filled, *_ = packs(tokenizer, skills, budget=2000)
    filled = filled[: len(filled) // 2 * 2 - 1]  # so that one process is left over in the last step
    (tmp_path / "packs").write_bytes(pickle.dumps(filled))
    script = tmp_path / "two.py"
    script.write_text(TWO)
    losses = []
    for count in (1, 2):
        run = subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(count)),
                *("--master_port", "29517", str(script), base, str(tmp_path / "packs")),
                str(tmp_path / f"work{count}"),
            ],
            env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr[-2000:]
        line = next(line for line in run.stdout.splitlines() if line.startswith("LOSSES"))
        losses.append(json.loads(line.removeprefix("LOSSES")))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("thoughts", [True, False])
def test_to_begin_a_thing_in_open_play_is_a_kind_apart_from_going_on(model, skills, thoughts):
    """Whether there are thoughts or not: a mixture that depends on them would be another one."""
    _, tokenizer = model
    aims = [("sleep", ()), ("sleep", ()), ("sleep", ("asleep",)), ("eat", ("again",))]
    turns = tuple(
        Turn(f"see {n}", "noop", aim * thoughts, tags=(*tags, f"aim:{aim}"))
        for n, (aim, tags) in enumerate(aims)
    )
    skill = replace(skills[0], name="open_play", turns=turns, start=0, end=len(turns))
    kinds = [row.kind for row in rows_of(skill, Conversation(tokenizer), 200, turns=1)]
    assert kinds == ["open_play sleep", "open_play sleep on", "open_play_again eat"]
