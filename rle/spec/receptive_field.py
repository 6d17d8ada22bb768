"""Whether a model looks far enough: the hops it takes against the hops the schema is wide."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rle.errors import ValidationError
from rle.values import TaskType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec
    from rle.spec.table import TableSpec


@dataclass(frozen=True, slots=True)
class Diameter:
    """The longest of the shortest ways between two node tables."""

    hops: int
    """0 where there is one table only."""
    ends: tuple[str, str]
    """The two tables; the first such pair in the order of the tables."""


def find_diameter(tables: Sequence[TableSpec]) -> Diameter:
    """Measure a schema. Links count both ways, and an edge table is one link and no stop.

    Args:
        tables: At least one of them a node table. Those that no link joins have no distance.
    """
    joined = _neighbours(tables)
    first = next(iter(joined))
    found = Diameter(0, (first, first))
    for start in joined:
        distance = _distances(joined, start)
        for end in joined:  # in the order of the tables, not of the walk
            if distance.get(end, 0) > found.hops:
                found = Diameter(distance[end], (start, end))
    return found


def check_receptive_field(dataset: DatasetSpec, config: TrainerConfig) -> tuple[str, ...]:
    """Compare the depth of `config` with the diameter of the schema.

    Returns:
        A warning where a node task looks less far than the diameter, or a link task than half of
        it, rounded up: its two towers meet in the middle.

    Raises:
        ValidationError: A repeated link task looks less far than the diameter less one hop, and
            `config.strict_receptive_field` is on; off, it is warned of too.
    """
    found, task_type = find_diameter(dataset.tables), dataset.task.task_type
    needed = found.hops
    if task_type is TaskType.REPEATED_LINK_PREDICTION:
        needed = max(1, found.hops - 1)
    elif task_type is TaskType.LINK_PREDICTION:
        needed = -(-found.hops // 2)
    if config.num_layers >= needed:
        return ()
    has = f"{len(config.fanouts)} fanouts"
    if config.gnn_layers is not None:
        has += f" and gnn_layers={config.gnn_layers}"
    message = (
        f"tables {found.ends[0]!r} and {found.ends[1]!r} are {found.hops} hops apart, and a "
        f"{task_type.value} task should look {needed} hops far, but TrainerConfig has {has}; set "
        f"{_remedy(config, needed)}"
    )
    if task_type is TaskType.REPEATED_LINK_PREDICTION and config.strict_receptive_field:
        raise ValidationError(
            f"The receptive field is too small: {message}; or set strict_receptive_field=False, "
            "since what a source has met is read exactly at any depth."
        )
    return (f"what lies farther than {config.num_layers} hops is not seen: {message}",)


def pad_fanouts(fanouts: Sequence[int], length: int) -> list[int]:
    """Return `fanouts` with hops added, each half as wide as the one before and at least 1."""
    padded = list(fanouts)
    while len(padded) < length:
        padded.append(max(1, padded[-1] // 2))
    return padded


def _remedy(config: TrainerConfig, needed: int) -> str:
    remedies = []
    if len(config.fanouts) < needed:
        remedies.append(f"fanouts={pad_fanouts(config.fanouts, needed)}")
    if config.gnn_layers is not None:
        remedies.append(f"gnn_layers={needed}")
    return " and ".join(remedies)


def _neighbours(tables: Sequence[TableSpec]) -> dict[str, list[str]]:
    joined: dict[str, list[str]] = {table.name: [] for table in tables if table.type == "node"}
    for table in tables:
        ends = [key.link_table for key in table.foreign_keys if key.link_table in joined]
        if table.type == "node":
            pairs = [(table.name, end) for end in ends]
        else:
            pairs = [(ends[0], ends[1])] if len(ends) == 2 else []
        for a, b in pairs:
            joined[a].append(b)
            joined[b].append(a)
    return joined


def _distances(joined: dict[str, list[str]], start: str) -> dict[str, int]:
    distance = {start: 0}
    queue = deque([start])
    while queue:
        table = queue.popleft()
        for other in joined[table]:
            if other not in distance:
                distance[other] = distance[table] + 1
                queue.append(other)
    return distance
