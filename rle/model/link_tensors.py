"""The numpy batch of link prediction as torch tensors on a device.

Shapes: S sources, D trees of targets, C candidates, P pairs of a source with a target it has met,
K history paths, W windows of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rle.model.tensors import move_array, to_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from rle.model.tensors import TensorBatch
    from rle.sampling.link_batch import History, LinkBatch


@dataclass(frozen=True, slots=True)
class HistoryTensors:
    """Which targets each source has met; see `rle.sampling.link_batch.History`."""

    offset: Tensor
    """int64 [S + 1]."""
    source: Tensor
    """int64 [P], ascending."""
    targets: Tensor
    """int64 [P], rows of the target table."""
    count: Tensor
    """float32 [P, K]."""
    recent: Tensor
    """float32 [P, K, W]."""
    ages: Tensor
    """float32 [P, K, 3], days since the newest, the previous and the oldest event, NaN for none."""


@dataclass(frozen=True, slots=True)
class LinkLabels:
    """Which candidates are right; see `rle.sampling.link_batch.LinkBatch`."""

    source: Tensor
    """int64 [C], ascending."""
    num_sources: int
    """S."""
    positive: Tensor
    """bool [C]."""
    log_weight: Tensor
    """float32 [C]."""


@dataclass(frozen=True, slots=True)
class LinkTensorBatch:
    """A batch on a device; see `rle.sampling.link_batch.LinkBatch`."""

    positions: Tensor
    """int64 [S]."""
    weights: Tensor
    """float32 [S], 0 also for a source that nothing can be learnt from: none of its candidates is
    right, or all are."""
    labels: LinkLabels
    source: TensorBatch
    target: TensorBatch | None
    """Its `weights` say how many candidates stand behind each tree."""
    popularity: Tensor
    """float32 [D, F], how sought after each target is."""
    history: HistoryTensors
    candidate: Tensor
    """int64 [C], position among the D trees."""
    met: Tensor
    """int64 [m], the candidates that are in their source's history, ascending."""
    pair: Tensor
    """int64 [m], their positions among the P pairs."""


def to_link_tensors(
    batch: LinkBatch, device: torch.device | str, *, pin: bool = False
) -> LinkTensorBatch:
    """Copy a batch to `device`.

    Args:
        batch: Numpy batch, left as it is.
        device: Where to.
        pin: Copy through pinned memory and do not wait for it. Only useful with a CUDA device.
    """
    place = torch.device(device)
    pinned = pin and place.type == "cuda"

    def move(array: NDArray[Any]) -> Tensor:
        return move_array(array, device=place, pin=pinned)

    num_sources = batch.positions.size
    owner = np.repeat(np.arange(num_sources), np.diff(batch.offset))
    met = np.flatnonzero(batch.pair >= 0)
    target = None
    if batch.target is not None:
        target = to_tensors(batch.target, place, pin=pin, weights=batch.multiplicity)
    return LinkTensorBatch(
        positions=move(batch.positions),
        weights=move(batch.weights * _is_learnable(owner, batch.positive, num_sources)),
        labels=LinkLabels(
            source=move(owner),
            num_sources=num_sources,
            positive=move(batch.positive),
            log_weight=move(batch.log_weight),
        ),
        source=to_tensors(batch.source, place, pin=pin),
        target=target,
        popularity=move(batch.popularity),
        history=to_history(batch.history, place, pin=pin),
        candidate=move(batch.candidate.astype(np.int64)),
        met=move(met),
        pair=move(batch.pair[met].astype(np.int64)),
    )


def to_history(
    history: History, device: torch.device | str, *, pin: bool = False
) -> HistoryTensors:
    """Copy the history of some sources to `device`."""
    place = torch.device(device)
    pinned = pin and place.type == "cuda"

    def move(array: NDArray[Any]) -> Tensor:
        return move_array(array, device=place, pin=pinned)

    offset = history.offset.astype(np.int64)
    ages = np.stack([history.newest, history.previous, history.oldest], axis=-1)
    return HistoryTensors(
        offset=move(offset),
        source=move(np.repeat(np.arange(offset.size - 1), np.diff(offset))),
        targets=move(history.targets.astype(np.int64)),
        count=move(history.count.astype(np.float32)),
        recent=move(history.recent.astype(np.float32)),
        ages=move(ages.astype(np.float32, copy=False)),
    )


def _is_learnable(
    owner: NDArray[np.int64], positive: NDArray[np.bool_], num_sources: int
) -> NDArray[np.float32]:
    num_positive = np.bincount(owner, weights=positive, minlength=num_sources)
    num_all = np.bincount(owner, minlength=num_sources)
    return ((num_positive > 0) & (num_positive < num_all)).astype(np.float32)
