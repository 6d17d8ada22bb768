"""Leaks known from real data, planted back into it: each is found; clean data is quiet."""

from __future__ import annotations

import zipfile

import pytest

import rle
from examples.datasets import lahman, nycflights
from examples.datasets.duckdb_file import literal, package_data
from rle.audit.findings import FindingKind, Severity

pytestmark = pytest.mark.slow

CAREER = """
CREATE OR REPLACE TABLE main.people AS
SELECT p.*, r.finalGame, r.deathYear, b.career_home_runs
FROM main.people p
JOIN read_parquet({file}) r USING (playerID)
LEFT JOIN (SELECT playerID, sum(HR) AS career_home_runs FROM main.batting GROUP BY ALL) b
USING (playerID)
"""
# The package's row of a flight: schedule and outcome in one.
OUTCOMES = """
CREATE OR REPLACE TABLE main.flights AS
SELECT f.*, r.tailnum, r.arr_delay FROM main.flights f JOIN (
    SELECT row_number() OVER () - 1 AS flight_id, *
    FROM read_csv({file}, nullstr = 'NA', sample_size = -1)) r USING (flight_id)
"""


def places(report, severity=Severity.HIGH, kind=None):
    kept = report.at_least(severity)
    return {f.place for f in kept if kind is None or f.kind is kind}


def table_of(dataset, name):
    return next(table for table in dataset.tables if table.name == name)


@pytest.mark.parametrize(
    ("name", "module", "task"),
    [
        ("lahman", lahman, "player-positions"),
        ("nycflights", nycflights, "flight-cancelled"),
        ("nycflights", nycflights, "plane-destinations"),
    ],
)
def test_clean_data_is_quiet(built, name, module, task):
    connector = rle.DuckDBConnector(database=str(built(name)))
    report = module.dataset(connector, task).audit(max_rows=10_000)
    assert not report.findings, str(report)
    assert report.ok


def test_columns_written_after_the_fact_and_totals_are_found(plant):
    people = literal(str(package_data(lahman.PACKAGE, lahman.VERSION) / "People.parquet"))
    connector = plant("lahman", CAREER.format(file=people))
    report = lahman.dataset(connector, "player-out").audit()
    assert places(report, kind=FindingKind.FUTURE_VALUE) == {"people.finalGame", "people.deathYear"}
    assert places(report, kind=FindingKind.DECIDED_LABEL) == {"people.finalGame"}
    assert places(report, kind=FindingKind.UNDATED_SNAPSHOT) == {"people.career_home_runs"}
    assert places(report, Severity.LOW) == places(report)


@pytest.fixture(scope="session")
def raw_flights(tmp_path_factory):
    folder = package_data(nycflights.PACKAGE, nycflights.VERSION)
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        return archive.extract("flights.csv", tmp_path_factory.mktemp("raw"))


@pytest.mark.parametrize("as_key", [True, False], ids=["foreign key", "category"])
def test_a_null_pattern_that_says_the_label_is_found(plant, raw_flights, as_key):
    """All flights without a tail number are cancelled, though a third of those keys dangle."""
    connector = plant("nycflights", OUTCOMES.format(file=literal(raw_flights)))
    dataset = nycflights.dataset(connector, "flight-cancelled")
    flights = table_of(dataset, "flights")
    flights.remove_column("arr_delay")
    if as_key:
        flights.set_foreign_key(rle.ForeignKey("tailnum", "planes.tailnum"))
    report = dataset.audit(max_rows=10_000)
    assert places(report) == places(report, kind=FindingKind.NULL_PATTERN) == {"flights.tailnum"}
    (found,) = report.of(FindingKind.NULL_PATTERN)
    assert found.evidence["decided_by"] == "NULL"
    assert found.evidence["decided_rate"] == 1.0


def test_an_outcome_in_the_entitys_own_row_is_found(plant, raw_flights):
    connector = plant("nycflights", OUTCOMES.format(file=literal(raw_flights)))
    report = nycflights.dataset(connector, "flight-delay").audit(max_rows=5_000)
    assert places(report) == {"flights.arr_delay"}


def test_times_cut_to_the_day_are_found(plant):
    connector = plant(
        "nycflights", "UPDATE main.departures SET dep_utc = date_trunc('day', dep_utc)"
    )
    report = nycflights.dataset(connector, "flight-cancelled").audit(max_rows=5_000)
    assert places(report, kind=FindingKind.TRUNCATED_TIMES) == {"departures.dep_utc"}
    assert places(report, kind=FindingKind.LABEL_AT_T) == {"departures"}


def test_a_table_that_lost_its_time_is_found(built):
    connector = rle.DuckDBConnector(database=str(built("nycflights")))
    dataset = nycflights.dataset(connector, "flight-late")
    table_of(dataset, "arrivals").unset_time_column("arr_utc")
    report = dataset.audit(max_rows=5_000)
    assert "arrivals.arr_delay" in places(report, kind=FindingKind.DECIDED_LABEL)
    assert "arrivals.arr_utc" in places(report, Severity.MEDIUM, FindingKind.FUTURE_VALUE)
    assert "arrivals.arr_utc" in places(report, Severity.MEDIUM, FindingKind.UNDATED_SNAPSHOT)
