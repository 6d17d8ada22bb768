"""What the training loop asks of a model, an objective and a loader. Nothing more is assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch
    from torch import Tensor, nn

    from rle.training.ranks import Ranks


class DeviceBatch(Protocol):
    """A batch of S seeds on the training device. A model may read more of it than the loop."""

    @property
    def positions(self) -> Tensor:
        """int64 [S]: row of each seed in its split."""

    @property
    def weights(self) -> Tensor:
        """float32 [S]: 1, or 0 for a padding row that must not count."""

    @property
    def labels(self) -> Any | None:
        """What the objective compares outputs with; None where the split has nothing."""


class Loader(Protocol):
    """Batches of one split for one rank: the same number of steps on every rank."""

    def set_epoch(self, epoch: int) -> None:
        """Plan epoch `epoch` (0-based) from its first step."""

    def __len__(self) -> int:
        """Steps of an epoch, whatever the position."""

    def __iter__(self) -> Iterator[Any]:
        """The batches from the position to the end of the epoch."""

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue at {"epoch", "step"}: `step` batches of `epoch` have been consumed."""

    def close(self) -> None:
        """Stop threads and release files."""


class Objective(Protocol):
    """What a task makes of the model's outputs while it trains."""

    def row_losses(self, outputs: Tensor, labels: Any) -> Tensor:
        """float32 [S]: the loss of each row, unweighted.

        Args:
            outputs: float32, what the model returned.
            labels: `DeviceBatch.labels` of the same batch.
        """


class ScoringObjective(Objective, Protocol):
    """An objective whose outputs are one row of scores per seed."""

    def scores(self, outputs: Tensor) -> Tensor:
        """float32 [S, C]: probabilities, or values in the label's own scale."""


class Validator(Protocol):
    """Measures a model on the validation split."""

    def remarks(self) -> tuple[str, ...]:
        """What the user should know about the split before training.

        Raises:
            DataError: The metric is undefined for it.
        """

    def __call__(
        self, model: nn.Module, *, ranks: Ranks, on_step: Callable[[int, int], None]
    ) -> tuple[float, float]:
        """Evaluation metric and mean loss; every rank calls, and the answer of rank 0 counts.

        Args:
            model: In evaluation mode, with the weights to measure.
            ranks: Who else takes part.
            on_step: Called with the steps that are done and their number.
        """

    def close(self) -> None:
        """Stop threads and release files."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything one rank trains with."""

    model: nn.Module
    """forward(batch) -> outputs; on the training device already."""
    objective: Objective
    train_loader: Loader
    validator: Validator
    move: Callable[[Any, torch.device], Any]
    """Copies a loader's batch to a device without waiting for the copy; gives a DeviceBatch."""
    remarks: tuple[str, ...] = ()
    """What the user should know before the first step."""
