from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from rle.model.heads import Objective, WeightedObjective, predict_scores
from rle.values import TaskType
from tests.model.graphs import make_snapshot, make_spec

OUTPUTS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])


def make_objective(task_type, **knobs):
    return Objective(make_spec(make_snapshot(), task_type, **knobs))


def test_binary_loss_is_cross_entropy_with_the_second_class():
    objective = make_objective(TaskType.BINARY_CLASSIFICATION)
    losses = objective.row_losses(OUTPUTS[:, :1], torch.tensor([1, 0]))
    expected = -torch.tensor([2.0, 0.0]).sub(torch.tensor([0.0, 0.0])).sigmoid().log()
    torch.testing.assert_close(losses, expected)


def test_multiclass_and_multilabel_losses():
    classes, labels = torch.tensor([0, 1]), torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    torch.testing.assert_close(
        make_objective(TaskType.MULTICLASS_CLASSIFICATION).row_losses(OUTPUTS, classes),
        functional.cross_entropy(OUTPUTS, classes, reduction="none"),
    )
    torch.testing.assert_close(
        make_objective(TaskType.MULTILABEL_CLASSIFICATION).row_losses(OUTPUTS, labels),
        functional.binary_cross_entropy_with_logits(OUTPUTS, labels, reduction="none").mean(1),
    )


@pytest.mark.parametrize(("metric", "expected"), [("mae", 1.5), ("r2", 2.25)])
def test_regression_learns_standardised_targets_with_the_loss_of_its_metric(metric, expected):
    objective = make_objective(TaskType.REGRESSION, metric=metric)
    # The codec's mean is 5 and its deviation 2, so a label of 6 is a target of 0.5.
    losses = objective.row_losses(torch.tensor([[2.0]]), torch.tensor([6.0]))
    assert losses.item() == pytest.approx(expected)


def test_label_smoothing_moves_targets_towards_all_classes():
    knobs = {"label_smoothing": True, "label_smoothing_alpha": 0.2}
    binary = make_objective(TaskType.BINARY_CLASSIFICATION, **knobs)
    torch.testing.assert_close(
        binary.row_losses(OUTPUTS[:, :1], torch.tensor([1, 0])),
        functional.binary_cross_entropy_with_logits(
            OUTPUTS[:, 0], torch.tensor([0.9, 0.1]), reduction="none"
        ),
    )
    several = make_objective(TaskType.MULTICLASS_CLASSIFICATION, **knobs)
    classes = torch.tensor([0, 1])
    torch.testing.assert_close(
        several.row_losses(OUTPUTS, classes),
        functional.cross_entropy(OUTPUTS, classes, reduction="none", label_smoothing=0.2),
    )


def test_rows_of_weight_zero_do_not_count_even_where_their_loss_is_not_a_number():
    objective = make_objective(TaskType.REGRESSION)
    outputs = torch.tensor([[1.0], [float("nan")]], requires_grad=True)
    total, weight = objective.loss(outputs, torch.tensor([5.0, 5.0]), torch.tensor([1.0, 0.0]))
    assert (total.item(), weight.item()) == (1.0, 1.0)


def test_scores_are_probabilities_or_clamped_values():
    def scores(task_type, outputs, **knobs):
        return predict_scores(make_spec(make_snapshot(), task_type, **knobs), outputs)

    several = scores(TaskType.MULTICLASS_CLASSIFICATION, OUTPUTS)
    torch.testing.assert_close(several.sum(1), torch.ones(2))
    binary = scores(TaskType.BINARY_CLASSIFICATION, torch.tensor([[0.0]]))
    assert binary.item() == 0.5
    outputs = torch.tensor([[-4.0], [0.0], [4.0]])
    clamped = scores(TaskType.REGRESSION, outputs, clamp_min=0.0, clamp_max=10.0)
    assert clamped.flatten().tolist() == [0.0, 5.0, 10.0]
    free = scores(TaskType.REGRESSION, outputs, clamp_min=None, clamp_max=None)
    assert free.flatten().tolist() == [-3.0, 5.0, 13.0]


@pytest.mark.parametrize("smoothing", [False, True])
def test_rows_count_by_the_weight_of_their_class(smoothing):
    spec = make_spec(make_snapshot(), TaskType.MULTICLASS_CLASSIFICATION, label_smoothing=smoothing)
    classes = torch.tensor([2, 1])
    weighted = WeightedObjective(spec, torch.tensor([9.0, 0.5, 4.0]))
    expected = Objective(spec).row_losses(OUTPUTS, classes) * torch.tensor([4.0, 0.5])
    torch.testing.assert_close(weighted.row_losses(OUTPUTS, classes), expected)
    torch.testing.assert_close(weighted.scores(OUTPUTS), Objective(spec).scores(OUTPUTS))


def test_binary_rows_count_by_the_weight_of_their_class():
    spec = make_spec(make_snapshot(), TaskType.BINARY_CLASSIFICATION)
    labels = torch.tensor([1.0, 0.0])
    weighted = WeightedObjective(spec, torch.tensor([0.5, 3.0]))
    expected = Objective(spec).row_losses(OUTPUTS[:, :1], labels) * torch.tensor([3.0, 0.5])
    torch.testing.assert_close(weighted.row_losses(OUTPUTS[:, :1], labels), expected)


def test_labels_that_are_there_count_by_their_weight():
    spec = make_spec(make_snapshot(), TaskType.MULTILABEL_CLASSIFICATION)
    labels, weights = torch.tensor([[1.0, 0, 1], [0, 1, 0]]), torch.tensor([2.0, 3.0, 4.0])
    expected = functional.binary_cross_entropy_with_logits(
        OUTPUTS, labels, reduction="none", weight=torch.where(labels > 0, weights, 1.0)
    )
    found = WeightedObjective(spec, weights).row_losses(OUTPUTS, labels)
    torch.testing.assert_close(found, expected.mean(dim=1))
