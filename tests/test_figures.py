"""Intervals hold what they promise, also for rare and skewed figures of few episodes."""

import pytest

from alicebob.draws import generator
from alicebob.figures import mean, ratio, share, stratified

RUNS = 1500
SIZES = (4, 8, 20, 50, 100)
#: What is drawn, its mean, and its bounds where they are known.
DRAWN = {
    "normal": (lambda draw, n: draw.normal(0.4, 0.1, n), 0.4, (0.0, 1.0)),
    "normal without bounds": (lambda draw, n: draw.normal(11.0, 2.5, n), 11.0, None),
    "negative": (lambda draw, n: draw.normal(-3.0, 1.0, n), -3.0, None),
    "rare": (lambda draw, n: (draw.random(n) < 0.05) * 1.0, 0.05, (0.0, 1.0)),
    "rare without bounds": (lambda draw, n: (draw.random(n) < 0.05) * 1.0, 0.05, None),
    "rare and partial": (lambda draw, n: (draw.random(n) < 0.05) * draw.random(n), 0.025, None),
    "skewed": (lambda draw, n: draw.exponential(1.0, n), 1.0, None),
    "skewed in bounds": (lambda draw, n: draw.beta(0.5, 5.0, n), 0.5 / 5.5, (0.0, 1.0)),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", DRAWN)
def test_a_mean_is_within_its_interval_as_often_as_is_said(kind, size):
    make, middle, bounds = DRAWN[kind]
    draw = generator("coverage", kind, size)
    found = [mean([float(v) for v in make(draw, size)], bounds) for _ in range(RUNS)]
    held = sum(f["low"] - 1e-6 <= middle <= f["high"] + 1e-6 for f in found) / RUNS
    assert held >= 0.93
    if bounds:
        assert all(bounds[0] <= f["low"] <= f["mean"] <= f["high"] <= bounds[1] for f in found)


def test_many_episodes_give_students_interval():
    draw = generator("wide", 0)
    values = [float(v) for v in draw.normal(11.0, 2.5, 2000)]
    found = mean(values)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.961 * 2.5 / 2000**0.5, rel=0.06)


def test_of_one_value_there_is_no_interval_and_of_none_nothing():
    assert mean([0.5], (0.0, 1.0)) == {"mean": 0.5, "low": None, "high": None, "n": 1}
    assert mean([]) == {"mean": None, "low": None, "high": None, "n": 0}
    assert ratio([], []) == mean([])
    assert ratio([1.0], [4.0]) == {"mean": 0.25, "low": None, "high": None, "n": 1}


def test_what_was_never_seen_below_zero_has_no_interval_below_it():
    assert mean([0.0, 2.0])["low"] == 0.0
    assert mean([-0.5, 2.0])["low"] < -0.5


def test_turns_of_an_episode_do_not_count_as_independent():
    """Ten episodes, half of them all invalid, half none: ten facts, not a thousand."""
    lost, turns = [100.0] * 5 + [0.0] * 5, [100.0] * 10
    found = ratio(lost, turns)
    alone = share(500, 1000)
    assert found["mean"] == alone["mean"] == 0.5
    assert found["n"] == 10
    assert found["high"] - found["low"] > 5 * (alone["high"] - alone["low"])
    assert 0.0 <= found["low"] <= found["high"] <= 1.0


def test_shares_have_wilsons_interval():
    # Of 0 in 10 and of 5 in 10 (Brown, Cai and DasGupta, 2001).
    assert share(0, 10)["high"] == pytest.approx(0.2775, abs=1e-4)
    assert share(5, 10)["low"] == pytest.approx(0.2366, abs=1e-4)
    both = stratified([share(0, 10), share(10, 10)])
    assert both["mean"] == 0.5
    assert both["low"] < 0.5 < both["high"]
