"""The best destinations of each source, exactly, without ever holding all scores.

Scores are <source, destination>, plus a term of its own for the few pairs that need one. They are
computed tile by tile and only the best k of each source are kept, so memory depends on the size of
a tile, not on the number of sources or destinations. Of equal scores the lower row comes first.

Shapes: S sources, T destinations, E channels, P pairs, s and t sides of a tile, b blocks of a tile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

TILES = {"cpu": (128, 16_384), "cuda": (2_048, 65_536)}
"""Sources and destinations of a tile: 8 MiB of scores stay near a core, 512 MiB fill a GPU."""
BLOCK = 64
"""Destinations whose best score stands for all of them while the best blocks are looked for."""
NO_ROW = -1
"""Row where a source has fewer than k destinations; its score is -inf."""


@dataclass(frozen=True, slots=True)
class PairTerms:
    """What is added to the score of some pairs, grouped by source."""

    offset: Tensor
    """int64 [S + 1], pairs of each source."""
    target: Tensor
    """int64 [P], rows of the destinations; a source names each at most once."""
    value: Tensor
    """float32 [P]."""


def top_k(
    sources: Tensor,
    targets: Tensor,
    *,
    k: int,
    num_visible: Tensor,
    extra: PairTerms | None = None,
    chunk_rows: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Rank destinations by <source, destination> plus what `extra` says; exact.

    Args:
        sources: float32 [S, E].
        targets: float32 [T, E], on the same device.
        k: Length of the lists.
        num_visible: int64 [S]; a source sees the destinations below this row and no others.
        extra: Terms of single pairs.
        chunk_rows: Destinations per tile; changes speed and memory only. None: as `TILES` says.

    Returns:
        int64 [S, k] rows, best first, and float32 [S, k] scores; `NO_ROW` and -inf where a source
        sees fewer than k. A NaN among the scores comes out first, so that a caller can tell.
    """
    rows = torch.full((sources.shape[0], k), NO_ROW, device=sources.device)
    scores = torch.full((sources.shape[0], k), -torch.inf, device=sources.device)
    height, width = TILES.get(sources.device.type, TILES["cpu"])
    for first in range(0, sources.shape[0], height):
        part = slice(first, min(first + height, sources.shape[0]))
        rows[part], scores[part] = _top_k_of_few(
            sources[part],
            targets,
            k=k,
            num_visible=num_visible[part],
            extra=None if extra is None else _by_target(extra, part),
            chunk_rows=chunk_rows or width,
        )
    return rows, scores


def top_k_of_pairs(pairs: PairTerms, *, k: int) -> tuple[Tensor, Tensor]:
    """Rank the destinations of given pairs alone; `pairs.value` is the whole score.

    Args:
        pairs: Rows of each source in any order.
        k: Length of the lists.

    Returns:
        As `top_k`.
    """
    device = pairs.value.device
    num_sources = pairs.offset.shape[0] - 1
    source = torch.repeat_interleave(pairs.offset.diff())
    # Three stable sorts, least important first: by row, by score, by source.
    order = torch.argsort(pairs.target, stable=True)
    order = order[torch.argsort(pairs.value[order], descending=True, stable=True)]
    order = order[torch.argsort(source[order], stable=True)]
    rank = torch.arange(order.shape[0], device=device) - pairs.offset[:-1][source]
    kept = rank < k
    rows = torch.full((num_sources, k), NO_ROW, device=device)
    scores = torch.full((num_sources, k), -torch.inf, device=device)
    at = source[kept], rank[kept]
    rows[at], scores[at] = pairs.target[order[kept]], pairs.value[order[kept]].float()
    return rows, scores


@dataclass(frozen=True, slots=True)
class _Terms:
    """Pair terms of the sources of one tile, by ascending destination."""

    source: Tensor
    """int64 [p], from the first source of the tile."""
    target: Tensor
    """int64 [p]."""
    value: Tensor
    """float32 [p]."""


def _by_target(extra: PairTerms, part: slice) -> _Terms:
    offset = extra.offset[part.start : part.stop + 1]
    pairs = slice(int(offset[0]), int(offset[-1]))
    target, order = torch.sort(extra.target[pairs])
    source = torch.repeat_interleave(offset.diff())[order]
    return _Terms(source, target, extra.value[pairs][order])


def _top_k_of_few(
    sources: Tensor,
    targets: Tensor,
    *,
    k: int,
    num_visible: Tensor,
    extra: _Terms | None,
    chunk_rows: int,
) -> tuple[Tensor, Tensor]:
    """The ranking of a tile's sources: [s, k] rows and scores."""
    num_sources, device = sources.shape[0], sources.device
    rows = torch.full((num_sources, k), NO_ROW, device=device)
    scores = torch.full((num_sources, k), -torch.inf, device=device)
    nearest, farthest = (int(x) for x in torch.aminmax(num_visible))
    for first in range(0, min(farthest, targets.shape[0]), chunk_rows):
        tile = sources @ targets[first : min(first + chunk_rows, farthest)].T
        last = first + tile.shape[1]
        if extra is not None:
            _add(tile, extra, first, last)
        if nearest < last:
            hidden = torch.arange(first, last, device=device) >= num_visible[:, None]
            tile.masked_fill_(hidden, -torch.inf)
        gaining, found, best = _best_of_tile(tile, k, floor=scores[:, -1])
        # Rows found before are lower, and both parts are in order: a stable sort keeps ties right.
        both = torch.cat([scores[gaining], best], dim=1)
        merged, order = (x[:, :k] for x in torch.sort(both, dim=1, descending=True, stable=True))
        rows[gaining] = torch.cat([rows[gaining], found + first], dim=1).gather(1, order)
        scores[gaining] = merged
    return rows.masked_fill_(scores == -torch.inf, NO_ROW), scores


def _add(tile: Tensor, extra: _Terms, first: int, last: int) -> None:
    bounds = torch.tensor([first, last], device=tile.device)
    begin, end = torch.searchsorted(extra.target, bounds).tolist()
    source, target = extra.source[begin:end], extra.target[begin:end] - first
    tile.index_put_((source, target), extra.value[begin:end].to(tile.dtype), accumulate=True)


def _best_of_tile(tile: Tensor, k: int, *, floor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What of a tile [s, t] may enter the lists of its sources.

    The best k lie in the k blocks of neighbours whose best are best: any other block has k blocks
    before it that each hold a better one. So most of a tile is only looked at for its maxima.

    Args:
        tile: float32 [s, t].
        k: Length of the lists.
        floor: float32 [s], the last score on each list so far.

    Returns:
        int64 [r], the sources whose best here is above their floor; int64 [r, up to k], columns of
        their best, and float32 [r, up to k], the scores.
    """
    num_sources, num_columns = tile.shape
    num_blocks = num_columns // BLOCK
    whole, rest = tile[:, : num_blocks * BLOCK], tile[:, num_blocks * BLOCK :]
    peaks = whole.view(num_sources, num_blocks, BLOCK).amax(dim=2)
    best = torch.cat([peaks, rest], dim=1).amax(dim=1)
    gaining = torch.nonzero(~(best <= floor)).reshape(-1)  # a NaN, too, so that it is seen
    if num_blocks <= k:
        return gaining, *_first_of(tile[gaining], min(k, num_columns))
    blocks, _ = _first_of(peaks[gaining], k)
    blocks = torch.sort(blocks, dim=1).values  # ascending, so that ties still mean lower columns
    columns = (blocks[:, :, None] * BLOCK + torch.arange(BLOCK, device=tile.device)).flatten(1)
    last = torch.arange(num_blocks * BLOCK, num_columns, device=tile.device)
    columns = torch.cat([columns, last.expand(gaining.shape[0], -1)], dim=1)
    places, scores = _first_of(tile[gaining[:, None], columns], k)
    return gaining, columns.gather(1, places), scores


def _first_of(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Columns and scores, [s, k], of the k highest, ties by lower column."""
    if scores.shape[1] <= k:
        best, places = torch.sort(scores, dim=1, descending=True, stable=True)
        return places, best
    # One more than asked for shows where a tie crosses the border, for topk may keep any of it.
    best, places = torch.topk(scores, k + 1, dim=1)
    torn = torch.nonzero(best[:, k - 1] == best[:, k]).reshape(-1)
    places = places[:, :k].contiguous()
    if torn.shape[0]:
        order = torch.sort(scores[torn], dim=1, descending=True, stable=True).indices
        places[torn] = order[:, :k]
    places = torch.sort(places, dim=1).values
    best, order = torch.sort(scores.gather(1, places), dim=1, descending=True, stable=True)
    return places.gather(1, order), best
