from __future__ import annotations

import numpy as np
import pytest

from rle.sampling.visible import count_before, count_visible
from tests.sampling.graphs import Source, build_graph


@pytest.mark.parametrize(("inclusive", "expected"), [(True, [0, 1, 3, 4]), (False, [0, 0, 1, 4])])
def test_rows_up_to_a_time_are_visible_and_those_without_one_never(
    inclusive: bool, expected: list[int]
) -> None:
    graph = build_graph([Source("rows", 6, [1, 5, 5, 9, None, None], {}, {})])
    store, times = graph.snapshot.tables["rows"], np.array([0, 1, 5, 10**18])
    found = count_visible(store, times, inclusive=inclusive)
    assert found.dtype == np.int32
    assert found.tolist() == expected
    assert store.times is not None
    assert count_before(store.times, times, inclusive=inclusive).tolist() == expected


def test_a_table_without_time_is_always_there() -> None:
    graph = build_graph([Source("rows", 3, None, {}, {})])
    found = count_visible(graph.snapshot.tables["rows"], np.array([-5, 5]), inclusive=False)
    assert found.tolist() == [3, 3]
