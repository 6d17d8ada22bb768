"""The loader of a link task, made alike for training, validation and prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.sampling.history import HistoryReader
from rle.sampling.link_loader import LinkLoader
from rle.sampling.negatives import NegativeSampler
from rle.sampling.popularity import PopularityReader
from rle.training.node_job import make_sampler
from rle.values import TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rle.graph.snapshot import Snapshot
    from rle.model.link_spec import LinkModelSpec
    from rle.sampling.link_loader import CandidateKind, LinkRows
    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec
    from rle.training.ranks import Ranks


def make_link_loader(
    snapshot: Snapshot,
    dataset: DatasetSpec,
    config: TrainerConfig,
    split: LinkRows,
    *,
    paths: Sequence[tuple[int, ...]],
    lags: Mapping[str, int],
    candidates: CandidateKind,
    popularity: PopularityReader | None = None,
    batch_size: int,
    ranks: Ranks,
    shuffle: bool = False,
    max_iters: int | None = None,
) -> LinkLoader:
    """Return a rank's loader over a split of a link task.

    Args:
        snapshot: The graph.
        dataset: With a link task.
        config: How neighbours and negatives are sampled.
        split: The rows.
        paths: The model's history paths.
        lags: The model's: what usually comes how long after what; see `NeighborSampler`.
        candidates: What sources are weighed against; see `LinkLoader`.
        popularity: The model's; see `make_popularity`.
        batch_size: Sources per step, over all ranks.
        ranks: Who shares the rows.
        shuffle: True for training.
        max_iters: Steps per epoch at most; None for all.
    """
    task = dataset.task
    source, target = dataset.entities[0][0], dataset.entities[1][0]
    negatives = None
    if candidates == "sampled" and task.task_type is TaskType.LINK_PREDICTION:
        negatives = NegativeSampler(
            snapshot,
            source=source,
            target=target,
            strategy=config.negative_sampling_strategy,
            paths=paths,
            inclusive=task.current_time,
            seed=config.seed,
        )
    return LinkLoader(
        snapshot,
        split,
        target=target,
        source_sampler=make_sampler(snapshot, dataset, config, lags=lags),
        target_sampler=make_sampler(snapshot, dataset, config, lags=lags, entity=1),
        reader=HistoryReader(
            snapshot,
            source=source,
            target=target,
            paths=paths,
            inclusive=task.current_time,
            windows=config.windows,
            time_window=config.time_window_ns,
        ),
        candidates=candidates,
        inclusive=task.current_time,
        negatives=negatives,
        num_negative=config.num_negative if negatives is not None else 0,
        popularity=popularity,
        # Every rank needs a row of each batch.
        batch_size=max(batch_size, ranks.num_ranks),
        num_workers=ranks.num_ranks,
        rank=ranks.rank,
        seed=config.seed,
        shuffle=shuffle,
        threads=config.sampler_workers,
        max_iters=max_iters,
    )


def make_popularity(
    snapshot: Snapshot, dataset: DatasetSpec, config: TrainerConfig, model: LinkModelSpec
) -> PopularityReader | None:
    """Return what tells a model how sought after targets are; None where it does not ask."""
    if not model.num_popularity:
        return None
    return PopularityReader(
        snapshot,
        source=model.entity_table,
        target=model.target_table,
        path=model.paths[0],
        inclusive=dataset.task.current_time,
        windows=config.windows,
        time_window=config.time_window_ns,
    )
