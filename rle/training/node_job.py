"""The training of a node task, as data: snapshot, task tables and model spec."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rle.errors import DataError, InternalError
from rle.graph.snapshot import Snapshot
from rle.graph.task import SplitRows, read_split
from rle.model.heads import Objective, WeightedObjective
from rle.model.relational import RelationalModel
from rle.model.spec import ModelSpec
from rle.model.tensors import to_tensors
from rle.sampling.loader import BatchLoader
from rle.sampling.sampler import NeighborSampler
from rle.spec.dataset import DatasetSpec
from rle.training.balance import find_class_weights
from rle.training.evaluate import ScoreValidator
from rle.training.job import TrainingJob
from rle.training.protocols import Parts
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from rle.sampling.epochs import EpochLoader
    from rle.spec.config import TrainerConfig
    from rle.training.ranks import Ranks

TRAINED_ON = (Split.TRAIN, Split.VALIDATION)
WORTH_SAYING = 0.01
"""Share of the training rows that may come twice per epoch without it being said."""


@dataclass(frozen=True, slots=True)
class SeedArrays:
    """The rows of a split as workers see them: plain arrays in files, mapped when read. N rows."""

    rows: NDArray[np.int32]
    """int32 [N], rows of the entity table."""
    times: NDArray[np.int64]
    """int64 [N], nanoseconds since 1970 UTC."""
    labels: NDArray[np.generic]
    """[N] or [N, classes], encoded."""

    def save(self, folder: Path) -> None:
        """Write one .npy file per array into `folder`; made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        for field in fields(self):
            np.save(folder / f"{field.name}.npy", getattr(self, field.name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> SeedArrays:
        """Map what `save` wrote."""
        arrays = {
            field.name: np.load(folder / f"{field.name}.npy", mmap_mode="r", allow_pickle=False)
            for field in fields(cls)
        }
        return cls(**arrays)


class NodeTrainingJob(TrainingJob):
    """Trains a relational model on the train split and chooses it on the validation split."""

    dataset: DatasetSpec
    snapshot: Path
    """Folder of the graph snapshot, on storage that every worker sees."""
    model: ModelSpec

    def prepare(self) -> tuple[str, ...]:
        """Read both splits once, so that no worker asks the warehouse for them."""
        snapshot = Snapshot.open(self.snapshot)
        connector, codec = self.dataset.connector, self.model.labels
        remarks = []
        for split in TRAINED_ON:
            whole = read_split(connector, self.dataset, split, snapshot, codec)
            found = known_rows(whole)
            if whole.num_unknown:
                remarks.append(
                    f"{whole.num_unknown} of {whole.rows.size} rows of the {split.value} table "
                    f"name an entity that is not in the graph, such as "
                    f"{whole.example_unknown!r}; they are left out."
                )
            if found.labels is None:
                raise InternalError(f"The {split.value} split was read without labels.")
            SeedArrays(found.rows, found.times, found.labels).save(self._place(split))
        return tuple(remarks)

    def build(self, ranks: Ranks) -> Parts:
        """Open the snapshot and both splits and make the model, alike on every rank."""
        snapshot = Snapshot.open(self.snapshot)
        splits = {split: SeedArrays.load(self._place(split)) for split in TRAINED_ON}
        sampler = make_sampler(snapshot, self.dataset, self.config, lags=self.model.lags)
        loaders = {
            split: self._loader(split, rows, snapshot, sampler, ranks)
            for split, rows in splits.items()
        }
        model = RelationalModel(self.model)
        model.name_rows(snapshot)
        model.bind(snapshot)
        objective = Objective(self.model)
        move = partial(to_tensors, pin=ranks.device.type == "cuda")
        return Parts(
            model=model.to(ranks.device),
            objective=self._training_objective(objective, splits[Split.TRAIN], ranks),
            train_loader=loaders[Split.TRAIN],
            validator=ScoreValidator(
                metric=self.metric,
                task_type=self.model.task_type,
                loader=loaders[Split.VALIDATION],
                labels=torch.from_numpy(np.array(splits[Split.VALIDATION].labels)),
                objective=objective,
                move=move,
            ),
            move=move,
            remarks=wrap_remarks(loaders[Split.TRAIN]),
        )

    def _training_objective(self, plain: Objective, train: SeedArrays, ranks: Ranks) -> Objective:
        # From all training rows, not from this rank's share: every rank has the same weights.
        weights = find_class_weights(self.config, self.model.labels, train.labels)
        if weights is None:
            return plain
        return WeightedObjective(self.model, torch.from_numpy(weights).to(ranks.device))

    def _loader(
        self,
        split: Split,
        rows: SeedArrays,
        snapshot: Snapshot,
        sampler: NeighborSampler,
        ranks: Ranks,
    ) -> BatchLoader:
        is_train = split is Split.TRAIN
        config = self.config
        return BatchLoader(
            snapshot,
            rows,
            sampler,
            # Every rank needs a row of each batch.
            batch_size=max(
                config.train_batch_size if is_train else config.val_batch_size, ranks.num_ranks
            ),
            num_workers=ranks.num_ranks,
            rank=ranks.rank,
            seed=config.seed,
            shuffle=is_train,
            threads=config.sampler_workers,
            max_iters=config.max_iters if is_train else None,
        )

    def _place(self, split: Split) -> Path:
        return self.folder / "splits" / split.value


def wrap_remarks(loader: EpochLoader[Any]) -> tuple[str, ...]:
    """Say so where many training rows come twice per epoch."""
    plan = loader.plan
    if plan.num_wrapped <= WORTH_SAYING * loader.num_rows:
        return ()
    remark = (
        f"{plan.num_wrapped} rows come twice per epoch, to fill the last of {plan.num_steps} "
        f"batches of {plan.batch_size} from {loader.num_rows} training rows."
    )
    return (remark,)


def make_sampler(
    snapshot: Snapshot,
    dataset: DatasetSpec,
    config: TrainerConfig,
    *,
    lags: Mapping[str, int],
    entity: int = 0,
) -> NeighborSampler:
    """Return the sampler that training, validation and prediction share.

    Args:
        snapshot: The graph.
        dataset: Whose task it is.
        config: How neighbours are sampled.
        lags: The model's: what usually comes how long after what; see `NeighborSampler`.
        entity: Which of the task's entities is at the root; 1 for the targets of a link task.
    """
    return NeighborSampler(
        snapshot,
        entity_table=dataset.entities[entity][0],
        # Deeper hops than there are layers would be sampled for nothing.
        fanouts=config.fanouts[: config.num_layers],
        strategy=config.temporal_strategy,
        inclusive=dataset.task.current_time,
        seed=config.seed,
        newest=config.newest_children,
        windows=config.windows,
        lags=lags,
        backtrack=config.backtrack,
        time_window=config.time_window_ns,
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
