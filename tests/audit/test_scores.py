"""The figures behind a finding: right against scikit-learn, quiet on noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score, roc_auc_score

from rle.audit.labels import AuditLabels
from rle.audit.places import Basis
from rle.audit.probes import Probe
from rle.audit.scores import cut, decided, measure, null_bins


def probe(values, *, is_code=False, has_row=None):
    has_row = np.ones(len(values), bool) if has_row is None else has_row
    values = np.asarray(values, float)
    return Probe("t", "c", "own row", Basis.UNDATED, 0, values, is_code, has_row)


def classes(y):
    y = np.asarray(y, bool)
    return AuditLabels(("0", "1"), np.column_stack([~y, y]), None)


@given(seed=st.integers(0, 1000), noise=st.floats(0.1, 3.0), holes=st.floats(0.0, 0.5))
def test_auroc_is_that_of_the_bins_means(seed, noise, holes):
    rng = np.random.default_rng(seed)
    y = rng.random(600) < 0.4
    values = np.where(rng.random(600) < holes, np.nan, np.round(y + noise * rng.normal(size=600)))
    bins = cut(probe(values), 300)
    score = measure(bins, classes(y), 300)
    means = np.array(
        [(y[:300][bins.ids[:300] == b].sum() + 10 * y[:300].mean())
         / ((bins.ids[:300] == b).sum() + 10) for b in range(bins.num)]
    )  # fmt: skip
    assert score.value == pytest.approx(roc_auc_score(y[300:], means[bins.ids[300:]]), abs=0.01)
    assert score.low < score.value


def test_r2_is_that_of_the_bins_means():
    rng = np.random.default_rng(0)
    x = rng.integers(5, size=4000).astype(float)
    y = x**2 + rng.normal(size=4000)
    labels = AuditLabels((), np.empty((4000, 0), bool), y)
    score = measure(cut(probe(x), 2000), labels, 2000)
    guess = np.array([y[:2000][x[:2000] == v].mean() for v in range(5)])[x[2000:].astype(int)]
    assert score.value == pytest.approx(r2_score(y[2000:], guess), abs=0.01)
    assert 0.9 < score.low < score.value


def test_of_thousands_of_columns_of_noise_none_stands_out():
    rng = np.random.default_rng(1)
    y = rng.random(2000) < 0.1
    lows, sure = [], []
    for _ in range(2000):
        values = rng.choice([rng.normal(size=2000), rng.integers(40, size=2000)])
        bins = cut(probe(values, is_code=rng.random() < 0.3), 1000)
        lows.append(measure(bins, classes(y), 1000).low)
        sure.append(decided(bins, classes(y), 1000))
    assert max(lows) < 0.5
    assert not any(sure)


def test_names_that_training_never_saw_say_nothing():
    y = np.arange(400) % 2 == 1
    bins = cut(probe(np.arange(400), is_code=True), 200)
    assert measure(bins, classes(y), 200).value == pytest.approx(0.5)


def test_the_value_that_decides_a_rare_class_is_named():
    rng = np.random.default_rng(2)
    values = rng.integers(4, size=4000).astype(float)
    values[rng.random(4000) < 0.03] = np.nan
    y = np.isnan(values) | (rng.random(4000) < 0.01)
    bins = cut(probe(values), 2000)
    found = decided(bins, classes(y), 2000)
    assert (found.target, found.bin, found.rate) == ("1", bins.null, 1.0)
    assert found.num_rows == int(np.isnan(values).sum())
    assert found.covered > 0.6
    assert decided(null_bins(bins), classes(y), 2000).bin == 1


def test_what_holds_in_training_alone_decides_nothing():
    values = np.repeat([0.0, 1.0], 500).repeat(2)
    values[1000:] = values[:1000][::-1]
    y = values == 1
    y[1000:] = np.arange(1000) % 2 == 0
    assert decided(cut(probe(values), 1000), classes(y), 1000) is None
