"""The public objects for a converted database: what both examples say in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rle.connectors.duckdb import DuckDBConnector


def make_table(
    connector: DuckDBConnector,
    name: str,
    *,
    key: str | None,
    links: Mapping[str, str],
    time: str | None,
) -> rle.GNNTable:
    """Return the handle of table main.<name>; free text is read as categories.

    A text embedder would have to be downloaded, and names of people and parks say little here.
    """
    table = rle.GNNTable(
        connector,
        name,
        f"{connector.stem}.main.{name}",
        primary_key=key,
        foreign_keys=[rle.ForeignKey(column, target) for column, target in links.items()],
        time_column=time,
    )
    for column, dtype in table.columns.items():
        if dtype == rle.ColumnDType.text_t and column != key and column not in links:
            table.update_column_dtype(col_name=column, dtype=rle.ColumnDType.category_t)
    return table


def split_tables(connector: DuckDBConnector, task: str) -> dict[str, str]:
    """Return the tables of a task's splits: {"train": "lahman.tasks.player_out_train", ...}."""
    return {
        split: f"{connector.stem}.tasks.{task_table(task, split)}"
        for split in ("train", "validation", "test")
    }


def task_table(task: str, split: str) -> str:
    """Name of the table in schema `tasks` that holds one split: "player_out_train"."""
    return f"{task.replace('-', '_')}_{split}"
