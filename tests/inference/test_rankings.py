from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rle.errors import InternalError
from rle.inference import rankings
from rle.inference.rankings import in_order
from rle.training.link_evaluate import RankBlock


def block(positions, width):
    positions = np.array(positions, np.int64)
    vectors = None if width is None else np.repeat(positions[:, None], width, 1).astype(np.float32)
    return RankBlock(
        positions=positions,
        targets=np.stack([positions, positions + 1], 1).astype(np.int32),
        scores=np.stack([positions, -positions], 1).astype(np.float32),
        embeddings=vectors,
    )


@given(
    st.lists(st.booleans(), max_size=30),
    st.randoms(),
    st.integers(1, 5),
    st.sampled_from([None, 3]),
)
@settings(deadline=None, max_examples=80)
def test_every_row_comes_once_in_order_whatever_the_order_of_blocks(known, random, size, width):
    rows = [i for i, is_known in enumerate(known) if is_known]
    random.shuffle(rows)
    blocks = [block(sorted(rows[i : i + size]), width) for i in range(0, len(rows), size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rankings, "ROWS_PER_BLOCK", 4)
        out = list(in_order(blocks, is_known=np.array(known, bool), k=2, width=width))
    seen = [row for part in out for row in range(part.first, part.first + part.is_known.size)]
    assert seen == list(range(len(known)))
    for part in out:
        for i, is_known in enumerate(part.is_known):
            row = part.first + i
            assert is_known == known[row]
            assert part.targets[i].tolist() == ([row, row + 1] if is_known else [-1, -1])
            if width is not None:
                assert np.array_equal(part.embeddings[i, 0], np.float32(row)) == is_known


def test_rows_go_out_before_the_last_block_is_there():
    def blocks():
        yield block([0, 1], None)
        raise RuntimeError("not asked for yet")

    first = next(in_order(blocks(), is_known=np.ones(4, bool), k=2, width=None))
    assert first.is_known.size == 2


def test_a_row_that_nobody_ranked_is_a_bug_of_ours():
    with pytest.raises(InternalError, match="Row 1 of a split of 3"):
        list(in_order([block([0, 2], None)], is_known=np.ones(3, bool), k=2, width=None))
