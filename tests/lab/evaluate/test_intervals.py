"""Intervals of evaluations: known answers, scipy as the oracle, and coverage in simulation."""

import numpy as np
import pytest
from scipy import stats

from humanpose_cli.lab.evaluate.intervals import Clusters, paired_difference, summarise, summarise_figures
from humanpose_cli.lab.evaluate.report import figures_table


def test_independent_values_have_the_interval_of_a_bootstrap():
    values = np.random.default_rng(3).gamma(2.0, size=200)
    found = summarise(values)
    oracle = stats.bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(1))
    assert found.value == pytest.approx(values.mean())
    assert found.median == pytest.approx(np.median(values))
    assert found.low == pytest.approx(oracle.confidence_interval.low, abs=0.03)
    assert found.high == pytest.approx(oracle.confidence_interval.high, abs=0.03)
    assert summarise(values) == found  # always the same
    assert found.scaled(1000).document()["ci95"] == [1000 * found.low, 1000 * found.high]


def test_few_clusters_have_the_width_of_students_t():
    values = np.random.default_rng(0).normal(size=12)
    found = summarise(values, Clusters.single("sequences", 12))
    low, high = stats.t.interval(0.95, 11, values.mean(), values.std(ddof=1) / 12**0.5)
    assert found.high - found.low == pytest.approx(high - low, rel=0.06)
    assert found.basis == "12 different sequences"
    assert summarise(values[:9]).basis == "9 values: too few for a reliable interval"


@pytest.mark.parametrize(
    ("count", "unit"), [(1, "1 subject"), (2, "2 different subjects"), (4, "4 different subjects")]
)
def test_below_five_clusters_there_is_no_interval(count: int, unit: str):
    """Two subjects, as of Human3.6M's test, would have one that holds the mean half of the time."""
    clusters = Clusters("subjects", np.arange(12) % count)
    values = np.random.default_rng(0).normal(size=12)
    pooled = summarise_figures(lambda rows: {"best": values[rows].max()}, clusters, 50)["best"]
    for found in (summarise(values, clusters), paired_difference(values, 0 * values, clusters), pooled):
        assert np.isfinite(found.value)
        assert np.isnan([found.low, found.high]).all()
        assert found.basis == f"{unit}: too few for an interval"
        assert found.text("+.2f", " mm") == f"{found.value:+.2f} mm"
        assert figures_table({("all", "it"): found}).texts()[0][-3:] == ["–", "–", "12"]
    five = summarise(values[:5])
    assert five.low < five.value < five.high
    assert five.text(".1f") == f"{five.value:.1f} ({five.low:.1f} to {five.high:.1f})"
    assert summarise([]).text("+.1f") == "–"


def test_figures_that_are_never_defined_have_no_interval():
    found = summarise_figures(lambda rows: {"f": np.nan}, Clusters.single("images", 8), 50)["f"]
    assert np.isnan([found.value, found.low, found.high]).all()


def test_copies_within_a_cluster_add_nothing():
    values = np.random.default_rng(0).normal(size=20)
    once = summarise(values, Clusters.single("sequences", 20))
    copies = summarise(np.repeat(values, 50), Clusters.of("sequences", np.repeat(np.arange(20), 50).tolist()))
    assert (copies.n, copies.clusters, copies.unit) == (1000, 20, "sequences")
    assert copies.value == pytest.approx(once.value)
    assert (copies.low, copies.high) == pytest.approx((once.low, once.high), abs=0.04)
    assert summarise(np.repeat(values, 50)).high - copies.high < -0.2


def test_clusters_count_by_their_number_of_values():
    clusters = Clusters.of("clips", ["a", "a", "a", "b"])
    assert summarise([1.0, 1, 1, 5], clusters).value == 2
    assert (clusters.count, clusters.taken([0, 1]).count) == (2, 1)
    only = summarise([1.0, 2.0], clusters.taken([0, 1]))
    assert only.value == 1.5
    assert np.isnan([only.low, only.high]).all()  # one cluster says nothing about others


def test_what_is_not_finite_does_not_count():
    found = summarise([1.0, np.nan, 3.0], Clusters.of("clips", ["a", "b", "c"]))
    assert (found.value, found.n, found.clusters) == (2, 2, 2)
    assert summarise([np.nan]).n == 0
    assert np.isnan(summarise([]).value)


def test_pairs_show_what_means_hide():
    random = np.random.default_rng(0)
    people = 10 * random.normal(size=100)
    better = people - 0.5 + 0.1 * random.normal(size=100)
    assert paired_difference(better, people).high < 0
    assert summarise(better).high > summarise(people).low


def test_trainings_are_drawn_too():
    random = np.random.default_rng(0)
    people, seeds = random.normal(10, 1, 50), np.array([[-2.0], [0.0], [2.0]])
    among = summarise(people + seeds)
    assert among.value == pytest.approx(people.mean())
    assert among.n == 50
    assert among.high - among.low > 3 * (summarise(people).high - summarise(people).low)
    apart = paired_difference(people + seeds, people)  # one training of the second method
    assert apart.value == pytest.approx(0)
    assert apart.low < -1 < 1 < apart.high


@pytest.mark.extensive
def test_intervals_cover_the_mean_of_correlated_frames():
    random, clips, covered, trials = np.random.default_rng(5), 24, 0, 500
    for _ in range(trials):
        counts = random.poisson(60, clips) + 1
        ids = np.repeat(np.arange(clips), counts)
        errors = random.normal(size=clips)[ids] + 0.5 * random.normal(size=len(ids))
        found = summarise(errors, Clusters("sequences", ids))
        covered += found.low <= 0 <= found.high
    assert 0.93 <= covered / trials <= 0.97
