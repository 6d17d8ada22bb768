"""Chunked ranking against a full matrix of scores. Whole numbers make every sum exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rle.model import retrieval
from rle.model.retrieval import NO_ROW, PairTerms, top_k, top_k_of_pairs


def full_ranking(scores, k):
    """Rows and scores by (score descending, row ascending); -inf is not ranked."""
    rows = np.full((scores.shape[0], k), NO_ROW)
    best = np.full((scores.shape[0], k), -np.inf, np.float32)
    for i, row in enumerate(scores):
        order = [j for j in np.lexsort((np.arange(row.size), -row)) if row[j] > -np.inf][:k]
        rows[i, : len(order)], best[i, : len(order)] = order, row[order]
    return rows, best


def random_case(rng, num_sources, num_targets, channels, spread):
    """Few distinct scores, so that ties are everywhere."""
    sources = rng.integers(-spread, spread + 1, (num_sources, channels)).astype(np.float32)
    targets = rng.integers(-spread, spread + 1, (num_targets, channels)).astype(np.float32)
    visible = rng.integers(0, num_targets + 1, num_sources)
    pairs = [
        np.sort(rng.permutation(num_targets)[: rng.integers(0, min(num_targets, 5) + 1)])
        for _ in range(num_sources)
    ]
    offset = np.cumsum([0, *(p.size for p in pairs)])
    target = np.concatenate([np.empty(0, np.int64), *pairs]).astype(np.int64)
    value = rng.integers(-3, 4, target.size).astype(np.float32)
    return sources, targets, visible, PairTerms(*map(torch.from_numpy, (offset, target, value)))


def full_scores(sources, targets, visible, extra):
    scores = sources @ targets.T
    source = np.repeat(np.arange(len(sources)), np.diff(extra.offset.numpy()))
    scores[source, extra.target.numpy()] += extra.value.numpy()
    scores[np.arange(len(targets)) >= visible[:, None]] = -np.inf
    return scores


@given(
    seed=st.integers(0, 2**32 - 1),
    num_sources=st.integers(0, 9),
    num_targets=st.integers(1, 90),
    channels=st.integers(1, 3),
    spread=st.integers(0, 2),
    k=st.integers(1, 12),
    chunk_rows=st.integers(1, 40),
    block=st.sampled_from([1, 2, 3]),
)
@settings(deadline=None, max_examples=150)
def test_chunks_rank_as_the_full_matrix_does(
    seed, num_sources, num_targets, channels, spread, k, chunk_rows, block
):
    rng = np.random.default_rng(seed)
    sources, targets, visible, extra = random_case(rng, num_sources, num_targets, channels, spread)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrieval, "BLOCK", block)
        patch.setattr(retrieval, "TILES", {"cpu": (4, 16)})
        rows, scores = top_k(
            torch.from_numpy(sources),
            torch.from_numpy(targets),
            k=k,
            num_visible=torch.from_numpy(visible),
            extra=extra,
            chunk_rows=chunk_rows,
        )
    expected = full_ranking(full_scores(sources, targets, visible, extra), k)
    assert np.array_equal(rows.numpy(), expected[0])
    assert np.array_equal(scores.numpy(), expected[1])


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
            ],
        ),
    ],
)
@pytest.mark.parametrize("spread", [0, 1, 1000])
def test_full_tiles_and_blocks_rank_as_the_full_matrix_does(spread, device):
    rng = np.random.default_rng(spread)
    sources, targets, visible, extra = random_case(rng, 300, 20_000, 4, spread)
    visible[:250] = 20_000
    extra = PairTerms(*(x.to(device) for x in (extra.offset, extra.target, extra.value)))
    rows, scores = top_k(
        torch.from_numpy(sources).to(device),
        torch.from_numpy(targets).to(device),
        k=12,
        num_visible=torch.from_numpy(visible).to(device),
        extra=extra,
    )
    extra = PairTerms(*(x.cpu() for x in (extra.offset, extra.target, extra.value)))
    expected = full_ranking(full_scores(sources, targets, visible, extra), 12)
    assert np.array_equal(rows.cpu().numpy(), expected[0])
    assert np.array_equal(scores.cpu().numpy(), expected[1])


def test_equal_scores_come_by_row_even_where_all_are_equal():
    rows, scores = top_k(
        torch.zeros(2, 3), torch.ones(5000, 3), k=3, num_visible=torch.tensor([5000, 2])
    )
    assert rows.tolist() == [[0, 1, 2], [0, 1, NO_ROW]]
    assert scores.tolist() == [[0, 0, 0], [0, 0, -np.inf]]


def test_more_are_asked_for_than_there_are():
    rows, _ = top_k(
        torch.ones(1, 1), torch.tensor([[1.0], [3.0]]), k=5, num_visible=torch.tensor([2])
    )
    assert rows.tolist() == [[1, 0, NO_ROW, NO_ROW, NO_ROW]]


def test_a_score_that_is_not_a_number_is_not_hidden():
    targets = torch.ones(30_000, 2)
    targets[20_000, 0] = torch.nan
    _, scores = top_k(torch.ones(1, 2), targets, k=2, num_visible=torch.tensor([30_000]))
    assert scores.isnan().any()


@given(
    st.lists(
        st.dictionaries(st.integers(0, 20), st.integers(-2, 2), max_size=8), min_size=1, max_size=8
    ),
    st.integers(1, 6),
)
@settings(deadline=None, max_examples=100)
def test_given_pairs_are_ranked_by_score_then_row(histories, k):
    offset = np.cumsum([0, *(len(h) for h in histories)])
    pairs = [pair for history in histories for pair in reversed(history.items())]
    target = torch.tensor([row for row, _ in pairs], dtype=torch.int64)
    value = torch.tensor([float(score) for _, score in pairs])
    rows, scores = top_k_of_pairs(PairTerms(torch.from_numpy(offset), target, value), k=k)
    for i, history in enumerate(histories):
        best = sorted(history.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
        missing = k - len(best)
        assert rows[i].tolist() == [row for row, _ in best] + [NO_ROW] * missing
        assert scores[i].tolist() == [score for _, score in best] + [-np.inf] * missing
