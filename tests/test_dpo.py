"""DPO: the loss and gradient of the formula, whatever is read once, packed or resumed."""

import itertools
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from architectures import tiny
from numpy.random import default_rng

from alicebob.bob.dpo import Preference, referred, sides_of
from alicebob.bob.objective import logits_only_where_there_is_loss
from alicebob.bob.rows import IGNORED, Row, rows_of
from alicebob.bob.sft import Lora, new_adapter
from alicebob.bob.training import Schedule, fit
from alicebob.policies.conversation import Conversation
from alicebob.policies.faithful import branches
from alicebob.policies.models import load_base

BETA = 0.3
SCHEDULE = Schedule(2e-3, epochs=2, batch=2, every=2, seed=1)


def row(draw, *parts):
    """Return a row of parts that are read (above 0) or answered (below) of so many tokens."""
    sizes = [abs(part) for part in parts]
    mask = [int(part < 0) for part, size in zip(parts, sizes, strict=True) for _ in range(size)]
    return Row(tuple(draw.integers(10, 400, sum(sizes)).tolist()), tuple(mask))


def grown(draw, trunk, *parts):
    """Return two rows that begin with a trunk and go on each in its own way."""
    rows = [row(draw, *parts) for _ in range(2)]
    return [Row(trunk.ids + each.ids, trunk.mask + each.mask) for each in rows]


@pytest.fixture(scope="module")
def pairs():
    """Pairs that share a lot, nothing, a row in the middle; of one row or several."""
    draw = default_rng(0)
    trunk, same = row(draw, 20, -4, 9), row(draw, 5, -6)
    won, lost = grown(draw, trunk, -3, 8, -5)
    other = grown(draw, row(draw, 7), 3, -4)
    alone = [row(draw, 9, -3), row(draw, 11, -7)]
    return [
        ([won], [lost]),
        ([alone[0]], [alone[1]]),
        ([same, other[0], alone[1]], [same, other[1]]),
        ([other[0]], [other[1], alone[0], won]),
    ]


@pytest.fixture
def network(base):
    """A model with an adapter that has learnt something."""
    model = new_adapter(load_base(base)[0], Lora(4), 1)
    torch.manual_seed(2)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model


def plainly(model, rows, others=()):
    """Return the log-probability of what is answered in rows, each read alone, and its tokens.

    What a row begins with as another does is left out.
    """
    total, tokens = 0.0, 0
    for number, each in enumerate(rows):
        alike = zip(each.ids, others[number].ids if others else (), strict=False)
        same = len([*itertools.takewhile(lambda two: two[0] == two[1], alike)])
        learnt = torch.tensor([mask if n >= same else 0 for n, mask in enumerate(each.mask)][1:])
        logits = model(torch.tensor([each.ids]), use_cache=False).logits[0, :-1]
        chosen = logits.log_softmax(-1).gather(1, torch.tensor(each.ids[1:])[:, None])[:, 0]
        total, tokens = total + (chosen * learnt).sum(), tokens + int(learnt.sum())
    return total, tokens


def formula(model, pairs, references, nll=0.0):
    losses = []
    for (won, lost), (first, second) in zip(pairs, references, strict=True):
        margin = plainly(model, won)[0] - first - plainly(model, lost)[0] + second
        own, tokens = plainly(model, won, [*lost, *[Row((), ())] * len(won)])
        losses.append(-torch.nn.functional.logsigmoid(BETA * margin) - nll * own / max(1, tokens))
    return torch.stack(losses).sum()


def gradient(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def summed(objective, items):
    with logits_only_where_there_is_loss(objective.model) as chosen:
        return objective.summed(objective.model, objective.collate(items), chosen)


WAYS = {
    "trunks": {"share": True},
    "packed": {"share": False},
    "alone": {"share": False, "together": False},
}


@pytest.mark.parametrize("nll", [0.0, 0.7])
@pytest.mark.parametrize("way", WAYS)
def test_loss_and_gradient_are_those_of_the_formula_on_each_row_alone(network, pairs, way, nll):
    objective = Preference(network, BETA, 64, **WAYS[way], nll=nll)
    exact = network.double()
    # Any references: what both sides begin with cancels out of the first, as of the second.
    differ = [(0.5 * n, -1.0 + n) for n in range(len(pairs))]
    right = formula(exact, pairs, differ, nll)
    expected = gradient(exact, right)
    items = [
        replace(sides_of(*pair, share=objective.share), reference=reference)
        for pair, reference in zip(pairs, differ, strict=True)
    ]
    network.float()
    loss, noted = summed(objective, [*items, objective.blank(items)])
    assert float(loss.detach()) == pytest.approx(float(right.detach()), rel=1e-5)
    found = gradient(network, loss)
    assert float((found - expected).norm() / expected.norm()) < 1e-4
    assert noted["ahead"][1] == len(pairs)


def test_a_trunk_is_read_once_and_a_row_that_both_have_never(pairs):
    draw = default_rng(0)
    trunk = row(draw, 20, -4, 9)
    shared, apart = (sides_of(*pairs[0], share=share) for share in (True, False))
    (tree,) = shared.trees
    assert len(tree.ids) == sum(len(t.ids) for t in apart.trees) - len(trunk.ids) + 1
    assert tree.ids[: len(trunk.ids)] == trunk.ids
    both = sides_of(*pairs[2])
    assert sum(len(t.ids) for t in both.trees) == (14 + 14 - 6) + 18


def test_what_is_seen_has_no_loss(pairs, network):
    """Of a trunk nothing has, of a branch what Bob answered."""
    for pair in pairs:
        for share in (True, False):
            learnt = {1: [], 2: []}
            for tree in sides_of(*pair, share=share).trees:
                for label, branch in zip(tree.labels, tree.branches, strict=True):
                    if label != IGNORED:
                        learnt[branch].append(label)
            for side, rows in enumerate(pair, start=1):
                answered = [i for r in rows for i, m in zip(r.ids, r.mask, strict=True) if m]
                assert learnt[side] == answered[len(answered) - len(learnt[side]) :]
                assert learnt[side]


def test_the_observations_of_a_trajectory_have_no_loss(model, skills):
    talk = Conversation(model[1])
    trajectories = skills[0], replace(skills[0], turns=skills[9].turns)
    sides = sides_of(*(list(rows_of(skill, talk, 400)) for skill in trajectories))
    for side, skill in enumerate(trajectories, start=1):
        said = [
            label
            for tree in sides.trees
            for label, branch in zip(tree.labels, tree.branches, strict=True)
            if branch == side and label != IGNORED
        ]
        replies = [i for turn in skill.turns for i in talk.reply(f"Action: {turn.action}")]
        assert said == replies[-len(said) :]
        assert len(said) > 3 * len(talk.end)


def prepared(model, pairs, work, **more):
    objective = Preference(model, BETA, 64, **more)
    items = [sides_of(*pair, share=objective.share) for pair in pairs]
    work.mkdir(parents=True, exist_ok=True)
    return objective, referred(objective, items, 2, work)


def weights(model):
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def test_the_loss_begins_at_ln_2_and_falls_and_the_reference_stays(network, pairs, tmp_path):
    before = weights(network)
    objective, items = prepared(network, pairs, tmp_path)
    (kept,) = tmp_path.glob("reference-*.json")
    begun = kept.read_bytes()
    loss, _ = summed(objective, items)
    assert float(loss.detach()) / len(pairs) == pytest.approx(math.log(2), abs=1e-6)
    schedule = replace(SCHEDULE, epochs=6, patience=100)
    fitted = fit(network, items, items, schedule, tmp_path / "fit", objective=objective)
    looks = [entry for entry in fitted.curve if "eval_loss" in entry]
    assert looks[0]["eval_loss"] > looks[-1]["eval_loss"]
    assert looks[-1]["eval_loss"] < math.log(2) - 0.1
    assert looks[-1]["eval_ahead"] == 1.0
    assert {"winners", "winners_change", "margin"} <= {*fitted.curve[0]}
    assert kept.read_bytes() == begun
    after = weights(network)
    assert all(torch.equal(v, after[n]) for n, v in before.items() if "lora_" not in n)
    assert any(not torch.equal(v, after[n]) for n, v in before.items() if "lora_" in n)
    # What was learnt has another reference, under another name; the first is not read for it.
    _, anew = prepared(network, pairs, tmp_path)
    assert len(list(tmp_path.glob("reference-*.json"))) == 2
    assert [i.reference for i in anew] != [i.reference for i in items]


def test_references_are_read_back_and_do_not_depend_on_how_many_at_once(network, pairs, tmp_path):
    objective, items = prepared(network, pairs, tmp_path)
    (kept,) = tmp_path.glob("reference-*.json")
    found = json.loads(kept.read_text())
    assert found == [list(item.reference) for item in items]
    kept.write_text(json.dumps([[1.0, 2.0]] * len(items)))
    _, again = prepared(network, pairs, tmp_path)
    assert {item.reference for item in again} == {(1.0, 2.0)}
    whole = referred(objective, items, 4, tmp_path.parent / f"{tmp_path.name}-other")
    for one, other in zip(items, whole, strict=True):
        assert one.reference == pytest.approx(other.reference, abs=1e-4)


@pytest.mark.parametrize("micro_batch", [1, 2])
def test_parts_of_a_batch_teach_what_the_whole_batch_does(
    network, pairs, tmp_path, base, micro_batch
):
    start = weights(network)
    ended = []
    for name, size in (("whole", 0), ("parts", micro_batch)):
        network.load_state_dict(start, strict=False)
        objective, items = prepared(network, pairs, tmp_path / name)
        schedule = replace(SCHEDULE, batch=4, micro_batch=size)
        fit(network, items[:3], [], schedule, tmp_path / name / "fit", objective=objective)
        ended.append(weights(network))
    assert any((v - start[n]).abs().max() > 1e-3 for n, v in ended[0].items())
    for name, value in ended[0].items():
        assert torch.allclose(value, ended[1][name], atol=2e-5), name


def test_a_killed_run_ends_in_the_same_bytes(network, pairs, tmp_path):
    start = weights(network)

    def run():
        network.load_state_dict(start, strict=False)
        objective, items = prepared(network, pairs, tmp_path)
        schedule = replace(SCHEDULE, epochs=3, patience=100)
        fitted = fit(network, items, items, schedule, tmp_path / "fit", objective=objective)
        return fitted.curve, weights(network)

    curve, ended = run()
    for later in ("checkpoint-4", "checkpoint-6"):
        shutil.rmtree(tmp_path / "fit" / later)
    again, found = run()
    assert again == curve
    assert all(torch.equal(value, found[name]) for name, value in ended.items())


def test_a_run_that_collapses_ends_in_the_best_before(base, skills, tmp_path, capsys):
    network, tokenizer = load_base(base)
    network, talk = new_adapter(network, Lora(4), 1), Conversation(tokenizer)
    rows = [list(rows_of(skill, talk, 400)) for skill in skills[:8]]
    objective, items = prepared(
        network, list(zip(rows[:4], rows[4:], strict=True)), tmp_path, collapse=0.2
    )
    schedule = Schedule(5e-2, epochs=40, batch=2, every=5, patience=100, warmup=0.9, seed=1)
    fitted = fit(network, items, items, schedule, tmp_path / "fit", objective=objective)
    assert 0 < fitted.collapsed < 80
    assert fitted.steps == fitted.collapsed
    assert f"Training ends at step {fitted.collapsed}: winners_change fell" in (
        capsys.readouterr().err
    )
    looks = {e["step"]: e for e in fitted.curve if "eval_loss" in e}
    assert all(step < fitted.collapsed for step in looks)
    best = min(looks, key=lambda step: looks[step]["eval_loss"])
    _, noted = summed(objective, items)
    kept = float((noted["winners_change"][0] / noted["winners_change"][1]).detach())
    assert kept == pytest.approx(looks[best]["eval_winners_change"], abs=1e-4)
    assert kept > -0.5


def test_a_run_that_collapses_at_once_has_nothing_to_keep(network, pairs, tmp_path):
    objective, items = prepared(network, pairs, tmp_path, collapse=-1.0)
    fitted = fit(
        network, items, items, replace(SCHEDULE, patience=9), tmp_path / "fit", objective=objective
    )
    assert (fitted.collapsed, fitted.best) == (1, None)


@pytest.mark.parametrize(
    ("kind", "context", "may"),
    [
        *[(kind, 150, True) for kind in ("llama", "qwen2", "qwen3", "gemma", "gpt2", "smollm3")],
        *[(kind, 150, False) for kind in ("mistral", "gemma2", "gpt_oss", "mamba")],
        ("mistral", 40, True),  # its window is of 100 tokens: twice as far as this is within it
        ("mistral", 60, False),
    ],
)
def test_a_trunk_is_only_shared_by_a_model_that_reads_it_right(kind, context, may):
    assert branches(tiny(kind, sliding_window=100), context) is may


def single(draw, prompt, won, lost):
    """Return a pair of one turn: the same prompt, two answers that begin alike or do not."""
    trunk = row(draw, prompt)
    return [
        [Row(trunk.ids + r.ids, trunk.mask + r.mask)] for r in (row(draw, -won), row(draw, -lost))
    ]


@pytest.fixture(scope="module")
def turns():
    draw = default_rng(3)
    return [single(draw, *sizes) for sizes in ((12, 4, 4), (30, 6, 2), (7, 9, 3), (1, 5, 5))]


@pytest.mark.filterwarnings("ignore")  # its own
@pytest.mark.parametrize("way", WAYS)
def test_on_single_turns_loss_and_gradient_are_those_of_trl(base, network, turns, tmp_path, way):
    trl = pytest.importorskip("trl", reason="trl is not installed: pip install trl, to compare")
    from datasets import Dataset

    class Peer(trl.DPOTrainer):
        def _prepare_dataset(self, dataset, *_):
            return dataset  # token ids already

    answered = [sum(won[0].mask) for won, _ in turns], [sum(lost[0].mask) for _, lost in turns]
    rows = [
        {
            "prompt_ids": list(won[0].ids[: -answered[0][n]]),
            "chosen_ids": list(won[0].ids[-answered[0][n] :]),
            "rejected_ids": list(lost[0].ids[-answered[1][n] :]),
            "ref_chosen_logps": -3.0 * n,
            "ref_rejected_logps": -2.0 - n,
        }
        for n, (won, lost) in enumerate(turns)
    ]
    objective = Preference(network, BETA, 64, **WAYS[way])
    items = [
        replace(sides_of(*pair, objective.share), reference=(-3.0 * n, -2.0 - n))
        for n, pair in enumerate(turns)
    ]
    loss, _ = summed(objective, items)
    mine = gradient(network, loss / len(turns))
    options = {"beta": BETA, "max_length": None, "use_cpu": True, "report_to": [], "bf16": False}
    peer = Peer(
        model=network,
        args=trl.DPOConfig(str(tmp_path), **options),
        train_dataset=Dataset.from_list(rows),
        processing_class=load_base(base)[1],
    )
    peer.precompute_ref_logps = True
    theirs = peer.compute_loss(network, peer.data_collator(rows))
    expected = gradient(network, theirs)
    assert float(loss.detach()) / len(turns) == pytest.approx(float(theirs.detach()), rel=1e-4)
    assert float((mine - expected).norm() / expected.norm()) < 1e-4


TWO = """
import json, os, pickle, sys, torch
from pathlib import Path
from alicebob.bob.dpo import Preference, referred
from alicebob.bob.sft import Lora, new_adapter
from alicebob.policies.models import load_base
from alicebob.bob.training import Schedule, fit
torch.set_num_threads(1)
base, sides, out = sys.argv[1:]
network = new_adapter(load_base(base)[0], Lora(4), 1)
objective = Preference(network, 0.3, 64)
Path(out).mkdir(exist_ok=True)
items = referred(objective, pickle.loads(Path(sides).read_bytes()), 2, Path(out))
schedule = Schedule(1e-2, epochs=2, batch=2, every=1, seed=1)
fitted = fit(network, items, [], schedule, Path(out) / "fit", objective=objective)
if os.environ.get("RANK", "0") == "0":
    names = ("loss", "winners", "winners_change", "margin")
    print("CURVE", json.dumps([*([e[n] for n in names] for e in fitted.curve), fitted.tokens]))
"""


@pytest.mark.slow
def test_two_processes_give_the_curve_of_one(base, pairs, tmp_path):
    """Of three pairs: one process is left over in the last step, and has one less to refer."""
    (tmp_path / "sides").write_bytes(pickle.dumps([sides_of(*pair) for pair in pairs[:3]]))
    (tmp_path / "two.py").write_text(TWO)
    found = []
    for count in (1, 2):
        run = subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(count)),
                *("--master_port", "29518", str(tmp_path / "two.py"), base),
                *(str(tmp_path / "sides"), str(tmp_path / f"work{count}")),
            ],
            env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr[-2000:]
        line = next(line for line in run.stdout.splitlines() if line.startswith("CURVE"))
        found.append(json.loads(line.removeprefix("CURVE")))
    one, two = found
    assert one[-1] == two[-1]
    for mine, theirs in zip(one[:-1], two[:-1], strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3, abs=1e-4)
