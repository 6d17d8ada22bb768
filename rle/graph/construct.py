"""The steps of one build: stage, sort and write every table, resolve the links, report.

Everything is written below one folder that no reader sees until it is published whole.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rle.errors import DataError
from rle.graph.assemble import Parts, Placed, open_parts, place_rows, write_blocks
from rle.graph.files import GrowingArray
from rle.graph.inherit import inherited, keepers
from rle.graph.links import resolve_links
from rle.graph.report import BuildReport, ColumnReport, LinkReport, TableReport
from rle.graph.schema import (
    GraphSchema,
    Relation,
    TableLayout,
    relations_of_edge_table,
    relations_of_link,
)
from rle.graph.storage import FORMAT, KeyFiles, Manifest, sizes, table_folder
from rle.graph.topology import TopologyBuilder
from rle.ingest.stream import list_work, stage_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from rle.graph.topology import RelationSlice
    from rle.ingest.staging import Staging
    from rle.spec.dataset import DatasetSpec
    from rle.spec.table import TableSpec

    OnProgress = Callable[[str, int, int], None]


@dataclass(slots=True)
class _Finished:
    """One table after its step: what later tables and the report need of it."""

    parts: Parts
    placed: Placed
    layout: TableLayout
    seconds: float


@dataclass(slots=True)
class _Linked:
    """The schema with its inherited relations, and what linking found per table."""

    schema: GraphSchema
    slices: tuple[RelationSlice, ...] = ()
    reports: dict[str, tuple[LinkReport, ...]] = field(default_factory=dict)
    num_bytes: dict[str, int] = field(default_factory=dict)

    def add(self, relation: Relation, num_edges: int, num_rows: dict[str, int]) -> None:
        """Append an inherited relation."""
        self.schema = self.schema.replace(relations=(*self.schema.relations, relation))
        self.reports[relation.target] += (LinkReport(link=relation.link, num_edges=num_edges),)
        self.num_bytes[relation.target] += 4 * (num_edges + num_rows[relation.source] + 1)


class Construction:
    """The steps of one build, in order; every one writes below `folder`."""

    def __init__(
        self,
        spec: DatasetSpec,
        staging: Staging,
        folder: Path,
        on_progress: OnProgress,
        *,
        inherit_links: bool,
    ) -> None:
        self._spec = spec
        self._inherit_links = inherit_links
        self._staging = staging
        self._folder = folder
        self._on_progress = on_progress
        self._started = time.perf_counter()

    def run(self, fingerprint: str, *, num_workers: int) -> Manifest:
        """Build everything but the manifest's file."""
        infos = stage_all(
            self._staging,
            list_work(self._staging),
            num_workers=num_workers,
            on_progress=lambda done, total: self._on_progress("read", done, total),
        )
        staging_seconds = time.perf_counter() - self._started
        self._folder.mkdir()
        parts = [open_parts(self._staging, i, infos) for i in range(len(self._staging.plans))]
        self._refuse_empty_entities(parts)
        finished = self._finish_tables(parts)
        nodes = [f for f in finished.values() if not f.parts.plan.is_edge]
        schema = GraphSchema(tables=tuple(f.layout for f in nodes), relations=self._relations())
        num_rows = {f.layout.name: f.parts.num_rows for f in nodes}
        linked = self._link(schema, num_rows, finished)
        files = sizes(self._folder)
        names = [layout.name for layout in schema.tables]
        tables = tuple(
            _report(f, linked.reports.get(name, ()), linked.num_bytes.get(name, 0), files, names)
            for name, f in finished.items()
        )
        return Manifest(
            format=FORMAT,
            fingerprint=fingerprint,
            graph=linked.schema,
            report=BuildReport(
                tables=tables,
                staging_seconds=staging_seconds,
                seconds=time.perf_counter() - self._started,
            ),
            num_rows=num_rows,
            keys={
                f.layout.name: tuple(KeyFiles.of(k) for k in f.placed.keys.values()) for f in nodes
            },
            relations=linked.slices,
            files=files,
        )

    def _refuse_empty_entities(self, parts: list[Parts]) -> None:
        entities = {table for table, *_ in self._spec.entities}
        for part in parts:
            if part.num_rows == 0 and part.plan.table in entities:
                raise DataError(
                    f"Table {part.plan.table!r} ({part.plan.source}) is empty, so there is nothing "
                    "to predict for. Other tables may be empty, the entity's may not."
                )

    def _finish_tables(self, parts: list[Parts]) -> dict[str, _Finished]:
        out: dict[str, _Finished] = {}
        num_nodes = 0
        for i, part in enumerate(parts):
            started = time.perf_counter()
            if part.plan.is_edge:
                layout, placed = TableLayout(name=part.plan.table, has_time=False), Placed(None, {})
            else:
                folder = table_folder(self._folder, num_nodes)
                folder.mkdir()
                num_nodes += 1
                source = self._spec.connector.arrow_schema(part.plan.source)
                types = {key: source.field(key).type for key in part.plan.keys}
                placed = place_rows(part, folder, types)
                layout = write_blocks(part, placed.place, folder)
            out[part.plan.table] = _Finished(part, placed, layout, time.perf_counter() - started)
            self._on_progress("build", i + 1, len(parts) + 1)
        return out

    def _relations(self) -> tuple[Relation, ...]:
        out: list[Relation] = []
        for table in self._spec.tables:
            if table.type == "edge":
                first, second = table.foreign_keys
                out += relations_of_edge_table(
                    table.name,
                    columns=(first.column_name, second.column_name),
                    parents=(first.link_table, second.link_table),
                )
                continue
            for key in table.foreign_keys:
                link = f"{table.name}.{key.column_name}"
                out += relations_of_link(link, child=table.name, parent=key.link_table)
        return tuple(out)

    def _link(
        self, schema: GraphSchema, num_rows: dict[str, int], finished: dict[str, _Finished]
    ) -> _Linked:
        """Resolve the foreign keys table by table and append both directions to two files."""
        linked = _Linked(schema)
        kept: dict[str, NDArray[np.int32]] = {}
        wanted = keepers(self._spec.tables) if self._inherit_links else set()
        with (
            GrowingArray(self._folder / "links.npy", np.int32) as links,
            GrowingArray(self._folder / "offsets.npy", np.int32) as offsets,
        ):
            builder = TopologyBuilder(schema, num_rows, links.append, offsets.append)
            for table in self._spec.tables:
                if not table.foreign_keys:
                    continue
                started, before = time.perf_counter(), links.size + offsets.size
                parents, linked.reports[table.name] = _resolve(table, finished)
                builder.add(table.name, parents)
                if table.name in wanted:
                    kept[table.name] = parents
                linked.num_bytes[table.name] = 4 * (links.size + offsets.size - before)
                finished[table.name].seconds += time.perf_counter() - started
            heirs = self._spec.tables if self._inherit_links else ()
            for relation, grandparents in inherited(heirs, kept, num_rows):
                linked.add(relation, builder.inherit(relation, grandparents), num_rows)
        linked.slices = builder.slices
        self._on_progress("build", len(finished) + 1, len(finished) + 1)
        return linked


def _resolve(
    table: TableSpec, finished: dict[str, _Finished]
) -> tuple[NDArray[np.int32], tuple[LinkReport, ...]]:
    child = finished[table.name]
    keys = [
        (
            key.column_name,
            ".".join(key.target),
            finished[key.link_table].placed.keys[key.link_column],
        )
        for key in table.foreign_keys
    ]
    return resolve_links(child.parts, child.placed.place, keys)


def _report(
    finished: _Finished,
    links: tuple[LinkReport, ...],
    topology_bytes: int,
    files: dict[str, int],
    nodes: list[str],
) -> TableReport:
    parts, name = finished.parts, finished.parts.plan.table
    own = {}
    if name in nodes:
        prefix = f"t{nodes.index(name)}/"
        own = {p.removeprefix(prefix): size for p, size in files.items() if p.startswith(prefix)}
    clamped, infinite = parts.total("num_clamped"), parts.total("num_infinite")
    incomplete = parts.total("num_incomplete")
    return TableReport(
        table=name,
        num_rows=parts.num_rows,
        num_null_keys=sum(info.num_null_keys for info in parts.infos),
        num_null_times=sum(info.num_null_times for info in parts.infos),
        links=links,
        columns=tuple(
            ColumnReport(
                column=column,
                num_clamped=clamped.get(column, 0),
                num_infinite=infinite.get(column, 0),
                num_incomplete=incomplete.get(column, 0),
            )
            for column in sorted(clamped.keys() | infinite.keys() | incomplete.keys())
        ),
        feature_bytes=sum(size for path, size in own.items() if not path.startswith("key")),
        key_bytes=sum(size for path, size in own.items() if path.startswith("key")),
        topology_bytes=topology_bytes,
        seconds=finished.seconds,
    )
