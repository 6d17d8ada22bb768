"""A generated retail database: customers, articles, transactions and a churn task.

Customers follow a flattened Zipf law (mean 20 transactions, p99 about 200, at most about 700),
articles too (mean 200, p99 about 2,100), over two years, at 2 or 20 million transactions. Whether
a customer churns depends on how recently and how often they bought and on their region, plus
noise, so a model must aggregate to learn it. The same seed gives the same tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rle.graph.report import BuildReport, TableReport
from rle.graph.schema import GraphSchema, TableLayout, relations_of_link
from rle.graph.snapshot import Snapshot
from rle.graph.store import TableStore
from rle.graph.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

START = int(np.datetime64("2023-01-01", "ns").astype(np.int64))
NUM_DAYS = 730
# Exponent and shift of weight(u) = (u + shift) ** -exponent over the rank share u.
CUSTOMER = (0.85, 0.00298)
ARTICLE = (0.82, 0.00126)
MONTHS = {"train": range(12, 20), "validation": range(20, 21), "test": range(22, 23)}
"""Task times are the ends of these 30-day months; test leaves a month free after validation."""


@dataclass(frozen=True, slots=True)
class Retail:
    """The tables. Transactions are in time order, ids are dense integers from 0."""

    customers: pa.Table
    articles: pa.Table
    transactions: pa.Table
    tasks: dict[str, pa.Table]

    def write(self, folder: Path) -> None:
        """Write every table as Parquet into `folder`, task tables as task_<split>.parquet."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("customers", "articles", "transactions"):
            pq.write_table(getattr(self, name), folder / f"{name}.parquet", row_group_size=262_144)
        for split, table in self.tasks.items():
            pq.write_table(table, folder / f"task_{split}.parquet")


def generate(num_transactions: int = 2_000_000, *, seed: int = 0) -> Retail:
    """Generate the database; one customer per 20 transactions and one article per 200."""
    rng = np.random.default_rng(seed)
    num_customers, num_articles = num_transactions // 20, num_transactions // 200
    buyer = _draw(rng, num_customers, num_transactions, exponent=CUSTOMER[0], shift=CUSTOMER[1])
    article = _draw(rng, num_articles, num_transactions, exponent=ARTICLE[0], shift=ARTICLE[1])
    time = np.sort(rng.integers(0, NUM_DAYS * 86_400, num_transactions)) * 10**9 + START
    price = rng.gamma(2.0, 15.0, num_articles).astype(np.float32)
    customers = {
        "customer_id": np.arange(num_customers),
        "age": rng.integers(18, 90, num_customers).astype(np.float32),
        "income": rng.lognormal(10, 0.5, num_customers).astype(np.float32),
        "region": rng.integers(0, 50, num_customers),
        "segment": rng.integers(0, 8, num_customers),
    }
    customers["region"] = _names("region", customers["region"])
    customers["segment"] = _names("segment", customers["segment"])
    articles = {
        "article_id": np.arange(num_articles),
        "list_price": price,
        "weight": rng.gamma(2.0, 1.0, num_articles).astype(np.float32),
        "category": _names("category", rng.integers(0, 200, num_articles)),
        "colour": _names("colour", rng.integers(0, 20, num_articles)),
    }
    transactions = {
        "customer_id": buyer,
        "article_id": article,
        "time": time.astype("datetime64[ns]"),
        "price": price[article] * rng.uniform(0.7, 1.0, num_transactions).astype(np.float32),
        "channel": _names("channel", rng.integers(0, 3, num_transactions)),
    }
    return Retail(
        pa.table(customers),
        pa.table(articles),
        pa.table(transactions),
        _tasks(rng, buyer, time, customers["region"]),
    )


def snapshot(retail: Retail) -> Snapshot:
    """Return the graph in memory, as the build would make it, without reading any file."""
    child, parents = retail.transactions, ("customer_id", "article_id")
    links = [
        relations_of_link(f"transactions.{column}", child="transactions", parent=parent)
        for column, parent in zip(parents, ("customers", "articles"), strict=True)
    ]
    stores = {
        "customers": _store(
            "customers", retail.customers, ("age", "income"), ("region", "segment")
        ),
        "articles": _store(
            "articles", retail.articles, ("list_price", "weight"), ("category", "colour")
        ),
        "transactions": _store("transactions", child, ("price",), ("channel",), time="time"),
    }
    layouts = (
        _layout("customers", ("age", "income"), ("region", "segment")),
        _layout("articles", ("list_price", "weight"), ("category", "colour")),
        _layout("transactions", ("price",), ("channel",), has_time=True),
    )
    schema = GraphSchema(tables=layouts, relations=tuple(r for pair in links for r in pair))
    block = np.column_stack([child[c].to_numpy().astype(np.int32) for c in parents])
    rows = {name: store.num_rows for name, store in stores.items()}
    topology = Topology.of(schema, rows, {"transactions": block})
    report = BuildReport(tables=tuple(TableReport(table=n, num_rows=r) for n, r in rows.items()))
    return Snapshot(None, "retail", schema, report, stores, topology)


def seeds(retail: Retail, split: str = "train") -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the task's own (customer row, time in ns) pairs, shuffled once."""
    table = retail.tasks[split]
    order = np.random.default_rng(1).permutation(table.num_rows)
    rows = table["customer_id"].to_numpy()[order].astype(np.int32)
    return rows, table["timestamp"].to_numpy()[order].astype("datetime64[ns]").astype(np.int64)


def _draw(
    rng: np.random.Generator, num: int, size: int, *, exponent: float, shift: float
) -> NDArray[np.int64]:
    weight = ((np.arange(num) + 0.5) / num + shift) ** -exponent
    edges = np.cumsum(weight)
    drawn = np.searchsorted(edges, rng.uniform(0, edges[-1], size))
    return rng.permutation(num)[np.minimum(drawn, num - 1)]


def _names(prefix: str, codes: NDArray[np.int64]) -> pa.DictionaryArray:
    values = [f"{prefix} {i:03d}" for i in range(int(codes.max()) + 1)]
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), values)


def _tasks(
    rng: np.random.Generator,
    buyer: NDArray[np.int64],
    time: NDArray[np.int64],
    region: pa.DictionaryArray,
) -> dict[str, pa.Table]:
    order = np.argsort(buyer, kind="stable")
    offset = np.zeros(int(buyer.max()) + 2, np.int64)
    np.cumsum(np.bincount(buyer), out=offset[1:])
    # Times of one customer lie in a window of their own, so one search answers for all of them.
    span, day = (NUM_DAYS + 1) * 86_400, 86_400
    packed = buyer[order] * span + (time[order] - START) // 10**9
    taste = rng.normal(0, 0.7, len(region.dictionary))[region.indices.to_numpy()]
    out = {}
    for split, months in MONTHS.items():
        parts = []
        for month in months:
            now = (month + 1) * 30 * day
            customer = np.arange(offset.size - 1)
            seen = np.searchsorted(packed, customer * span + now) - offset[:-1]
            customer = customer[seen > 0]
            last = packed[offset[customer] + seen[customer] - 1] - customer * span
            recent = seen[customer] - (
                np.searchsorted(packed, customer * span + now - 90 * day) - offset[customer]
            )
            logit = (
                0.9 * np.log1p((now - last) / day) - 1.1 * np.log1p(recent) + taste[customer] - 2.3
            )
            churn = rng.uniform(size=customer.size) < 1 / (1 + np.exp(-logit))
            when = np.full(customer.size, START + now * 10**9).astype("datetime64[ns]")
            parts.append(
                pa.table({"customer_id": customer, "timestamp": when, "churn": churn.astype(int)})
            )
        out[split] = pa.concat_tables(parts)
    return out


def _layout(
    name: str, numbers: Sequence[str], codes: Sequence[str], *, has_time: bool = False
) -> TableLayout:
    return TableLayout(
        name=name, has_time=has_time, number_columns=tuple(numbers), code_columns=tuple(codes)
    )


def _store(
    name: str,
    table: pa.Table,
    numbers: Sequence[str],
    codes: Sequence[str],
    time: str | None = None,
) -> TableStore:
    dictionaries = {c: table[c].combine_chunks().dictionary for c in codes}
    return TableStore(
        name=name,
        num_rows=table.num_rows,
        times=table[time].to_numpy().astype(np.int64) if time else None,
        numbers=np.column_stack([table[c].to_numpy() for c in numbers]).astype(np.float32),
        codes=np.column_stack([table[c].combine_chunks().indices.to_numpy() for c in codes]).astype(
            np.int32
        ),
        stamps=np.empty((table.num_rows, 0), np.int64),
        vectors={},
        lists={},
        dictionaries={c: (lambda values=values: values) for c, values in dictionaries.items()},
    )
