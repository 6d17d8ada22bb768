"""A model, a loader and a job small enough to train in milliseconds, with what makes ranks differ.

Each row reads one or both of two embedding tables, as a tree reads relations, so that a step of
one rank may leave a whole table unused; `batch_norm` and row counts that no batch size divides do
the rest. `faults` makes a worker fail at a chosen step.
"""

# Shapes: N rows of a split, S rows of a batch.
from __future__ import annotations

import logging
import math
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from rle.errors import DataError
from rle.model.norms import BatchNorm
from rle.training.evaluate import ScoreValidator
from rle.training.job import TrainingJob
from rle.training.protocols import Parts
from rle.values import TaskType, Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rle.training.ranks import Ranks

NUM_CODES = 50
NUM_NUMBERS = 6
LEAKED = "password=hunter2-canary"
"""What a fault of kind "leak" tells in every way there is."""


@dataclass(frozen=True, slots=True)
class TinyBatch:
    """S rows of a tiny split."""

    positions: Tensor
    weights: Tensor
    labels: Tensor | None
    numbers: Tensor
    """float32 [S, NUM_NUMBERS]."""
    codes: Tensor
    """int64 [S, 2]: a row of each embedding table, -1 for none."""


@dataclass(frozen=True, slots=True)
class TinySplit:
    """N rows of random features whose labels hang on them."""

    numbers: Tensor
    codes: Tensor
    labels: Tensor

    @classmethod
    def draw(cls, num_rows: int, *, seed: int) -> TinySplit:
        """The rows that a seed gives: 0/1 labels, half of the second codes absent."""
        rng = np.random.default_rng(seed)
        numbers = rng.normal(size=(num_rows, NUM_NUMBERS)).astype(np.float32)
        codes = rng.integers(0, NUM_CODES, (num_rows, 2))
        signal_N = numbers[:, 0] + np.sin(codes[:, 0]) + rng.normal(size=num_rows)
        # The first half lacks the second table, so that one rank of two never sees it.
        codes[: num_rows // 2, 1] = -1
        labels = (signal_N > 0).astype(np.float32)
        return cls(torch.from_numpy(numbers), torch.from_numpy(codes), torch.from_numpy(labels))


class TinyLoader:
    """Batches from a split in memory, with the same step plan on every rank.

    Args:
        split: The rows.
        batch_size: Rows of a global batch.
        rank: Takes the `rank`-th contiguous share of each global batch.
        num_ranks: Shares per global batch.
        seed: Shuffles each epoch anew; None: in row order, the last batch padded.
        fault: What goes wrong, if anything.
    """

    def __init__(
        self,
        split: TinySplit,
        *,
        batch_size: int,
        rank: int,
        num_ranks: int,
        seed: int | None,
        fault: Fault | None = None,
    ) -> None:
        self._split, self._batch_size, self._seed = split, batch_size, seed
        self._rank, self._num_ranks, self._fault = rank, num_ranks, fault
        self._epoch = self._step = 0

    def set_epoch(self, epoch: int) -> None:
        """Plan an epoch from its first step."""
        self._epoch, self._step = epoch, 0

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue after `state["step"]` batches of `state["epoch"]`."""
        self._epoch, self._step = state["epoch"], state["step"]

    def close(self) -> None:
        """Nothing to release."""

    def __len__(self) -> int:
        return math.ceil(len(self._split.labels) / self._batch_size)

    def __iter__(self) -> Iterator[TinyBatch]:
        num_rows, size = len(self._split.labels), self._batch_size
        order = np.arange(num_rows)
        if self._seed is not None:
            order = np.random.default_rng([self._seed, self._epoch]).permutation(num_rows)
        counts = np.ones(num_rows, np.float32)
        missing = len(self) * size - num_rows
        # Training wraps around; evaluation pads with rows that do not count.
        order = np.resize(order, len(self) * size)
        counts = np.concatenate([counts, np.full(missing, float(self._seed is not None))])
        for step in range(self._step, len(self)):
            if self._fault is not None:
                self._fault.strike(self._rank, self._epoch, step)
            whole = slice(step * size, (step + 1) * size)
            mine = np.array_split(np.arange(size), self._num_ranks)[self._rank]
            yield self._batch(order[whole][mine], counts[whole][mine])

    def _batch(self, rows: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> TinyBatch:
        positions, split = torch.from_numpy(rows), self._split
        return TinyBatch(
            positions=positions,
            weights=torch.from_numpy(weights.astype(np.float32)),
            labels=split.labels[positions],
            numbers=split.numbers[positions],
            codes=split.codes[positions],
        )


class Fault(Value):
    """Something that goes wrong once, in one worker, before a given step."""

    kind: Literal["kill", "data_error", "bug", "leak"]
    rank: int
    epoch: int
    step: int
    mark: Path
    """A file that tells that it has happened."""

    def strike(self, rank: int, epoch: int, step: int) -> None:
        """Fail if this is the place and it has not happened yet."""
        if (rank, epoch, step) != (self.rank, self.epoch, self.step) or self.mark.exists():
            return
        self.mark.touch()
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "data_error":
            raise DataError("row 7 of the tiny split is not a row")
        if self.kind == "leak":
            print(f"printed {LEAKED}")  # noqa: T201
            logging.getLogger("tiny").warning("logged %s", LEAKED)
            raise DataError(f"raised {LEAKED}")
        raise ZeroDivisionError("a bug in the tiny loader")


class TinyModel(nn.Module):
    """Two embedding tables, numbers, an optional batch norm and one linear layer."""

    def __init__(self, *, seed: int, channels: int = 16, batch_norm: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.tables = nn.ModuleList([nn.Embedding(NUM_CODES, channels) for _ in range(2)])
            # Before a norm a bias has no gradient but rounding, which Adam blows up.
            self.numbers = nn.Linear(NUM_NUMBERS, channels, bias=not batch_norm)
            self.norm = BatchNorm(1, channels) if batch_norm else None
            self.head = nn.Linear(channels, 1)

    def forward(self, batch: TinyBatch) -> Tensor:
        """Logits, float [S, 1]."""
        x: Tensor = self.numbers(batch.numbers)
        for table, codes in zip(self.tables, batch.codes.T, strict=True):
            there = torch.nonzero(codes >= 0).reshape(-1)
            if len(there):  # as a relation without a row in this batch is skipped
                x = x.index_add(0, there, table(codes[there]))
        if self.norm is not None:
            x = self.norm([[(x, batch.weights)]])[0][0]
        logits: Tensor = self.head(torch.relu(x))
        return logits


class TinyObjective:
    """Binary classification."""

    def row_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """float32 [S]."""
        return nn.functional.binary_cross_entropy_with_logits(
            outputs[:, 0], labels, reduction="none"
        )

    def scores(self, outputs: Tensor) -> Tensor:
        """float32 [S, 1], probabilities of class 1."""
        return outputs.sigmoid()


def move(batch: TinyBatch, device: torch.device) -> TinyBatch:
    """Copy a batch to a device."""
    return TinyBatch(
        positions=batch.positions.to(device),
        weights=batch.weights.to(device),
        labels=None if batch.labels is None else batch.labels.to(device),
        numbers=batch.numbers.to(device),
        codes=batch.codes.to(device),
    )


class TinyJob(TrainingJob):
    """A run on random rows."""

    num_train_rows: int = 203
    num_validation_rows: int = 101
    batch_norm: bool = False
    fault: Fault | None = None

    def build(self, ranks: Ranks) -> Parts:
        """Draw the rows and make the model."""
        train = TinySplit.draw(self.num_train_rows, seed=1)
        validation = TinySplit.draw(self.num_validation_rows, seed=2)
        model = TinyModel(seed=self.config.seed, batch_norm=self.batch_norm)
        return Parts(
            model=model.to(ranks.device),
            objective=TinyObjective(),
            train_loader=TinyLoader(
                train,
                batch_size=self.config.train_batch_size,
                rank=ranks.rank,
                num_ranks=ranks.num_ranks,
                seed=self.config.seed,
                fault=self.fault,
            ),
            validator=ScoreValidator(
                metric=self.metric,
                task_type=TaskType.BINARY_CLASSIFICATION,
                loader=TinyLoader(
                    validation,
                    batch_size=self.config.val_batch_size,
                    rank=ranks.rank,
                    num_ranks=ranks.num_ranks,
                    seed=None,
                ),
                labels=validation.labels,
                objective=TinyObjective(),
                move=move,
            ),
            move=move,
        )
