"""What a prediction consists of before it is written: columns of each table, and their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rle.runs.events import WarningEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import pyarrow as pa
    import torch
    from numpy.typing import NDArray

    from rle.graph.link_task import LinkSplitRows
    from rle.graph.task import SplitRows
    from rle.runs.events import AnyEvent


class Rescorer(Protocol):
    """Has the last word on a node model's scores; see `rle.baseline.kept`."""

    @property
    def needs_embeddings(self) -> bool:
        """Whether it reads the model's vectors too."""

    def rescore(
        self,
        rows: NDArray[np.int32],
        times: NDArray[np.int64],
        scores: NDArray[np.float32],
        embeddings: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        """Return the scores that count, float32 [n, C], of n rows with a known entity."""


@dataclass(frozen=True, slots=True)
class Question:
    """How an answer is wanted."""

    batch_size: int
    """Rows per step; changes speed and memory, never a prediction."""
    device: torch.device
    """Where the model is."""
    with_embeddings: bool
    flatten_output: bool
    """Whether the prediction table has one row per item of a list."""
    with_labels: bool
    """Whether the answer is to be measured."""
    on_event: Callable[[AnyEvent], None]
    """Told of progress and of what the user should know."""
    rescorer: Rescorer | None = None
    """What a node model's scores go through; None: they stay as they are."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A stream of rows, to be read once. Work is done as it is read."""

    schemas: tuple[pa.Schema, ...]
    """Columns of each table, in the order of `OutputPlan.tables`."""
    rows: Iterator[tuple[int, pa.RecordBatch]]
    """Batches, each with the position of its table."""
    num_unknown: int
    """Test rows whose entity is not in the graph."""
    measure: Callable[[], dict[str, float]]
    """Metrics of the rows that have been read; called after the last, and only where asked for.

    Raises DataError where the metric of the task is undefined for the test labels."""


def tell_unknown(split: SplitRows | LinkSplitRows, question: Question) -> None:
    """Warn of test rows that nothing can be predicted for."""
    if split.num_unknown:
        message = (
            f"{split.num_unknown} of {split.rows.size} test rows have an entity that is not in the "
            f"graph, such as {split.example_unknown!r}; their prediction is NULL."
        )
        question.on_event(WarningEvent(message=message))
