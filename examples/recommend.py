"""Which teams will a baseball player play for next season? Ranks the teams he has played for.

Real data, two CPU-minutes: `make demo` once, then `.venv/bin/python -m examples.recommend`.
"""

from __future__ import annotations

import duckdb

import rle
from examples.datasets import handles, lahman
from rle import pipeline
from rle.runs.folders import home

TABLES = ("people", "franchises", "teams", "appearances", "batting", "pitching", "salaries")
SHOWN = """
SELECT "nameFirst" || ' ' || "nameLast" || ' in ' || year(timestamp) + 1, PREDICTION
FROM main.PREDICTIONS_TEAMS JOIN main.people USING (playerID)
WHERE year(timestamp) = 2023 AND len(PREDICTION) > 2 ORDER BY playerID LIMIT 8
"""


def main() -> None:
    """Train, predict the test seasons into a table, and print some of its rankings."""
    database = lahman.build(home() / "examples" / "lahman.duckdb")
    connector = rle.DuckDBConnector(database=str(database))
    task = rle.LinkTask(
        connector=connector,
        name="player-team",
        task_data_source=handles.split_tables(connector, "player-team"),
        source_entity_column="playerID",
        source_entity_table="people",
        target_entity_column="targets",  # a list of franchises per row
        target_entity_table="franchises",
        task_type=rle.TaskType.REPEATED_LINK_PREDICTION,
        time_column="timestamp",
        evaluation_metric=rle.EvaluationMetric("link_prediction_map", eval_at_k=10),
        current_time=False,
    )
    tables = [table for table in lahman.tables(connector) if table.name in TABLES]
    result = pipeline.fit_predict(
        rle.Dataset(connector, "lahman", tables=tables, task_description=task),
        rle.TrainerConfig(
            connector=connector, device="cpu", n_epochs=5, max_iters=50, train_batch_size=256,
            lr=0.003, channels=64, fanouts=[8, 4], temporal_strategy="last", num_workers=0,
        ),
        output_alias="teams",
        output_config=rle.OutputConfig.warehouse(database_name="lahman", schema_name="main"),
        compute_test_metrics=True,
        overwrite_results=True,
    )  # fmt: skip
    with duckdb.connect(str(database), read_only=True) as connection:
        for player, teams in connection.execute(SHOWN).fetchall():
            print(f"{player}: {', '.join(teams[:3])}")
    print(f"MAP@10 on test: {result.prediction.test_metrics['link_prediction_map']:.3f}")


if __name__ == "__main__":
    main()
