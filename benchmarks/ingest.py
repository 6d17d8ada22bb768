"""How many fact rows per CPU-second become a snapshot, in how much memory and how many bytes?

Parquet files of the generated retail database (benchmarks/retail.py), transactions once in the
order of their time and once shuffled, against the same work done the usual way in pandas.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import harness, retail
from rle.connectors.local import LocalConnector
from rle.graph.assemble import open_parts, place_rows
from rle.graph.build import build_snapshot
from rle.graph.files import GrowingArray
from rle.graph.links import resolve_links
from rle.graph.schema import GraphSchema, relations_of_link
from rle.graph.topology import TopologyBuilder
from rle.ingest.plan import plan_table
from rle.ingest.staging import PartInfo, Staging
from rle.ingest.stream import list_work, stage_all
from rle.spec.dataset import DatasetSpec
from rle.spec.metric import EvaluationMetric
from rle.spec.table import CandidateKey, ColumnSpec, ForeignKey, TableSpec
from rle.spec.task import NodeTaskSpec
from rle.values import ColumnDType, Split, TaskType

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLES: dict[str, dict[str, Any]] = {
    "customers": {"keys": ("customer_id",)},
    "articles": {"keys": ("article_id",)},
    "transactions": {
        "links": {"customer_id": "customers.customer_id", "article_id": "articles.article_id"},
        "time": "time",
    },
}


def dataset(folder: Path) -> DatasetSpec:
    """Describe the retail database that was written into `folder`."""
    tables = []
    for name, roles in ROLES.items():
        schema = pq.read_schema(folder / f"{name}.parquet")
        keys, links = roles.get("keys", ()), roles.get("links", {})
        tables.append(
            TableSpec(
                name=name,
                source=str(folder / f"{name}.parquet"),
                columns=tuple(ColumnSpec(name=f.name, dtype=_dtype(f.type)) for f in schema),
                candidate_keys=tuple(CandidateKey(key) for key in keys),
                foreign_keys=tuple(ForeignKey(column, to) for column, to in links.items()),
                time_column=roles.get("time"),
            )
        )
    return DatasetSpec(
        name="retail",
        connector=LocalConnector(connector_type="parquet", url=str(folder)),
        tables=tuple(tables),
        task=NodeTaskSpec(
            name="churn",
            task_type=TaskType.BINARY_CLASSIFICATION,
            sources={split: str(folder / f"task_{split.value}.parquet") for split in Split},
            entity_table="customers",
            entity_column="customer_id",
            target_column="churn",
            time_column="timestamp",
            metric=EvaluationMetric("roc_auc"),
        ),
    )


def _dtype(arrow: pa.DataType) -> ColumnDType:
    if pa.types.is_temporal(arrow):
        return ColumnDType.datetime_t
    if pa.types.is_dictionary(arrow) or pa.types.is_string(arrow):
        return ColumnDType.category_t
    return ColumnDType.float_t if pa.types.is_floating(arrow) else ColumnDType.integer_t


def graph_part(spec: DatasetSpec, staging: Staging, infos: list[PartInfo], folder: Path) -> int:
    """Ids, edges and both directions of every link, from staged parts to files; fact rows."""
    folder.mkdir(exist_ok=True)
    parts = {p.table: open_parts(staging, i, infos) for i, p in enumerate(staging.plans)}
    placed = {}
    for name, part in parts.items():
        (folder / name).mkdir(exist_ok=True)
        source = spec.connector.arrow_schema(part.plan.source)
        placed[name] = place_rows(
            part, folder / name, {k: source.field(k).type for k in part.plan.keys}
        )
    links = ROLES["transactions"]["links"]
    wanted = [
        (column, to, placed[to.split(".")[0]].keys[to.split(".")[1]])
        for column, to in links.items()
    ]
    relations = [
        relations_of_link(f"transactions.{c}", child="transactions", parent=to.split(".")[0])
        for c, to in links.items()
    ]
    schema = GraphSchema(tables=(), relations=tuple(r for pair in relations for r in pair))
    with (
        GrowingArray(folder / "links.npy", np.int32) as links_file,
        GrowingArray(folder / "offsets.npy", np.int32) as offsets_file,
    ):
        rows = {name: part.num_rows for name, part in parts.items()}
        builder = TopologyBuilder(schema, rows, links_file.append, offsets_file.append)
        parents, _ = resolve_links(parts["transactions"], placed["transactions"].place, wanted)
        builder.add("transactions", parents)
    return parts["transactions"].num_rows


def pandas_graph_part(frames: dict[str, pd.DataFrame]) -> int:
    """The same with merges, a sort and group-bys."""
    facts = frames["transactions"].sort_values("time", kind="stable").reset_index(drop=True)
    for column, parent in (("customer_id", "customers"), ("article_id", "articles")):
        ids = frames[parent][[column]].sort_values(column).reset_index(drop=True)
        ids["row"] = np.arange(len(ids), dtype=np.int32)
        facts[f"{column}_row"] = facts[[column]].merge(ids, on=column, how="left")["row"].to_numpy()
        groups = facts.groupby(f"{column}_row", sort=True)
        np.concatenate([groups.indices[key] for key in groups.indices])
        np.cumsum(groups.size().to_numpy())
    return len(facts)


def pandas_build(folder: Path) -> int:
    """Read, sort, link and code the features, in pandas."""
    frames = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ROLES}
    for frame in frames.values():
        for column in frame.columns:
            if not pd.api.types.is_numeric_dtype(frame[column]) and column != "time":
                frame[column].astype("category").cat.codes.to_numpy()
        frame.select_dtypes("number").to_numpy(np.float32)
    return pandas_graph_part(frames)


def bench_graph_part(folder: Path, case: str) -> None:
    """Rows per CPU-second of ids, edges and CSC, from staged parts."""
    spec = dataset(folder)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "parts").mkdir()
        staging = Staging(
            connector=spec.connector,
            plans=tuple(plan_table(table) for table in spec.tables),
            embedder=None,
            folder=str(Path(name) / "parts"),
        )
        infos = stage_all(
            staging, list_work(staging), num_workers=0, on_progress=lambda done, total: None
        )
        columns = {"transactions": ["customer_id", "article_id", "time"]}
        frames = {
            t: pd.read_parquet(folder / f"{t}.parquet", columns=columns.get(t)) for t in ROLES
        }
        harness.measure(
            "ingest",
            case=f"graph part, {case}",
            unit="fact rows/cpu_s",
            run=lambda: graph_part(spec, staging, infos, Path(name) / "out"),
            work=float,
            baseline=lambda: pandas_graph_part(frames),
            baseline_name="pandas merge and groupby",
            repeats=2,
        )


def bench_build(folder: Path, case: str) -> None:
    """Rows per CPU-second of the whole build, its memory and its bytes per row."""
    spec = dataset(folder)

    def run() -> Any:
        with fresh_folder() as out:
            return build_snapshot(
                spec,
                folder=out,
                text_embedder="",
                num_workers=0,
                on_progress=lambda stage, done, total: None,
            ).report

    facts = pq.read_metadata(folder / "transactions.parquet").num_rows
    harness.measure(
        "ingest",
        case=f"whole build, {case}",
        unit="fact rows/cpu_s",
        run=run,
        work=lambda _: facts,
        baseline=lambda: pandas_build(folder),
        baseline_name="pandas in memory",
        warmup=0,
        repeats=2,
    )
    table = next(t for t in run().tables if t.table == "transactions")
    harness.record(
        "ingest",
        case=f"links in both directions, {case}",
        value=table.topology_bytes / table.num_rows,
        unit="bytes/fact row",
        higher_is_better=False,
        baseline="target",
        baseline_value=16.0,
    )


def bench_memory(folder: Path, case: str) -> None:
    """Peak memory of a build in a fresh process, over what it held before."""
    peak = json.loads(
        subprocess.run(
            [sys.executable, "-m", "benchmarks.ingest", "--memory-of", str(folder)],
            capture_output=True, check=True, text=True,
        ).stdout.splitlines()[-1]
    )  # fmt: skip
    arrow = pq.read_table(folder / "transactions.parquet").nbytes
    harness.record(
        "ingest",
        case=f"peak memory, {case}",
        value=peak / arrow,
        unit="x Arrow size of the largest table",
        higher_is_better=False,
        baseline="target",
        baseline_value=3.0,
    )


def print_peak_memory(folder: Path) -> None:
    """Print by how many bytes a build raises the peak memory of a fresh process."""
    before = _resident("VmRSS")
    with fresh_folder() as out:
        build_snapshot(
            dataset(folder),
            folder=out,
            text_embedder="",
            num_workers=0,
            on_progress=lambda stage, done, total: None,
        )
    print(_resident("VmHWM") - before)


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) * 1024 for x in lines if x.startswith(f"{field}:"))


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """A temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def main() -> None:
    """Run the benchmark."""
    if "--memory-of" in sys.argv:
        print_peak_memory(Path(sys.argv[-1]))
        return
    args = harness.arguments(__doc__ or "")
    for millions in (2,) if args.quick else (2, 20):
        with fresh_folder() as folder:
            made = retail.generate(millions * 10**6)
            made.write(folder)
            bench_graph_part(folder, f"{millions}M rows in time order")
            bench_build(folder, f"{millions}M rows in time order")
            bench_memory(folder, f"{millions}M rows in time order")
            order = np.random.default_rng(0).permutation(made.transactions.num_rows)
            shuffled = made.transactions.take(order)
            pq.write_table(shuffled, folder / "transactions.parquet", row_group_size=262_144)
            del made, shuffled
            bench_graph_part(folder, f"{millions}M rows shuffled")
            bench_build(folder, f"{millions}M rows shuffled")
            bench_memory(folder, f"{millions}M rows shuffled")


if __name__ == "__main__":
    main()
