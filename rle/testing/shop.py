"""A tiny shop, the same rows for the same seed: every dtype, every kind of dirt, a known signal."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rle.errors import ValidationError
from rle.testing.shop_tasks import History, Splits, make_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

START = np.datetime64("2022-01-01", "us")
NUM_DAYS = 730
DEPARTMENTS = (
    "all",
    "food",
    "drinks",
    "clothes",
    "toys",
    "bread",
    "cheese",
    "tea",
    "shoes",
    "hats",
)
PARENTS = (None, 0, 0, 0, 0, 1, 1, 2, 3, 3)
CHANNELS = ("app", "store", "web")
WORDS = (  # noqa: SIM905
    "soft warm crisp sweet bold plain light rich green red small large classic fresh "
    "organic handmade daily festive quiet bright"
).split()


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What a user would say about a table: its roles, and the dtypes inference cannot know."""

    key: str | None = None
    foreign_keys: Mapping[str, str] = field(default_factory=dict)
    """Column to "table.column"."""
    time_column: str | None = None
    dtypes: Mapping[str, str] = field(default_factory=dict)
    type: Literal["node", "edge"] = "node"


FACTS: dict[str, TableFacts] = {
    "customers": TableFacts(
        key="customer_id",
        foreign_keys={"referred_by": "customers.customer_id"},
        time_column="joined_at",
        dtypes={
            "age": "float",
            "visits": "integer",
            "is_member": "category",
            "city": "category",
            "interests": "multi_categorical",
            "taste": "embedding",
            "birthday": "datetime",
        },
    ),
    "departments": TableFacts(
        key="department_id",
        foreign_keys={"parent_id": "departments.department_id"},
        dtypes={"name": "category"},
    ),
    "articles": TableFacts(
        key="article_id",
        foreign_keys={"department_id": "departments.department_id"},
        dtypes={
            "price": "float",
            "description": "text",
            "style": "embedding",
            "launched": "datetime",
        },
    ),
    "transactions": TableFacts(
        key="transaction_id",
        foreign_keys={
            "customer_id": "customers.customer_id",
            "article_id": "articles.article_id",
        },
        time_column="happened_at",
        dtypes={"quantity": "integer", "amount": "float", "channel": "category"},
    ),
    "wishlist": TableFacts(
        foreign_keys={
            "customer_id": "customers.customer_id",
            "article_id": "articles.article_id",
        },
        type="edge",
    ),
}
"""Roles and dtypes of the shop's tables, in an order in which targets of links may come later."""


@dataclass(frozen=True, slots=True)
class Shop:
    """The shop's tables, and its task tables by task and split ("train", "validation", "test").

    A task table has the columns customer_id (int64), timestamp (timestamp[us]) and label: int64
    in 0, 1 for "churn", string for "channel", list<string> for "departments", double for "spend".
    """

    tables: dict[str, pa.Table]
    tasks: dict[str, Splits]

    def all_tables(self) -> dict[str, pa.Table]:
        """Return data and task tables by name; a task table is named "<task>_<split>"."""
        tasks = {f"{t}_{s}": rows for t, splits in self.tasks.items() for s, rows in splits.items()}
        return self.tables | tasks

    def write_duckdb(self, path: str | Path) -> Path:
        """Create a database file with every table in schema "main".

        Raises:
            ValidationError: The file is there already.
        """
        if Path(path).exists():
            raise ValidationError(
                f"{path} exists already, and a shop goes into a new file. Use it as it is, "
                f"DuckDBConnector(database={str(path)!r}), or delete it first."
            )
        with duckdb.connect(str(path)) as connection:
            for name, table in self.all_tables().items():
                connection.register("arrow_rows", table)
                connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM arrow_rows')  # noqa: S608
                connection.unregister("arrow_rows")
        return Path(path)

    def write_parquet(self, folder: str | Path) -> Path:
        """Write "<table>.parquet" files, several row groups each, into a folder; creates it.

        Vectors become lists of any length: Arrow cannot read NULL fixed-size lists from Parquet.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, table in self.all_tables().items():
            rows = table.cast(pa.schema([_without_length(f) for f in table.schema]))
            pq.write_table(rows, Path(folder) / f"{name}.parquet", row_group_size=1000)
        return Path(folder)


def make_shop(
    *,
    num_customers: int = 200,
    num_articles: int = 60,
    num_transactions: int = 3000,
    seed: int = 0,
    leak: timedelta | None = None,
) -> Shop:
    """Make a shop with a known signal, or with a known leak.

    Without `leak`, the label of a task row (customer, t) hangs on that customer's transactions
    before t alone: "churn" on how long ago the newest was and how many there are (1 in 20 labels
    is flipped), "channel" on the channel used most, "departments" on those bought from most,
    "spend" on the mean amount and the count.

    With `leak`, "churn" labels are coin flips, and at t + `leak` each task row's customer has one
    more transaction whose channel says the label. What keeps the time bound cannot beat chance; a
    zero `leak` is visible with `current_time=True` alone, a positive one is never visible.

    Dirt, in every shop: NULL features, NULL and dangling keys, NULL times, ties in time.
    """
    rng = np.random.default_rng(seed)
    tables = {
        "customers": _customers(rng, num_customers),
        "departments": _departments(),
        "articles": _articles(rng, num_articles),
    }
    history = _history(rng, tables, num_transactions)
    tasks, giveaways = make_tasks(rng, tables, history, leak=leak)
    tables["transactions"] = _transactions(rng, tables, history, giveaways)
    tables["wishlist"] = pa.table(
        {
            "customer_id": rng.integers(num_customers, size=2 * num_customers),
            "article_id": _article_ids(rng.integers(num_articles, size=2 * num_customers)),
        }
    )
    return Shop(tables=tables, tasks=tasks)


def _without_length(field: pa.Field) -> pa.Field:
    is_vector = pa.types.is_fixed_size_list(field.type)
    return field.with_type(pa.list_(field.type.value_type)) if is_vector else field


def _article_ids(numbers: np.ndarray) -> pa.Array:
    return pa.array([f"A{number:05d}" for number in numbers])


def _holes(rng: np.random.Generator, size: int, share: float) -> np.ndarray:
    return rng.random(size) < share


def _vectors(rng: np.random.Generator, size: int, dim: int) -> pa.Array:
    rows = rng.normal(size=(size, dim)).astype(np.float32)
    empty = pa.array(_holes(rng, size, 0.05))
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), dim, mask=empty)


def _customers(rng: np.random.Generator, size: int) -> pa.Table:
    joined = START + (rng.random(size) * 300 * 24).astype("timedelta64[h]")
    born = np.datetime64("1940-01-01", "D") + rng.integers(65 * 365, size=size)
    referred = rng.integers(size, size=size)
    referred[:2] = size + 1_000_000  # dangling
    cities = np.array(["Oslo", "Bergen", "Tromsø", "東京", "São Paulo"])
    tags = np.array(["art", "garden", "music", "sport", "travel"])
    picks = rng.random((size, tags.size)) < 0.3
    return pa.table(
        {
            "customer_id": np.arange(size),
            "referred_by": pa.array(referred, mask=_holes(rng, size, 0.6) & (referred < size)),
            "joined_at": pa.array(joined.astype("datetime64[us]")),
            "age": pa.array(rng.normal(45, 15, size).round(1), mask=_holes(rng, size, 0.1)),
            "visits": pa.array(rng.poisson(20, size), mask=_holes(rng, size, 0.05)),
            "is_member": pa.array(rng.random(size) < 0.4, mask=_holes(rng, size, 0.1)),
            "city": pa.array(rng.choice(cities, size), mask=_holes(rng, size, 0.05)),
            "interests": pa.array([tags[row].tolist() or None for row in picks]),
            "taste": _vectors(rng, size, 4),
            "birthday": pa.array(born, mask=_holes(rng, size, 0.1)),
        }
    )


def _departments() -> pa.Table:
    numbers = pa.array(range(len(DEPARTMENTS)), pa.int32())
    parents = pa.array(PARENTS, pa.int32())
    return pa.table({"department_id": numbers, "parent_id": parents, "name": DEPARTMENTS})


def _articles(rng: np.random.Generator, size: int) -> pa.Table:
    department = rng.integers(1, len(DEPARTMENTS), size=size).astype(np.int32)
    text = [
        f"{' '.join(rng.choice(WORDS, 4))} {DEPARTMENTS[number]} number {position}"
        for position, number in enumerate(department)
    ]
    launched = np.datetime64("2020-01-01", "D") + rng.integers(700, size=size)
    return pa.table(
        {
            "article_id": _article_ids(np.arange(size)),
            "department_id": pa.array(department, mask=_holes(rng, size, 0.03)),
            "price": pa.array(rng.lognormal(2, 0.7, size).round(2), mask=_holes(rng, size, 0.05)),
            "description": pa.array(text, mask=_holes(rng, size, 0.05)),
            "style": _vectors(rng, size, 3),
            "launched": pa.array(launched, mask=_holes(rng, size, 0.1)),
        }
    )


def _history(rng: np.random.Generator, tables: Mapping[str, pa.Table], size: int) -> History:
    """Draw who bought what and when: each customer has a pace, a channel and an end of interest."""
    num_customers = tables["customers"].num_rows
    joined = tables["customers"]["joined_at"].to_numpy().astype("datetime64[us]")
    pace = rng.lognormal(0, 0.8, num_customers)
    ends = np.where(rng.random(num_customers) < 0.5, rng.uniform(0.1, 0.9, num_customers), 1.0)
    customer = rng.choice(num_customers, size, p=pace / pace.sum())
    left = (START + np.timedelta64(NUM_DAYS * 24, "h") - joined)[customer]
    hours = (left / np.timedelta64(1, "h") * rng.random(size) * ends[customer]).astype(np.int64)
    likes = rng.integers(len(CHANNELS), size=num_customers)[customer]
    channel = np.where(rng.random(size) < 0.7, likes, rng.integers(len(CHANNELS), size=size))
    taste = rng.integers(tables["articles"].num_rows, size=num_customers)[customer]
    article = (taste + rng.geometric(0.2, size) - 1) % tables["articles"].num_rows
    return History(
        customer=customer,
        article=article,
        time=joined[customer] + hours.astype("timedelta64[h]"),
        channel=np.array(CHANNELS)[channel],
        amount=rng.lognormal(2, 0.4, size).round(2) * (1 + customer % 3),
        department=tables["articles"]["department_id"].to_numpy(zero_copy_only=False)[article],
    )


def _transactions(
    rng: np.random.Generator, tables: Mapping[str, pa.Table], history: History, extra: History
) -> pa.Table:
    """Render the history as a table, in an order of its own, with holes that labels do not see."""
    size = history.customer.size
    order = rng.permutation(size + extra.customer.size)
    first = np.arange(order.size) < size  # the rows a leak adds stay whole
    lost = np.where(_holes(rng, order.size, 0.005) & first, tables["customers"].num_rows + 7, -1)
    customer = np.concatenate([history.customer, extra.customer])
    customer = np.where(lost >= 0, lost, customer)

    def column(name: str, share: float) -> pa.Array:
        values = np.concatenate([getattr(history, name), getattr(extra, name)])
        return pa.array(values[order], mask=(_holes(rng, order.size, share) & first)[order])

    articles = _article_ids(np.concatenate([history.article, extra.article])[order])
    return pa.table(
        {
            "transaction_id": np.arange(order.size),
            "customer_id": pa.array(
                customer[order], mask=(_holes(rng, order.size, 0.01) & first)[order]
            ),
            "article_id": articles,
            "happened_at": column("time", 0.005),
            "quantity": pa.array(rng.integers(1, 6, order.size).astype(np.int32)),
            "amount": column("amount", 0.02),
            "channel": column("channel", 0.02),
        }
    )
