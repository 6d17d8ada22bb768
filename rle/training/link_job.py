"""The training of a link task, as data: snapshot, task tables and model spec."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rle.errors import DataError
from rle.graph.link_task import read_link_split
from rle.graph.snapshot import Snapshot
from rle.model.link import LinkModel, LinkObjective
from rle.model.link_spec import LinkModelSpec
from rle.model.link_tensors import to_link_tensors
from rle.sampling.history import HistoryReader
from rle.spec.dataset import DatasetSpec
from rle.training.evaluate import autocast
from rle.training.job import TrainingJob
from rle.training.link_evaluate import LinkRanker, measure_ranking
from rle.training.link_metrics import check_link_metric
from rle.training.link_parts import make_link_loader, make_popularity
from rle.training.link_rows import (
    load_split,
    save_split,
    split_remarks,
    targets_of_row,
    usable_rows,
)
from rle.training.node_job import TRAINED_ON, wrap_remarks
from rle.training.prefetch import Prefetcher
from rle.training.protocols import Parts
from rle.values import Split

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

    from rle.graph.link_task import LinkSplitRows
    from rle.sampling.link_loader import LinkLoader
    from rle.sampling.popularity import PopularityReader
    from rle.spec.config import TrainerConfig
    from rle.spec.metric import EvaluationMetric
    from rle.training.ranks import Ranks

LOOKED_AT = 5_000
"""Training rows whose history is read before training, to say how many can be learnt from."""
LOSS_ROWS = 2_000
"""Validation rows that the loss is over, at most; their candidates are the same every time."""


class LinkTrainingJob(TrainingJob):
    """Trains a link model on the train split and chooses it on the validation split."""

    dataset: DatasetSpec
    snapshot: Path
    """Folder of the graph snapshot, on storage that every worker sees."""
    model: LinkModelSpec

    def prepare(self) -> tuple[str, ...]:
        """Read both splits once, so that no worker asks the warehouse for them.

        Raises:
            DataError: A split has no row with a known source and a known target; or met targets
                are to be ranked and none of the training rows has met one of its own before.
        """
        snapshot = Snapshot.open(self.snapshot)
        remarks: list[str] = []
        for split in TRAINED_ON:
            found = read_link_split(
                self.dataset.connector, self.dataset, split, snapshot, with_targets=True
            )
            remarks += split_remarks(found)
            at = usable_rows(found)
            if not at.size:
                raise DataError(
                    f"No row of the {split.value} table has both a source and a target that are "
                    f"in the graph; there is nothing to learn from. Sources such as "
                    f"{found.example_unknown!r} and targets such as "
                    f"{found.example_unknown_target!r} are not."
                )
            if split is Split.TRAIN:
                remarks += self._check_met(snapshot, found, at)
            save_split(self._place(split), found, at if split is Split.TRAIN else None)
        return tuple(remarks)

    def build(self, ranks: Ranks) -> Parts:
        """Open the snapshot and both splits and make the model, alike on every rank."""
        snapshot = Snapshot.open(self.snapshot)
        train, validation = (load_split(self._place(split), split) for split in TRAINED_ON)
        config = self.config
        model = LinkModel(self.model)
        model.name_rows(snapshot)
        model.bind(snapshot)
        popularity = make_popularity(snapshot, self.dataset, config, self.model)
        loader = partial(
            make_link_loader,
            snapshot,
            self.dataset,
            config,
            paths=self.model.paths,
            lags=self.model.lags,
            candidates="sampled",
            popularity=popularity,
            ranks=ranks,
        )
        train_loader = loader(
            train, batch_size=config.train_batch_size, shuffle=True, max_iters=config.max_iters
        )
        return Parts(
            model=model.to(ranks.device),
            objective=LinkObjective(),
            train_loader=train_loader,
            validator=RankValidator(
                metric=self.metric,
                snapshot=snapshot,
                dataset=self.dataset,
                config=config,
                split=validation,
                popularity=popularity,
                loss_loader=loader(
                    validation,
                    batch_size=config.val_batch_size,
                    max_iters=math.ceil(LOSS_ROWS / config.val_batch_size),
                ),
            ),
            move=_move,
            remarks=wrap_remarks(train_loader),
        )

    def _check_met(
        self, snapshot: Snapshot, rows: LinkSplitRows, at: NDArray[np.int64]
    ) -> list[str]:
        """Say how many training rows of a repeated task have met one of their targets before."""
        if not self.model.is_repeated:
            return []
        reader = HistoryReader(
            snapshot,
            source=self.model.entity_table,
            target=self.model.target_table,
            paths=self.model.paths,
            inclusive=self.dataset.task.current_time,
            time_window=self.config.time_window_ns,
        )
        chosen = at[:: max(1, at.size // LOOKED_AT)]
        history = reader.read(rows.rows[chosen], rows.times[chosen])
        num_met = sum(
            bool(np.isin(history.targets[first:last], targets_of_row(rows, position)).any())
            for position, first, last in zip(
                chosen, history.offset[:-1], history.offset[1:], strict=True
            )
        )
        where = f"{self.model.target_table!r} rows that a {self.model.entity_table!r} row has met"
        if num_met == 0:
            raise DataError(
                f"Repeated link prediction ranks {where}, but none of {chosen.size} training rows "
                "names a target that its source has met before. Use TaskType.LINK_PREDICTION."
            )
        share = num_met / chosen.size
        if share >= 0.9:
            return []
        remark = (
            f"{1 - share:.0%} of the training rows name no target that their source has met "
            "before; repeated link prediction can neither learn from such rows nor be right on "
            "them. TaskType.LINK_PREDICTION ranks every target."
        )
        return [remark]

    def _place(self, split: Split) -> Path:
        return self.folder / "splits" / split.value


@dataclass(frozen=True, slots=True)
class RankValidator:
    """Measures a link model by its rankings, and its loss on candidates like those of training."""

    metric: EvaluationMetric
    snapshot: Snapshot
    dataset: DatasetSpec
    config: TrainerConfig
    split: LinkSplitRows
    popularity: PopularityReader | None
    loss_loader: LinkLoader
    """Rows of the split in order, each once over all ranks, with sampled candidates."""

    def remarks(self) -> tuple[str, ...]:
        """Say whether the metric can be measured; see `rle.training.link_metrics`."""
        check_link_metric(self.metric, self.dataset.task.task_type, usable_rows(self.split).size)
        return ()

    def __call__(
        self, model: nn.Module, *, ranks: Ranks, on_step: Callable[[int, int], None]
    ) -> tuple[float, float]:
        """Evaluation metric and mean loss, the same on every rank."""
        assert isinstance(model, LinkModel)
        ranker = LinkRanker(
            model,
            self.snapshot,
            self.dataset,
            self.config,
            self.split,
            k=model.spec.k,
            popularity=self.popularity,
            batch_size=self.config.val_batch_size,
            ranks=ranks,
            on_step=on_step,
        )
        values = measure_ranking(ranker.rank(), self.split, k=model.spec.k, ranks=ranks)
        return values[self.metric.name], self._loss(model, ranks)

    @torch.no_grad()
    def _loss(self, model: LinkModel, ranks: Ranks) -> float:
        objective, device = LinkObjective(), ranks.device
        total = torch.zeros(2, dtype=torch.float64, device=device)
        self.loss_loader.set_epoch(0)
        source = Prefetcher(iter(self.loss_loader), _move, device)
        with contextlib.closing(iter(source)) as batches:
            for batch in batches:
                with autocast(device):
                    scores = model(batch)
                losses = objective.row_losses(scores.float(), batch.labels).double()
                total += torch.stack([(losses * batch.weights).sum(), batch.weights.sum().double()])
        loss_sum, weight_sum = ranks.sum_(total).tolist()
        return loss_sum / weight_sum if weight_sum else math.nan

    def close(self) -> None:
        """Join the loader's threads."""
        self.loss_loader.close()


def _move(batch: Any, device: torch.device) -> Any:
    return to_link_tensors(batch, device, pin=device.type == "cuda")
