"""Score a new table with a registered model, by name and version: nothing is declared again.

The first run trains a small model on real baseball and registers it; later runs find it there.
"""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb

import rle
from examples.datasets import lahman
from rle import pipeline
from rle.runs.folders import home

MODEL, EXPERIMENT = "player-out", "lahman/binary_classification/player-out"
# Who may retire after 2024? The task's tables end in 2023: this table is new, and has no label.
ASKED = """
CREATE OR REPLACE TABLE tasks.asked_today AS
SELECT DISTINCT playerID, TIMESTAMP '2024-12-01' AS timestamp FROM appearances WHERE yearID = 2024
"""


def train_and_register(connector: rle.DuckDBConnector) -> None:
    """Train the experiment's first model, and give it a name."""
    config = rle.TrainerConfig(
        connector=connector, device="cpu", n_epochs=1, fanouts=[16, 8], channels=32, num_workers=0
    )
    trained = pipeline.fit(lahman.dataset(connector, "player-out"), config)
    rle.ModelManager().register_model(trained.model_run_id, MODEL, comment="one epoch")


def main() -> None:
    """Make the table of players to score, and score it with the newest version."""
    database = lahman.build(home() / "examples" / "lahman.duckdb")
    connector = rle.DuckDBConnector(database=str(database))
    with duckdb.connect(str(database)) as connection:
        connection.execute(ASKED)
    manager = rle.ModelManager()
    if MODEL not in {version.name for version in manager.list_registered_models()}:
        train_and_register(connector)
    newest = manager.list_registered_models(MODEL)[-1]
    result = pipeline.predict(
        experiment_name=EXPERIMENT,
        test_table=f"{connector.stem}.tasks.asked_today",
        registered_model_name=MODEL,
        version=newest.version,
        output_alias=f"asked_{datetime.now(UTC):%Y%m%d_%H%M%S_%f}",
        output_config=rle.OutputConfig.warehouse(database_name=connector.stem, schema_name="main"),
    )
    print(f"{newest.registered_model_key} scored {result.num_rows} players:")
    print(result.export_paths["predictions"])


if __name__ == "__main__":
    main()
