"""Everything a model is made of, without its weights and without a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rle.graph.schema import GraphSchema, Relation
from rle.ingest.labels import LabelCodec
from rle.ingest.stats import CategoryStats, DatasetStats, NumberStats
from rle.model.row_vectors import RowCounts, check_counted
from rle.spec.config import Aggregation, nanoseconds
from rle.values import TaskType, Value

if TYPE_CHECKING:
    from rle.spec.config import TrainerConfig

CLOCK_CORRELATION = 0.95
"""From this rank correlation with the row's time on, a number only tells the time."""
NUM_RESERVED = 2
"""Vocabulary entries before the first value: NULL, and rare or unknown."""


class GraphModelSpec(Value):
    """What a vector per row of one table is computed with: trees in, the root's state out.

    The fields after `entity_table` are those of TrainerConfig that shape every model; their
    meaning is documented there.
    """

    graph: GraphSchema
    stats: DatasetStats
    """Statistics of the rows visible to training; prediction never refits them."""
    entity_table: str
    """Table of the seeds."""
    seed: int = 42
    channels: int = 128
    num_layers: int = 2
    conv_aggregation: Aggregation = "mean"
    hetero_conv_aggregation: Aggregation = "sum"
    gnn_norm: Literal["batch_norm", "layer_norm", "instance_norm"] = "layer_norm"
    head_layers: int = 1
    head_norm: Literal["batch_norm", "layer_norm"] = "batch_norm"
    use_temporal_encoder: bool = True
    newest_children: int = 2
    sum_beside_mean: bool = True
    count_features: bool = True
    count_windows_h: tuple[float, ...] = (1.0, 3.0, 6.0, 24.0, 168.0, 720.0, 8760.0)
    due_features: bool = True
    age_features: bool = True
    calendar_features: bool = False
    drop_clocks: bool = True
    dropout: float = 0.2
    node_dropout: float = 0.1
    category_dropout: float = 0.2
    head_shortcut: bool = True
    min_category_count: int = 10
    max_categories: int = 2000
    id_awareness: bool = False
    shallow_rows: RowCounts = ()
    """Tables whose rows have a learnt vector each, and of how many rows: those that training may
    see, the oldest of the table."""

    @property
    def windows(self) -> tuple[int, ...]:
        """Windows that the sampler must count in, nanoseconds, ascending."""
        if not self.count_features:
            return ()
        return nanoseconds(self.count_windows_h)

    @property
    def lags(self) -> dict[str, int]:
        """What the sampler must tell beside the counts of inherited relations, nanoseconds."""
        if not (self.due_features and self.windows):
            return {}
        return {lag.relation: lag.median for lag in self.stats.lags}

    @property
    def num_aggregates(self) -> int:
        """Ways in which the children of one relation are pooled, each with its own weights."""
        return 1 + int(self.has_sum) + self.newest_children

    @property
    def has_sum(self) -> bool:
        """Whether a sum is pooled beside `conv_aggregation`; beside a sum it would be a copy."""
        return self.sum_beside_mean and self.conv_aggregation != "sum"

    def tables_at(self, depth: int) -> tuple[str, ...]:
        """Tables that a tree can reach in exactly `depth` hops, in schema order."""
        reached = {self.entity_table}
        for _ in range(depth):
            reached = {r.target for r in self.graph.relations if r.source in reached}
        return tuple(t.name for t in self.graph.tables if t.name in reached)

    def tables_within(self, depth: int) -> tuple[str, ...]:
        """Tables that a tree can reach in at most `depth` hops, in schema order."""
        reached = {name for d in range(depth + 1) for name in self.tables_at(d)}
        return tuple(t.name for t in self.graph.tables if t.name in reached)

    def counted_relations(self, table: str) -> tuple[Relation, ...]:
        """Relations of `table` whose visible rows are counted for its nodes."""
        if not self.count_features:
            return ()
        return tuple(r for r in self.graph.relations_from(table) if r.many)

    @property
    def dates_have_year(self) -> bool:
        """Whether the year of a date is told. After training every year is a new one, so where
        seeds have a time the date's age takes its place.
        """
        return not (self.age_features and self.has_time and self.drop_clocks)

    @property
    def reads_calendar(self) -> bool:
        """Whether dates are read as dates; without a time there is no age to read instead."""
        return self.calendar_features or not self.has_time

    @property
    def has_time(self) -> bool:
        """Whether any table, and therefore the task, has a time."""
        return any(table.has_time for table in self.graph.tables)

    def is_read(self, stats: NumberStats) -> bool:
        """Whether a number column is encoded at all."""
        return not self.drop_clocks or abs(stats.time_correlation) < CLOCK_CORRELATION

    def vocabulary(self, stats: CategoryStats) -> tuple[str, ...]:
        """Values of a column that have a vector of their own, most frequent first."""
        frequent = (
            value
            for value, count in zip(stats.values, stats.counts, strict=True)
            if count >= self.min_category_count
        )
        return tuple(value for value, _ in zip(frequent, range(self.max_categories), strict=False))


class ModelSpec(GraphModelSpec):
    """Enough to rebuild the model of a node task and read its outputs.

    Weights are in its `state_dict`. The fields after `metric` are those of TrainerConfig that say
    what becomes of the outputs.
    """

    labels: LabelCodec
    """How labels become targets and outputs become values again. Carries the task type."""
    metric: str
    """Name of the evaluation metric; an absolute one makes regression minimise absolute error."""
    label_smoothing: bool = False
    label_smoothing_alpha: float = 0.1
    clamp_min: float | None = 0.0
    clamp_max: float | None = 100.0

    @classmethod
    def from_config(
        cls,
        config: TrainerConfig,
        *,
        graph: GraphSchema,
        stats: DatasetStats,
        entity_table: str,
        labels: LabelCodec,
        metric: str,
        shallow_rows: RowCounts = (),
    ) -> ModelSpec:
        """Take from `config` what shapes a model; the rest are the fields of the same names."""
        check_counted(config, shallow_rows)
        given = {"graph", "stats", "entity_table", "labels", "metric", "shallow_rows"}
        own = set(cls.model_fields) - given
        return cls(
            graph=graph,
            stats=stats,
            entity_table=entity_table,
            labels=labels,
            metric=metric,
            shallow_rows=shallow_rows,
            **({name: getattr(config, name) for name in own} | clamp_bounds(config, labels)),
        )

    @property
    def task_type(self) -> TaskType:
        """What is predicted."""
        return TaskType(self.labels.task_type)

    @property
    def num_outputs(self) -> int:
        """Columns of the model's output: one per class, or one."""
        several = (TaskType.MULTICLASS_CLASSIFICATION, TaskType.MULTILABEL_CLASSIFICATION)
        return len(self.labels.classes) if self.task_type in several else 1


def clamp_bounds(config: TrainerConfig, labels: LabelCodec) -> dict[str, float | None]:
    """Return `clamp_min` and `clamp_max`, for clamp="auto" as the training labels have them."""
    low, high = config.clamp_min, config.clamp_max
    if config.clamp == "auto" and labels.percentiles is not None:
        low, high = labels.percentiles
    return {"clamp_min": low, "clamp_max": high}
