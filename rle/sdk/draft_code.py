"""A drafted schema as Python code: what a person would have written, to be edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.connectors.names import shown

if TYPE_CHECKING:
    from rle.connectors.base import Connector
    from rle.sdk.draft import SchemaDraft
    from rle.spec.gnn_table import GNNTable
    from rle.spec.table import CandidateKey, ForeignKey

_DATASET = """\
# Say what to predict, and the dataset is complete:
#
# task = rle.NodeTask(connector, name="...", task_data_source={"train": ..., "validation": ...},
#     source_entity_column="...", source_entity_table="...", target_column="...",
#     task_type="binary_classification", time_column="...")
# Tables of the task hold labels: take them out of `tables`.
# dataset = rle.Dataset(connector, "...", tables=tables, task_description=task)
"""


def to_code(draft: SchemaDraft) -> str:
    """Return code that makes `connector` and the list `tables`; what is open is a comment."""
    lines = ["import rle", *_connector(draft.connector), "", "tables = ["]
    open_times = draft.open_times
    for table in draft.tables:
        lines += _table(table, open_times.get(table.name, ()))
    lines += ["]"]
    for place, table in enumerate(draft.tables):
        removed = [column for column, why in table.left_out.items() if why == "removed"]
        lines += [f"tables[{place}].remove_column({column!r})" for column in removed]
    lines += [""]
    about = [*map(str, draft.suggestions), *draft.notes]
    if about:
        lines += ["# Suggested or left open:", *(f"# - {shown(text)}" for text in about), "#"]
    return "\n".join(lines) + "\n" + _DATASET


def _connector(connector: Connector) -> list[str]:
    cls = type(connector)
    is_ours = cls.__module__.startswith("rle.connectors.")
    name = f"rle.{cls.__name__}" if is_ours else cls.__name__
    fields = connector.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
    if connector.engine_name is not None:
        fields["engine_name"] = connector.engine_name
    lines = [] if is_ours else [f"from {cls.__module__} import {cls.__name__}"]
    arguments = [f"    {field}={value!r}," for field, value in fields.items()]
    return [*lines, "", f"connector = {name}(", *arguments, ")"]


def _table(table: GNNTable, open_times: tuple[str, ...]) -> list[str]:
    lines = [
        "    rle.GNNTable(",
        "        connector,",
        f"        name={table.name!r},",
        f"        source={table.source!r},",
    ]
    keys = list(table.candidate_keys)
    if keys and not keys[0].is_feature:
        lines.append(f"        primary_key={keys.pop(0).column_name!r},")
    lines += _list("candidate_keys", [_key(key) for key in keys])
    lines += _list("foreign_keys", [_link(key) for key in table.foreign_keys])
    if table.time_column is not None:
        lines.append(f"        time_column={table.time_column!r},")
    elif open_times:
        choices = " or ".join(map(repr, open_times))
        lines.append(f"        # When did a row become known? time_column={choices},")
    if table.type != "node":
        lines.append(f"        type={table.type!r},")
    lines.append("        column_dtypes={")
    lines += [
        f"            {column!r}: {dtype.value!r}," for column, dtype in table.columns.items()
    ]
    return [*lines, "        },", "    ),"]


def _list(argument: str, items: list[str]) -> list[str]:
    if not items:
        return []
    return [f"        {argument}=[", *(f"            {item}," for item in items), "        ],"]


def _key(key: CandidateKey) -> str:
    feature = ", is_feature=True" if key.is_feature else ""
    return f"rle.CandidateKey({key.column_name!r}{feature})"


def _link(key: ForeignKey) -> str:
    feature = ", is_feature=True" if key.is_feature else ""
    return f"rle.ForeignKey({key.column_name!r}, {key.link_to!r}{feature})"
