"""A small shop in the stand-in for Snowflake, and jobs that read it on an engine."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rle
from rle.connectors.snowflake.connector import SnowflakeConnector
from rle.connectors.snowflake.session import session
from rle.testing.shop import make_shop
from tests.snowflake.warehouse import PASSWORD, new_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pyarrow as pa

    from rle.engines.record import EngineRecord
    from rle.sdk.monitor import JobMonitor
    from rle.testing.fake_snowflake import FakeSnowflake

PATIENCE_S = 100.0
COLUMNS = {
    "customers": ("customer_id", "joined_at", "age", "city"),
    "transactions": ("customer_id", "happened_at", "amount", "channel"),
}
SPLITS = ("train", "validation", "test")
DTYPES = {
    "customers": {"AGE": "float", "CITY": "category"},
    "transactions": {"AMOUNT": "float", "CHANNEL": "category"},
}


@dataclass(frozen=True)
class Engine:
    """An engine that has the right password in one variable and a wrong one in another."""

    home: Path
    record: EngineRecord
    secrets: dict[str, str]
    """By what they are."""

    @property
    def name(self) -> str:
        return self.record.name


def shop_rows(num_transactions: int) -> dict[str, pa.Table]:
    """The tables of a shop and of its task, names in capitals."""
    made = make_shop(num_customers=80, num_articles=10, num_transactions=num_transactions)
    tables = made.all_tables()
    rows = {name: tables[name].select(columns) for name, columns in COLUMNS.items()}
    rows |= {f"churn_{split}": tables[f"churn_{split}"] for split in SPLITS}
    return {
        name.upper(): table.rename_columns([c.upper() for c in table.column_names])
        for name, table in rows.items()
    }


class JobShop:
    """The shop in a schema of its own, and what is done with it."""

    def __init__(
        self, server: FakeSnowflake, engine: Engine, rows: dict[str, pa.Table], tag: str
    ) -> None:
        self.server, self.engine, self.rows, self.tag = server, engine, rows, tag
        self.schema = new_schema(server)
        for name, table in rows.items():
            self.put(name, table)

    @classmethod
    def like(cls, other: JobShop, *, tag: str) -> JobShop:
        """The same tables for jobs of another tag, which reuse nothing."""
        made = cls(other.server, other.engine, {}, tag)
        made.rows, made.schema = other.rows, other.schema
        return made

    def put(self, name: str, rows: pa.Table) -> None:
        """Make a table anew."""
        self.server.put(("SHOP", self.schema, name), rows)

    def run(self, sql: str) -> None:
        """Run a statement as a user who may do everything."""
        with session(self.connector(query_tag="by hand")) as opened:
            opened.execute(sql)

    def source(self, name: str) -> str:
        return f"SHOP.{self.schema}.{name.upper()}"

    def connector(self, **changes: Any) -> SnowflakeConnector:
        given = {
            "account": self.server.account,
            "host": self.server.host,
            "port": self.server.port,
            "protocol": "http",
            "user": self.server.user,
            "password_variable": PASSWORD,
            "warehouse": "WH",
            "login_timeout_s": 10,
            "network_timeout_s": 10,
            "query_tag": self.tag,
        }
        given = {key: value for key, value in (given | changes).items() if value is not None}
        return SnowflakeConnector(**given)

    def dataset(
        self, connector: SnowflakeConnector, dtypes: Mapping[str, Any] = DTYPES
    ) -> rle.Dataset:
        customers = rle.GNNTable(
            connector,
            "customers",
            self.source("customers"),
            primary_key="CUSTOMER_ID",
            time_column="JOINED_AT",
            column_dtypes=dtypes.get("customers", {}),
        )
        transactions = rle.GNNTable(
            connector,
            "transactions",
            self.source("transactions"),
            foreign_keys=[rle.ForeignKey("CUSTOMER_ID", "customers.CUSTOMER_ID")],
            time_column="HAPPENED_AT",
            column_dtypes=dtypes.get("transactions", {}),
        )
        task = rle.NodeTask(
            connector,
            name="churn",
            task_data_source={split: self.source(f"churn_{split}") for split in SPLITS},
            source_entity_column="CUSTOMER_ID",
            source_entity_table="customers",
            target_column="LABEL",
            task_type=rle.TaskType.BINARY_CLASSIFICATION,
            time_column="TIMESTAMP",
        )
        return rle.Dataset(connector, "shop", [customers, transactions], task)

    @staticmethod
    def config(connector: SnowflakeConnector, **changes: Any) -> rle.TrainerConfig:
        given = {"n_epochs": 1, "max_iters": 3, "fanouts": [4], "channels": 8, "num_workers": 0}
        return rle.TrainerConfig(connector=connector, device="cpu", **given | changes)

    def trainer(self, connector: SnowflakeConnector, **changes: Any) -> rle.Trainer:
        config = self.config(connector, **changes)
        return rle.Trainer(connector, config, engine=self.engine.name)

    @property
    def output(self) -> rle.OutputConfig:
        return rle.OutputConfig.snowflake(database_name="SHOP", schema_name=self.schema)

    def sessions(self, which: str = "session_tags") -> int:
        """How many sessions of jobs on this shop's tag are open, or (login_tags) ever were."""
        return sum(bool(t) and json.loads(t).get("tag") == self.tag for t in self.state()[which])

    def state(self) -> dict[str, Any]:
        return self.server.state()

    def wait_for_fault(self) -> None:
        """Return when the fault that waits has hit a request."""
        until(lambda: self.state()["faults"] == 0)

    def leftovers(self) -> set[str]:
        """Tables and stages of the schema that are none of the shop's."""
        state = self.state()
        names = {tuple(name) for name in (*state["tables"], *state["stages"])}
        return {table for _, schema, table in names if schema == self.schema} - set(self.rows)


def ended(job: JobMonitor, status: str) -> JobMonitor:
    """Return a job when it has ended so."""
    assert job.wait(timeout=PATIENCE_S) == status, job.error
    return job


def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so; how long is taken for never is generous."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)
