"""Everything a link model is made of, without its weights and without a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from rle.errors import ValidationError
from rle.model.row_vectors import RowCounts, check_counted
from rle.model.spec import GraphModelSpec
from rle.sampling.popularity import num_popularity_features
from rle.spec.metric import DEFAULT_EVAL_AT_K
from rle.values import TaskType

if TYPE_CHECKING:
    from rle.graph.schema import GraphSchema
    from rle.ingest.stats import DatasetStats
    from rle.spec.config import TrainerConfig
    from rle.spec.metric import EvaluationMetric

TARGET_SEED = 7919
"""Added to the seed of the target tower's dropout, so that the towers drop different channels."""


class LinkModelSpec(GraphModelSpec):
    """Two towers, one rooted at the sources (`entity_table`) and one at the targets, and what is
    known of pairs that have met.
    """

    task_type: TaskType
    """Whether all targets are ranked, or those that the source has met."""
    target_table: str
    paths: tuple[tuple[int, ...], ...]
    """History paths, see `rle.sampling.history.history_paths`; relations of `graph`."""
    metric: str
    """Name of the evaluation metric."""
    k: int
    """Length of the ranked lists."""
    num_popularity: int = 0
    """Features of how sought after a target is, see `rle.sampling.popularity`; 0: not told."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.is_repeated and not self.paths:
            raise ValidationError(
                f"No links lead from {self.entity_table!r} to {self.target_table!r}, so no source "
                "has met a target. Use TaskType.LINK_PREDICTION, or add the table that joins them."
            )
        return self

    @classmethod
    def from_config(
        cls,
        config: TrainerConfig,
        *,
        graph: GraphSchema,
        stats: DatasetStats,
        source_table: str,
        target_table: str,
        task_type: TaskType,
        paths: tuple[tuple[int, ...], ...],
        metric: EvaluationMetric,
        shallow_rows: RowCounts = (),
    ) -> LinkModelSpec:
        """Take from `config` what shapes a model; see the fields for the rest.

        Raises:
            ValidationError: Met targets are to be ranked, but no path leads to any.
        """
        check_counted(config, shallow_rows)
        own = set(GraphModelSpec.model_fields)
        own -= {"graph", "stats", "entity_table", "shallow_rows"}
        return cls(
            graph=graph,
            stats=stats,
            entity_table=source_table,
            target_table=target_table,
            task_type=task_type,
            paths=paths,
            metric=metric.name,
            k=metric.eval_at_k or DEFAULT_EVAL_AT_K,
            num_popularity=_num_popularity(config, task_type, paths),
            shallow_rows=shallow_rows,
            **{name: getattr(config, name) for name in own},
        )

    @property
    def is_repeated(self) -> bool:
        """Whether only targets that the source has met are ranked."""
        return self.task_type is TaskType.REPEATED_LINK_PREDICTION

    @property
    def width(self) -> int:
        """E: channels of a vector, and one for what a target is worth to every source."""
        return self.channels + 1

    @property
    def target_tower(self) -> GraphModelSpec:
        """What the target tower is made of."""
        own = {name: getattr(self, name) for name in GraphModelSpec.model_fields}
        # Only sources are marked in their trees.
        own |= {"entity_table": self.target_table, "id_awareness": False}
        own |= {"seed": self.seed + TARGET_SEED}
        return GraphModelSpec(**own)


def _num_popularity(
    config: TrainerConfig, task_type: TaskType, paths: tuple[tuple[int, ...], ...]
) -> int:
    """Among targets that a source has met, what it did itself tells more than what others do."""
    is_told = task_type is TaskType.LINK_PREDICTION and paths and config.popularity_prior
    if not is_told:
        return 0
    return num_popularity_features(len(config.windows), time_window=config.time_window_ns)
