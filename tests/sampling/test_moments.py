from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rle.errors import ValidationError
from rle.sampling.moments import moments

TIMES = st.lists(st.integers(-(2**63), 2**63 - 2), max_size=40)
CLOSE_TIMES = st.lists(st.integers(0, 30), max_size=40)


@given(TIMES | CLOSE_TIMES, st.integers(1, 12))
def test_no_row_gets_a_moment_after_its_time_nor_one_much_before(times, limit):
    times = np.array(times, np.int64)
    found, index = moments(times, limit=limit)
    assert found.size <= limit
    assert np.array_equal(found, np.unique(found))
    assert set(found) <= set(times)
    assert (found[index] <= times).all()
    # The latest one that is not later.
    for moment, time in zip(found[index], times, strict=True):
        assert not ((found > moment) & (found <= time)).any()
    if len(set(times)) <= limit:
        assert np.array_equal(found[index], times)
    elif times.size:
        span = int(times.max()) - int(times.min())
        gaps = [int(t) - int(m) for m, t in zip(found[index], times, strict=True)]
        assert max(gaps) * limit <= span + limit  # whole numbers: floats round such spans


def test_there_is_at_least_one_moment():
    with pytest.raises(ValidationError, match="At least one"):
        moments(np.array([1]), limit=0)
