r"""Will a customer of a shop stop buying? From tables in Snowflake to predictions beside them.

`make demo-snowflake` runs this file against a stand-in for Snowflake on this machine. With an
account it does the same; the password stays in its variable:

    export SNOWFLAKE_PASSWORD=...
    python -m examples.churn_snowflake --account MYORG-MYACCOUNT --user ANNA --schema SHOP.PUBLIC
"""

from __future__ import annotations

import argparse
import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import rle
from examples.datasets.snowflake_account import SCHEMA, load, stand_in
from rle.connectors.snowflake.connector import SnowflakeConnector

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD, ENGINE, SPLITS = "SNOWFLAKE_PASSWORD", "snowflake-demo", ("train", "validation", "test")


def main() -> None:
    """Load the tables, declare them, train on an engine, predict and read back."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("account", "user", "role", "warehouse"):
        parser.add_argument(f"--{name}", help="of yours; no account: a stand-in on this machine")
    parser.add_argument("--schema", default=SCHEMA, help="DB.SCHEMA of all tables; is there")
    options = vars(parser.parse_args())
    schema = options.pop("schema")
    if options["account"] is None:
        with stand_in(PASSWORD) as server:
            run(SnowflakeConnector(password_variable=PASSWORD, **server), schema)
    else:
        run(SnowflakeConnector(password_variable=PASSWORD, **options), schema)


def run(connector: SnowflakeConnector, schema: str) -> None:
    """Tell the whole story in one schema."""
    load(connector, schema)
    dataset = declare(connector, schema)
    config = rle.TrainerConfig(connector=connector, device="cpu", n_epochs=4, num_workers=0)
    database, name = schema.split(".")
    with engine():
        job = rle.Trainer(connector, config, engine=ENGINE).fit_predict(
            dataset=dataset,
            output_alias=f"churn_{datetime.now(UTC):%Y%m%d_%H%M%S}",
            output_config=rle.OutputConfig.snowflake(database_name=database, schema_name=name),
            compute_test_metrics=True,
        )
        job.stream_logs()
        result = job.result
    table = result["export_paths"]["predictions"]
    print(connector.sample(table, max_rows=5).to_pandas().to_string(index=False))
    scores = {name: round(value, 3) for name, value in result["test_metrics"].items()}
    print(json.dumps({"table": table, "rows": connector.num_rows(table), "test": scores}))


def declare(connector: SnowflakeConnector, schema: str) -> rle.Dataset:
    """Complete what the schema says of itself, and say what to predict."""
    draft = rle.Dataset.from_schema(connector, schema, exclude=["churn_*", "predictions_*"])
    print(draft)
    draft.accept()  # the keys; some purchases are of nobody known, so their link is left to us
    draft["transactions"].set_foreign_key(rle.ForeignKey("CUSTOMER_ID", "customers.CUSTOMER_ID"))
    draft.set_time_columns({"customers": "JOINED_AT", "transactions": "HAPPENED_AT"})
    task = rle.NodeTask(
        connector,
        name="churn",
        task_data_source={split: f"{schema}.CHURN_{split.upper()}" for split in SPLITS},
        source_entity_column="CUSTOMER_ID",
        source_entity_table=draft["customers"],
        target_column="LABEL",
        task_type=rle.TaskType.BINARY_CLASSIFICATION,
        time_column="TIMESTAMP",
    )
    return draft.dataset("shop", task)


@contextmanager
def engine() -> Iterator[None]:
    """Run an engine for this one job. It inherits the password's variable, and reads it there."""
    provider = rle.Provider()
    if provider.get_gnn(ENGINE) is not None:  # of a run that was killed
        provider.delete_gnn(ENGINE)
    provider.create_gnn(ENGINE, settings={"num_cpus": 2})
    try:
        provider.wait_until_ready(ENGINE)
        yield
    finally:
        provider.delete_gnn(ENGINE)


if __name__ == "__main__":
    main()
