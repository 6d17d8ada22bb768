"""Link tasks with odd or wrong rows, end to end: said clearly, counted, never silently dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from rle import (
    Dataset,
    DuckDBConnector,
    EvaluationMetric,
    ForeignKey,
    GNNTable,
    LinkTask,
    OutputConfig,
    TaskType,
    TrainerConfig,
)
from rle.errors import DataError, ValidationError
from rle.pipeline import fit, fit_predict
from rle.runs.events import WarningEvent

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("mlflow_there")

LINK, REPEATED = TaskType.LINK_PREDICTION, TaskType.REPEATED_LINK_PREDICTION
ROWS = """
CREATE TABLE cities AS SELECT i AS city_id, i * 1.5 AS size FROM range(3) r(i);
CREATE TABLE shops AS SELECT i AS shop_id, i % 3 AS city_id, i * 1.0 AS rent FROM range(8) r(i);
CREATE TABLE one_shop AS SELECT * FROM shops WHERE shop_id = 0;
CREATE TABLE no_shop AS SELECT * FROM shops WHERE shop_id < 0;
CREATE TABLE people AS SELECT i AS person_id, 20 + i AS age FROM range(40) r(i);
CREATE TABLE friends AS SELECT i AS who, (i * 3) % 40 AS whom FROM range(40) r(i);
CREATE TABLE visits AS SELECT i % 40 AS person_id, (i % 40 + i // 40 % 2) % 8 AS shop_id,
    TIMESTAMP '2021-01-01' + INTERVAL (i) HOUR AS visited_at FROM range(800) r(i);
CREATE MACRO next_shops(day) AS TABLE
  SELECT i AS person_id, day AS moment, [i % 8, (i + 1) % 8] AS next_shop FROM range(40) r(i);
CREATE TABLE next_train AS FROM next_shops(TIMESTAMP '2021-01-20');
CREATE TABLE next_validation AS FROM next_shops(TIMESTAMP '2021-01-24');
CREATE TABLE next_test AS FROM next_shops(TIMESTAMP '2021-01-28');
CREATE TABLE odd_train AS SELECT person_id, moment, CASE person_id
    WHEN 0 THEN [1, 99] WHEN 1 THEN [] WHEN 2 THEN [3, 3, 4] WHEN 3 THEN NULL WHEN 4 THEN [NULL, 5]
    ELSE next_shop END AS next_shop FROM next_train;
CREATE TABLE odd_test AS SELECT CASE person_id WHEN 39 THEN 4000 WHEN 38 THEN NULL
    ELSE person_id END AS person_id, moment, CASE person_id WHEN 0 THEN [99] WHEN 1 THEN []
    WHEN 2 THEN [3, 3] ELSE next_shop END AS next_shop FROM next_test;
CREATE TABLE empty_lists AS SELECT person_id, moment, []::BIGINT[] AS next_shop FROM next_train;
CREATE TABLE unknown_only AS SELECT person_id, moment, [99, 98] AS next_shop FROM next_train;
CREATE TABLE texts AS SELECT person_id, moment, ['a', 'b'] AS next_shop FROM next_train;
CREATE TABLE pairs_train AS SELECT person_id, moment, unnest(next_shop) AS next_shop
  FROM odd_train;
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("links")
    with duckdb.connect(str(folder / "town.duckdb")) as connection:
        connection.execute(ROWS)
    return folder


@pytest.fixture(autouse=True)
def _home_of_all(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLE_HOME", str(shared / "home"))


class Town:
    """The public objects around the file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "town.duckdb"
        self.connector = DuckDBConnector(database=str(self.path))
        self.told: list[str] = []

    def table(
        self, name: str, key: str | None, source: str | None = None, **given: Any
    ) -> GNNTable:
        links = [ForeignKey(a, b) for a, b in given.pop("links", {}).items()]
        return GNNTable(
            self.connector,
            name,
            f"town.main.{source or name}",
            primary_key=key,
            foreign_keys=links,
            **given,
        )

    def tables(self, *, shops: str = "shops") -> list[GNNTable]:
        visits = {"person_id": "people.person_id", "shop_id": "shops.shop_id"}
        friends = {"who": "people.person_id", "whom": "people.person_id"}
        return [
            self.table("people", "person_id"),
            self.table("cities", "city_id"),
            self.table("shops", "shop_id", shops, links={"city_id": "cities.city_id"}),
            self.table("visits", None, links=visits, time_column="visited_at"),
            self.table("friends", None, links=friends, type="edge"),
        ]

    def dataset(
        self, task_type: TaskType = LINK, *, k: int = 3, shops: str = "shops", **splits: str
    ) -> Dataset:
        named = {s: f"next_{s}" for s in ("train", "validation", "test")} | splits
        task = LinkTask(
            connector=self.connector,
            name="next",
            task_data_source={split: f"town.main.{name}" for split, name in named.items()},
            source_entity_column="person_id",
            source_entity_table="people",
            target_entity_column="next_shop",
            target_entity_table="shops",
            task_type=task_type,
            evaluation_metric=EvaluationMetric("link_prediction_map", eval_at_k=k),
            time_column="moment",
        )
        return Dataset(self.connector, "town", self.tables(shops=shops), task)

    def config(self, **changes: Any) -> TrainerConfig:
        given = {
            "connector": self.connector,
            "device": "cpu",
            "n_epochs": 1,
            "fanouts": [4, 2],
            "channels": 8,
            "train_batch_size": 16,
            "num_negative": 3,
            "num_workers": 0,
        }
        return TrainerConfig(**given | changes)

    def listen(self, event: object) -> None:
        if isinstance(event, WarningEvent):
            self.told.append(event.message)

    def run(self, dataset: Dataset, alias: str, **config: Any) -> Any:
        return fit_predict(
            dataset,
            self.config(**config),
            output_alias=alias,
            output_config=OutputConfig.warehouse(database_name="town", schema_name="main"),
            compute_test_metrics=True,
            on_event=self.listen,
        )

    def predictions(self, alias: str) -> dict[Any, Any]:
        with duckdb.connect(str(self.path), read_only=True) as connection:
            rows = connection.execute(
                f"SELECT person_id, PREDICTION FROM PREDICTIONS_{alias}"
            ).fetchall()
        return dict(rows)

    def has_told(self, *words: str) -> bool:
        return any(all(word in message for word in words) for message in self.told)


@pytest.fixture
def town(shared: Path) -> Town:
    return Town(shared)


def refused_before_anything_runs(
    town: Town, dataset: Dataset, kind: type[Exception], *words: str, **config: Any
) -> None:
    events: list[object] = []
    with pytest.raises(kind) as caught:
        fit(dataset, town.config(**config), on_event=events.append)
    for word in words:
        assert word in str(caught.value)
    assert not events


@pytest.mark.parametrize(("task_type", "train"), [(LINK, "odd_train"), (REPEATED, "pairs_train")])
def test_odd_targets_are_counted_told_and_trained_around(town, task_type, train):
    dataset = town.dataset(task_type, train=train, test="odd_test")
    result = town.run(dataset, train)
    assert town.has_told("train table are not in the graph", "'99'")
    assert town.has_told("targets of the train table are named more than once")
    if train == "odd_train":  # exploded rows cannot be empty
        assert town.has_told("2 of 40 rows of the train table have no target")
    assert town.has_told("targets of the test table are not in the graph", "'99'")
    assert town.has_told("1 of 40 rows of the test table have no target")
    assert town.has_told("2 of 40 test rows have an entity that is not in the graph")
    found = town.predictions(train)
    assert result.prediction.num_rows == 40
    assert result.prediction.num_unknown == 2
    # A source that is not in the table of sources has no prediction; an odd list of its own does
    # not matter.
    assert found[4000] is None
    assert found[None] is None
    assert all(found[i] for i in range(38))
    assert all(set(found[i]) <= set(range(8)) for i in range(38))
    assert 0 <= result.prediction.test_metrics["link_prediction_map"] <= 1


def test_lists_end_where_the_targets_do(town):
    result = town.run(town.dataset(k=50), "long")
    assert town.has_told("eval_at_k is 50, but target table 'shops' has 8 rows")
    assert all(sorted(shops) == list(range(8)) for shops in town.predictions("long").values())
    assert result.prediction.test_metrics["link_prediction_recall"] == 1.0


def test_one_target_is_refused(town):
    dataset = town.dataset(shops="one_shop")
    refused_before_anything_runs(town, dataset, ValidationError, "'shops'", "a single row")


def test_no_target_is_refused(town):
    with pytest.raises(DataError, match="no rows"):
        fit(town.dataset(shops="no_shop"), town.config())


@pytest.mark.parametrize("split", ["train", "validation"])
def test_empty_lists_alone_are_refused(town, split):
    dataset = town.dataset(**{split: "empty_lists"})
    refused_before_anything_runs(town, dataset, DataError, f"({split})", "no target in any")


def test_targets_that_are_all_unknown_are_refused(town):
    with pytest.raises(DataError, match=r"no target that is in table 'shops'; 99 is not"):
        fit(town.dataset(train="unknown_only"), town.config(), on_event=town.listen)


def test_targets_of_another_kind_than_the_key_are_refused(town):
    with pytest.raises(ValidationError, match="is text"):
        fit(town.dataset(train="texts", validation="texts", test="texts"), town.config())


def test_repeated_links_need_hops_enough_to_lead_from_one_to_the_other(town):
    # cities <- shops <- visits -> people: three hops, so two are needed.
    dataset = town.dataset(REPEATED)
    words = ("'people' and 'cities' are 3 hops apart", "fanouts=[4, 2]")
    refused_before_anything_runs(town, dataset, ValueError, *words, fanouts=[4])


@pytest.mark.parametrize("setting", [{"class_weights": "balanced"}, {"class_weights": {"1": 2}}])
def test_settings_of_classes_are_refused(town, setting):
    words = ("link_prediction task has no classes",)
    refused_before_anything_runs(town, town.dataset(), ValidationError, *words, **setting)


def test_a_window_that_hides_all_history_leaves_empty_lists(town):
    # The newest visits are of 3 February; those of the test rows' last hour are one or none.
    result = town.run(town.dataset(REPEATED), "short", time_window="PT1H", n_epochs=1)
    empty = [i for i, shops in town.predictions("short").items() if not shops]
    assert len(empty) >= 38
    assert result.prediction.num_unknown == 0
    assert town.has_told("have met no destination before")
