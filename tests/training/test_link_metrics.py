"""Link metrics against an obvious slow version, and whatever the split of the rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rle.errors import DataError, UnknownNameError
from rle.spec.metric import EvaluationMetric
from rle.training.link_metrics import LinkMeter, check_link_metric
from rle.training.ranks import Ranks
from rle.values import TaskType


def slow_metrics(rankings, targets, k):
    """RelBench's definitions, row by row, in plain Python."""
    values = {
        "link_prediction_map": [],
        "link_prediction_precision": [],
        "link_prediction_recall": [],
    }
    for ranked, wanted in zip(rankings, targets, strict=True):
        if not wanted:
            continue
        hits, total = 0, 0.0
        for place, row in enumerate(ranked[:k], start=1):
            if row in wanted:
                hits += 1
                total += hits / place
        values["link_prediction_map"].append(total / min(k, len(wanted)))
        values["link_prediction_precision"].append(hits / k)
        values["link_prediction_recall"].append(hits / len(wanted))
    return {name: sum(v) / len(v) for name, v in values.items()}


def as_arrays(rankings, targets, k):
    ranked = np.full((len(rankings), k), -1, np.int32)
    for i, row in enumerate(rankings):
        ranked[i, : len(row[:k])] = row[:k]
    offsets = np.cumsum([0, *map(len, targets)])
    flat = [t for wanted in targets for t in sorted(wanted)]
    return ranked, offsets, np.array(flat, np.int32)


def measured(rankings, targets, k, cuts=()):
    meter = LinkMeter(k)
    for first, last in zip([0, *cuts], [*cuts, len(rankings)], strict=True):
        meter.add(*as_arrays(rankings[first:last], targets[first:last], k))
    return meter.compute()


ROW = st.tuples(
    st.lists(st.integers(0, 9), unique=True, max_size=9), st.sets(st.integers(0, 9), max_size=9)
)


@given(st.lists(ROW, min_size=1, max_size=12), st.integers(1, 7), st.data())
@settings(deadline=None, max_examples=150)
def test_metrics_equal_the_slow_ones_however_the_rows_are_cut(rows, k, data):
    rankings, targets = [r for r, _ in rows], [t for _, t in rows]
    if not any(targets):
        with pytest.raises(DataError, match="no row of the split has a target"):
            measured(rankings, targets, k)
        return
    whole = measured(rankings, targets, k)
    assert whole == pytest.approx(slow_metrics(rankings, targets, k), abs=1e-9)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    assert measured(rankings, targets, k, cuts) == whole  # to the last bit


class TwoWorkers(Ranks):
    """The first of two; the second has told it what it has counted."""

    def sum_(self, tensor):
        return tensor + torch.from_numpy(SECOND._sums)


SECOND = LinkMeter(3)


def test_two_workers_give_the_metrics_of_one_to_the_last_bit():
    rng = np.random.default_rng(0)
    rankings = [rng.permutation(30)[:3].tolist() for _ in range(200)]
    targets = [set(rng.permutation(30)[: rng.integers(0, 6)].tolist()) for _ in range(200)]
    SECOND.add(*as_arrays(rankings[1::2], targets[1::2], 3))
    first = LinkMeter(3, TwoWorkers(device=torch.device("cpu")))
    first.add(*as_arrays(rankings[::2], targets[::2], 3))
    assert first.compute() == measured(rankings, targets, 3)


def test_a_short_list_does_not_raise_precision():
    # One of two destinations is right; k is 4, so the precision is a quarter.
    found = measured([[5, 7]], [{5}], 4)
    assert found["link_prediction_precision"] == 0.25
    assert found["link_prediction_map"] == found["link_prediction_recall"] == 1


def test_missed_targets_count_in_map_up_to_k():
    # torchmetrics would say 1: it divides by the hits.
    assert measured([[5, 1]], [{5, 6, 7}], 2)["link_prediction_map"] == pytest.approx(0.5)


def test_a_metric_that_cannot_be_measured_is_refused_before_training():
    with pytest.raises(UnknownNameError, match="no metric of task type 'link_prediction'"):
        check_link_metric(EvaluationMetric("rmse"), TaskType.LINK_PREDICTION, 5)
    with pytest.raises(UnknownNameError):
        check_link_metric(EvaluationMetric("link_prediction_map"), TaskType.REGRESSION, 5)
    with pytest.raises(DataError, match="link_prediction_recall is undefined"):
        check_link_metric(
            EvaluationMetric("link_prediction_recall"), TaskType.REPEATED_LINK_PREDICTION, 0
        )
