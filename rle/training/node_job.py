"""The training of a node task, as data: snapshot, task tables and model spec."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from rle.errors import DataError
from rle.graph.snapshot import Snapshot
from rle.graph.task import SplitRows, read_split
from rle.model.heads import Objective
from rle.model.relational import RelationalModel
from rle.model.spec import ModelSpec
from rle.model.tensors import to_tensors
from rle.sampling.loader import BatchLoader
from rle.sampling.sampler import NeighborSampler
from rle.spec.dataset import DatasetSpec
from rle.training.job import TrainingJob
from rle.training.protocols import Parts
from rle.values import Split

if TYPE_CHECKING:
    from rle.spec.config import TrainerConfig
    from rle.training.ranks import Ranks


class NodeTrainingJob(TrainingJob):
    """Trains a relational model on the train split and chooses it on the validation split."""

    dataset: DatasetSpec
    snapshot: Path
    """Folder of the graph snapshot, on storage that every worker sees."""
    model: ModelSpec

    def build(self, ranks: Ranks) -> Parts:
        """Open the snapshot, read both splits and make the model, alike on every rank."""
        snapshot = Snapshot.open(self.snapshot)
        splits = {split: self._read(split, snapshot) for split in (Split.TRAIN, Split.VALIDATION)}
        sampler = make_sampler(snapshot, self.dataset, self.config)
        loaders = {
            split: BatchLoader(
                snapshot,
                rows,
                sampler,
                batch_size=self._batch_size(split),
                num_workers=self.config.num_workers,
                rank=ranks.rank,
                seed=self.config.seed,
                shuffle=split is Split.TRAIN,
                threads=self.config.sampler_workers,
                max_iters=self.config.max_iters if split is Split.TRAIN else None,
            )
            for split, rows in splits.items()
        }
        model = RelationalModel(self.model)
        model.bind(snapshot)
        labels = splits[Split.VALIDATION].labels
        assert labels is not None
        return Parts(
            model=model.to(ranks.device),
            objective=Objective(self.model),
            task_type=self.model.task_type,
            train_loader=loaders[Split.TRAIN],
            validation_loader=loaders[Split.VALIDATION],
            validation_labels=torch.from_numpy(labels),
            move=partial(to_tensors, pin=ranks.device.type == "cuda"),
        )

    def _batch_size(self, split: Split) -> int:
        if split is Split.TRAIN:
            return self.config.train_batch_size
        # A validation batch must have a row for every worker.
        return max(self.config.val_batch_size, self.config.num_workers)

    def _read(self, split: Split, snapshot: Snapshot) -> SplitRows:
        connector = self.dataset.connector
        return known_rows(read_split(connector, self.dataset, split, snapshot, self.model.labels))


def make_sampler(
    snapshot: Snapshot, dataset: DatasetSpec, config: TrainerConfig
) -> NeighborSampler:
    """Return the sampler that training, validation and prediction share."""
    return NeighborSampler(
        snapshot,
        entity_table=dataset.entities[0][0],
        # Deeper hops than there are layers would be sampled for nothing.
        fanouts=config.fanouts[: config.num_layers],
        strategy=config.temporal_strategy,
        inclusive=dataset.task.current_time,
        seed=config.seed,
        newest=config.newest_children,
    )


def known_rows(rows: SplitRows) -> SplitRows:
    """Return a split without the rows whose entity is not in the graph: they have no tree.

    Raises:
        DataError: No row is left.
    """
    if not rows.num_unknown:
        return rows
    at = np.flatnonzero(rows.rows >= 0)
    if not at.size:
        raise DataError(
            f"None of the {rows.rows.size} rows of the {rows.split.value} table has an entity that "
            f"is in the graph; {rows.example_unknown!r} is not, for example."
        )
    return replace(
        rows,
        rows=rows.rows[at],
        times=rows.times[at],
        labels=None if rows.labels is None else rows.labels[at],
        keys=rows.keys.take(at),
        task_times=None if rows.task_times is None else rows.task_times.take(at),
        num_unknown=0,
        example_unknown=None,
    )
