import json
from pathlib import Path

import pytest

from alicebob.experiment import presets
from alicebob.experiment.edit import add
from alicebob.experiment.estimate import estimate, table

TEXT = (Path(__file__).parent.parent / "params.yaml").read_text()


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(TEXT)
    return tmp_path


def by_stage(costs, round_id):
    return {cost.stage: cost for cost in costs if cost.round == round_id}


def test_the_embedded_rounds_ask_nobody_and_train_more_each_round(project):
    costs = estimate()
    assert [cost.round for cost in costs] == [f"r00{n}" for n in (1, 2, 3) for _ in range(5)]
    assert all(cost.requests == cost.prompt_tokens == 0 for cost in costs)
    budgets = [by_stage(costs, f"r00{n}")["train"].tokens for n in (1, 2, 3)]
    assert budgets == [budgets[0], 2 * budgets[0], 3 * budgets[0]]
    assert by_stage(costs, "r001")["explore"].turns == 50 * 1000
    assert by_stage(costs, "r001")["evaluate"].episodes == 2 * (22 * 6 + 32)
    assert all(cost.seconds is None for cost in costs)


def test_a_branch_counts_its_own_depth(project):
    add("side", "r001", {})
    costs = estimate()
    assert by_stage(costs, "side")["train"].tokens == by_stage(costs, "r002")["train"].tokens


def test_a_model_as_alice_is_counted_by_part_and_priced(project):
    presets.apply("qwen7b-crafter-gpu")
    costs = by_stage(estimate(), "r001")
    assert costs["explore"].requests == 50 * 300
    assert costs["skills"].requests == 2 * 40 * 22
    assert costs["feedback"].requests == 22 * 4 + 1
    assert costs["explore"].prompt_tokens > 10 * costs["explore"].reply_tokens
    lines = table(estimate(), (1.0, 2.0)).splitlines()
    total = float(lines[-1].split()[-1].replace(",", ""))
    each = sum(float(line.split()[-1].replace(",", "").replace("-", "0")) for line in lines[1:-1])
    assert total == pytest.approx(each, abs=0.1)
    assert total > 0


def test_time_is_told_from_what_ran_here(project):
    (project / "logs").mkdir()
    facts = {"tokens_per_second": 1000, "seconds": 9}
    (project / "logs/r001-train.json").write_text(json.dumps(facts))
    costs = by_stage(estimate(), "r002")
    assert costs["train"].seconds == costs["train"].tokens / 1000
    assert costs["explore"].seconds is None
