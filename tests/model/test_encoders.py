from __future__ import annotations

import math

import pyarrow as pa
import pytest
import torch

from rle.ingest.stats import NumberStats
from rle.model.encoders import NumberFeatures, Vocabulary
from tests.model.graphs import make_model, make_snapshot, make_spec, make_tensors

LEVELS = (0.0,) * 11 + tuple(float(i) for i in range(1, 23))


def make_numbers(*, num_nulls=0, time_correlation=0.0):
    stats = NumberStats(
        column="x",
        num_nulls=num_nulls,
        mean=2.0,
        std=4.0,
        quantiles=LEVELS,
        time_correlation=time_correlation,
    )
    return NumberFeatures([stats], make_spec(make_snapshot()))


def test_numbers_are_standardised_and_clipped():
    features = make_numbers()(torch.tensor([[2.0], [10.0], [1e9], [-1e9]]))
    assert features[:, 0].tolist() == [0.0, 2.0, 5.0, -5.0]


def test_a_quantile_lies_between_its_neighbours_and_ties_share_their_middle():
    features = make_numbers()(torch.tensor([[0.0], [0.5], [7.0], [-3.0], [22.0], [99.0]]))
    share = features[:, 1] / math.sqrt(12) + 0.5
    assert share.tolist() == pytest.approx([5 / 32, 10.5 / 32, 17 / 32, 0.0, 1.0, 1.0], abs=1e-6)


def test_null_has_a_flag_where_training_had_nulls_and_counts_as_the_mean():
    value = torch.tensor([[math.nan]])
    assert make_numbers()(value).tolist() == [[0.0, 0.0]]
    assert make_numbers(num_nulls=1)(value).tolist() == [[0.0, 0.0, 1.0]]


def test_a_column_that_tells_the_time_is_not_read():
    assert make_numbers(time_correlation=-0.97)(torch.tensor([[2.0]])).shape == (1, 0)


def test_values_unseen_in_training_and_null_have_vectors_of_their_own():
    vocabulary = Vocabulary(["a", "b"], [["x", "y"], ["z"]])
    vocabulary.bind([pa.array(["new", "x", "y"]), pa.array(["z", "zz"])])
    ids = vocabulary(torch.tensor([[-1, -1], [0, 0], [1, 1], [2, 0]]))
    # Column a owns vectors 0 to 3, column b 4 to 6: NULL, unknown, then the values.
    assert ids.tolist() == [[0, 4], [1, 6], [2, 5], [3, 6]]


def test_a_column_that_was_all_null_can_be_read():
    vocabulary = Vocabulary(["a"], [[]])
    vocabulary.bind([pa.array([], pa.string())])
    assert vocabulary(torch.tensor([[-1]])).tolist() == [[0]]


def test_null_in_every_column_gives_finite_vectors():
    snapshot = make_snapshot()
    encoder = make_model(snapshot).inputs[0].encoder
    rows = make_tensors(snapshot).tables["users"]
    rows.numbers.fill_(math.nan)
    rows.codes.fill_(-1)
    rows.vectors["bio"].fill_(math.nan)
    encoded = encoder(rows)
    assert encoded.isfinite().all()
