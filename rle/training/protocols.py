"""What the training loop asks of a model, an objective and a loader. Nothing more is assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch
    from torch import Tensor, nn

    from rle.values import TaskType


class DeviceBatch(Protocol):
    """A batch of S seeds on the training device. A model may read more of it than the loop."""

    @property
    def positions(self) -> Tensor:
        """int64 [S]: row of each seed in its split."""

    @property
    def weights(self) -> Tensor:
        """float32 [S]: 1, or 0 for a padding row that must not count."""

    @property
    def labels(self) -> Tensor | None:
        """[S] or [S, C]; None where the split has none."""


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
    """What a task makes of the model's outputs."""

    def row_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """float32 [S]: the loss of each row, unweighted. outputs: float32 [S, num_outputs]."""

    def scores(self, outputs: Tensor) -> Tensor:
        """float32 [S, C]: probabilities, or values in the label's own scale."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything one rank trains with."""

    model: nn.Module
    """forward(batch) -> [S, num_outputs]; on the training device already."""
    objective: Objective
    task_type: TaskType
    train_loader: Loader
    validation_loader: Loader
    validation_labels: Tensor
    """Labels of all rows of the validation split, in row order."""
    move: Callable[[Any, torch.device], Any]
    """Copies a loader's batch to a device without waiting for the copy; gives a DeviceBatch."""
    remarks: tuple[str, ...] = ()
    """What the user should know before the first step."""
