"""What is learnt from validation rows, and what is kept of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rle.baseline.aim import Aim
from rle.baseline.boost import as_scores
from rle.baseline.stack import Evidence, StackReport, as_raw, cut_by_time, fit_stack, predict
from rle.errors import DataError
from rle.spec.metric import EvaluationMetric
from rle.values import TaskType

BINARY = Aim(TaskType.BINARY_CLASSIFICATION, EvaluationMetric(name="roc_auc"), 2, seed=0)
REGRESSION = Aim(TaskType.REGRESSION, EvaluationMetric(name="mae"), 0, seed=0)


def world(*, model_noise: float, baseline_noise: float, hidden: float = 0.0, num: int = 1600):
    """Regression rows: both see the truth through noise of their own; a feature shows the rest.

    Nothing shows the noise of the labels.
    """
    rng = np.random.default_rng(0)
    truth, rest = rng.normal(size=num) * 5, rng.normal(size=num)
    labels = (truth + hidden * rest + rng.normal(size=num)).astype(np.float32)
    seen = [truth + rng.normal(size=num) * noise for noise in (model_noise, baseline_noise)]
    model, baseline = (values.astype(np.float32)[:, None] for values in seen)
    features = rest.astype(np.float32)[:, None]
    evidence = Evidence(features, baseline, model, np.zeros((num, 2), np.float32))
    return evidence, labels, np.arange(num, dtype=np.int64)


def test_a_model_that_is_much_better_is_kept_alone():
    report, trees = fit_stack(REGRESSION, *world(model_noise=0.05, baseline_noise=30.0))
    assert report.chosen == "model"
    assert (report.weight, trees) == (1.0, None)
    assert "The GNN alone" in str(report)


def test_a_baseline_that_is_much_better_is_kept_alone():
    report, trees = fit_stack(REGRESSION, *world(model_noise=30.0, baseline_noise=0.05))
    assert report.chosen == "baseline"
    assert (report.weight, trees) == (0.0, None)
    assert "LightGBM predicts" in str(report)


def test_two_that_err_apart_are_blended():
    report, _ = fit_stack(REGRESSION, *world(model_noise=2.0, baseline_noise=2.0))
    assert report.chosen == "stack"
    assert 0 < report.weight < 1
    assert report.blend < min(report.model, report.baseline)


def test_trees_correct_what_both_overlook_and_are_judged_on_rows_they_never_saw():
    evidence, labels, times = world(model_noise=0.5, baseline_noise=0.5, hidden=4.0)
    report, trees = fit_stack(REGRESSION, evidence, labels, times)
    assert trees is not None
    assert report.chosen == "stack"
    assert report.last_corrected < 0.8 * report.last_blend
    assert trees.num_rounds == report.num_rounds
    found = predict(evidence, TaskType.REGRESSION, weight=report.weight, trees=trees)
    assert REGRESSION.measure(found, labels) < report.blend


def test_a_signal_of_the_learnt_rows_alone_does_not_count():
    """The first rows have a feature that tells the label; in the last quarter it tells nothing."""
    evidence, labels, times = world(model_noise=0.5, baseline_noise=0.5, hidden=4.0)
    last = cut_by_time(times, seed=0) == 2
    features = evidence.features.copy()
    features[last] = np.random.default_rng(1).permutation(features[last]) * 3
    evidence = Evidence(features, evidence.baseline, evidence.model, evidence.embeddings)
    report, trees = fit_stack(REGRESSION, evidence, labels, times)
    assert trees is None
    assert report.last_corrected >= report.last_blend


def test_too_few_rows_are_an_error():
    evidence, labels, times = world(model_noise=1.0, baseline_noise=1.0, num=100)
    with pytest.raises(DataError, match="too few"):
        fit_stack(REGRESSION, evidence, labels, times)


def test_a_report_survives_its_json():
    report, _ = fit_stack(REGRESSION, *world(model_noise=2.0, baseline_noise=2.0))
    assert StackReport.from_json(report.to_json()) == report


@given(times=arrays.arrays(np.int64, st.integers(4, 60), elements=st.integers(-3, 6)))
def test_parts_follow_each_other_and_a_moment_is_in_one_of_them(times):
    part = cut_by_time(times, seed=0)
    assert set(part.tolist()) == {0, 1, 2}
    if np.unique(times).size < 3:
        return
    for earlier in (0, 1):
        assert times[part <= earlier].max() < times[part > earlier].min()


def test_parts_are_a_half_and_two_quarters():
    part = cut_by_time(np.arange(1000, dtype=np.int64), seed=0)
    assert np.bincount(part).tolist() == [500, 250, 250]
    dealt = cut_by_time(np.zeros(1000, np.int64), seed=0)
    assert np.bincount(dealt).tolist() == [500, 250, 250]


@pytest.mark.parametrize("task_type", [t for t in TaskType if not t.is_link])
def test_scores_survive_the_raw_scale(task_type):
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.01, 1, (50, 3)).astype(np.float32)
    if task_type is TaskType.MULTICLASS_CLASSIFICATION:
        scores /= scores.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(as_scores(as_raw(scores, task_type), task_type), scores, atol=1e-6)
    assert np.isfinite(as_raw(np.array([[0.0, 1.0]], np.float32), task_type)).all()
