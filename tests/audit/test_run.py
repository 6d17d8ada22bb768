"""The audit of the small shop: quiet where it is clean, and each defect found where it was put."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import pytest

from rle import DuckDBConnector, LinkTask, NodeTask, ValidationError
from rle.audit.findings import FindingKind, Severity
from rle.sdk.dataset import Dataset
from rle.testing.shop import make_shop
from rle.testing.shop_dataset import shop_dataset, shop_table

CUSTOMERS = ("customers", "transactions")


def shop(folder, *statements, leak=None):
    path = make_shop(leak=leak, num_customers=400).write_duckdb(folder / "shop.duckdb")
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)
    return DuckDBConnector(database=str(path))


def audit(connector, task="churn", **options):
    return shop_dataset(connector, task, tables=CUSTOMERS, **options).audit()


def only(report, kind):
    """The one finding that needs a look, which is of this kind."""
    (found,) = report.at_least(Severity.MEDIUM)
    assert found.kind is kind
    return found


@pytest.mark.parametrize("task", ["churn", "channel", "departments", "spend"])
def test_the_clean_shop_is_quiet(shop_db, task):
    report = shop_dataset(DuckDBConnector(database=str(shop_db)), task).audit()
    assert report.ok
    assert not report.findings


def test_the_same_seed_finds_the_same(tmp_path):
    dataset = shop_dataset(shop(tmp_path, leak=timedelta(0)), tables=CUSTOMERS)
    first, second = (dataset.audit(max_rows=300, seed=3) for _ in range(2))
    assert first.findings
    assert first.findings == second.findings
    assert first.notes == second.notes


def test_rows_at_the_very_time_that_say_the_label_are_found(tmp_path):
    connector = shop(tmp_path, leak=timedelta(0))
    found = only(audit(connector, current_time=True), FindingKind.LABEL_AT_T)
    assert (found.severity, found.place) == (Severity.HIGH, "transactions.channel")
    assert not audit(connector, current_time=False).findings


def test_rows_after_the_time_are_not_looked_at(tmp_path):
    report = audit(shop(tmp_path, leak=timedelta(microseconds=1)), current_time=True)
    assert not report.findings


def test_what_is_known_already_can_be_passed_over(tmp_path):
    dataset = shop_dataset(shop(tmp_path, leak=timedelta(0)), tables=CUSTOMERS)
    assert not dataset.audit(ignore=["transactions.channel"]).findings
    assert not dataset.audit(ignore=["transactions"]).findings
    assert dataset.audit(ignore=["customers", "transactions.amount"]).findings


def test_a_copy_of_the_label_and_its_null_pattern_are_told_apart(tmp_path):
    connector = shop(
        tmp_path,
        "UPDATE churn_train SET label = customer_id % 2",
        "UPDATE churn_validation SET label = customer_id % 2",
        "CREATE OR REPLACE TABLE customers AS SELECT *, customer_id % 2 + 10 AS status, "
        "CASE WHEN customer_id % 2 = 1 THEN 'moved' ELSE NULL END AS reason FROM customers",
    )
    report = audit(connector)
    kinds = {f.column: f.kind for f in report.at_least(Severity.HIGH)}
    assert kinds == {
        "status": FindingKind.DECIDED_LABEL,
        "reason": FindingKind.NULL_PATTERN,
    }


def test_entities_that_do_not_exist_yet_are_found(tmp_path):
    report = audit(
        shop(
            tmp_path,
            "INSERT INTO churn_train SELECT customer_id, joined_at - INTERVAL 1 DAY, 0 "
            "FROM customers WHERE joined_at > '2022-06-01' LIMIT 40",
        )
    )
    found = only(report, FindingKind.ENTITY_NOT_ALIVE)
    assert (found.place, found.evidence["rows"]) == ("customers.joined_at", 40)
    assert found.severity is Severity.HIGH


def test_unknown_entities_are_counted(tmp_path):
    stranger = "INSERT INTO churn_test VALUES (123456789, '2023-10-01', 1)"
    (found,) = audit(shop(tmp_path, stranger)).of(FindingKind.UNKNOWN_ENTITY)
    assert (found.severity, found.evidence["rows"]) == (Severity.LOW, 1)
    assert found.place == "shop.main.churn_test.customer_id"


def test_splits_that_overlap_are_found(tmp_path):
    again = "INSERT INTO churn_train SELECT * FROM churn_validation LIMIT 30"
    report = audit(shop(tmp_path, again))
    (order,) = report.of(FindingKind.SPLIT_ORDER)
    (overlap,) = report.of(FindingKind.SPLIT_OVERLAP)
    assert order.place == "shop.main.churn_validation.timestamp"
    assert overlap.evidence["rows"] == 30
    assert {order.severity, overlap.severity} == {Severity.HIGH}


def test_a_split_that_follows_too_soon_is_found(tmp_path):
    sooner = "UPDATE churn_validation SET timestamp = '2023-04-08'"
    found = only(audit(shop(tmp_path, sooner)), FindingKind.SPLIT_GAP)
    assert found.evidence["gap_days"] == 7
    assert found.evidence["spacing_days"] > 50


def test_two_labels_for_one_row_and_the_same_row_twice_are_told_apart(tmp_path):
    report = audit(
        shop(
            tmp_path,
            "INSERT INTO churn_train SELECT customer_id, timestamp, 1 - label FROM churn_train "
            "WHERE timestamp = '2022-12-01' LIMIT 20",
            "INSERT INTO churn_test SELECT * FROM churn_test LIMIT 5",
        )
    )
    found = only(report, FindingKind.CONTRADICTING_LABELS)
    assert (found.severity, found.evidence["rows"]) == (Severity.HIGH, 20)
    (twice,) = report.of(FindingKind.DUPLICATE_ROWS)
    assert twice.evidence["rows"] == 5
    assert twice.table == "shop.main.churn_test"


def test_midnights_of_another_zone_are_found(tmp_path):
    local = (
        "UPDATE transactions SET happened_at = date_trunc('day', happened_at) - "
        "CASE WHEN month(happened_at) BETWEEN 4 AND 10 THEN INTERVAL 2 HOUR "
        "ELSE INTERVAL 1 HOUR END"
    )
    found = only(audit(shop(tmp_path, local)), FindingKind.SHIFTED_TIMES)
    assert found.place == "transactions.happened_at"
    assert found.severity is Severity.HIGH
    assert found.evidence["hours"] == "22, 23"


def test_days_seen_on_the_day_itself_are_found(tmp_path):
    connector = shop(
        tmp_path,
        "UPDATE transactions SET happened_at = date_trunc('day', happened_at)",
        *(f"UPDATE churn_{split} SET timestamp = timestamp + INTERVAL 9 HOUR"
          for split in ("train", "validation", "test")),
    )  # fmt: skip
    (found,) = audit(connector).of(FindingKind.TRUNCATED_TIMES)
    assert found.place == "transactions.happened_at"


def test_a_task_without_labels_is_audited_for_the_rest(tmp_path):
    report = audit(shop(tmp_path, "ALTER TABLE churn_test DROP label"), splits=("test",))
    assert report.ok
    assert not any("columns" in note for note in report.notes)


def test_a_link_task_is_audited_with_its_targets(tmp_path):
    sources = "SELECT customer_id, timestamp, ['A00001', 'A00002'] AS bought FROM churn_{}"
    connector = shop(
        tmp_path,
        f"CREATE TABLE link_train AS {sources.format('train')}",
        f"CREATE TABLE link_validation AS {sources.format('validation')}",
        "INSERT INTO link_train SELECT customer_id, timestamp, ['none such'] FROM churn_train",
    )
    task = LinkTask(
        connector,
        "bought",
        {split: f"shop.main.link_{split}" for split in ("train", "validation")},
        "customer_id",
        "customers",
        "bought",
        "articles",
        "link_prediction",
        time_column="timestamp",
    )
    tables = [shop_table(connector, n) for n in (*CUSTOMERS, "articles", "departments")]
    report = Dataset(connector, "shop", tables, task).audit()
    (unknown,) = report.of(FindingKind.UNKNOWN_ENTITY)
    assert unknown.place == "shop.main.link_train.bought"
    assert report.of(FindingKind.CONTRADICTING_LABELS)


def test_targets_that_come_up_later_are_no_leak(tmp_path):
    later = "(SELECT customer_id FROM customers ORDER BY joined_at DESC LIMIT 1)"
    sources = (
        f"SELECT customer_id, timestamp, {later} AS friend FROM churn_{{}} "
        "WHERE timestamp <= '2022-10-01'"
    )
    connector = shop(
        tmp_path,
        f"CREATE TABLE friend_train AS {sources.format('train')}",
        "CREATE TABLE friend_validation AS SELECT * FROM friend_train",
    )
    task = LinkTask(
        connector,
        "friend",
        {split: f"shop.main.friend_{split}" for split in ("train", "validation")},
        "customer_id",
        "customers",
        "friend",
        "customers",
        "link_prediction",
        time_column="timestamp",
    )
    tables = [shop_table(connector, n) for n in (*CUSTOMERS, "articles", "departments")]
    report = Dataset(connector, "shop", tables, task).audit()
    for found in report.of(FindingKind.TARGET_NOT_ALIVE):
        assert (found.severity, found.evidence["share"]) == (Severity.LOW, 1.0)
    assert report.of(FindingKind.TARGET_NOT_ALIVE)
    assert not report.of(FindingKind.ENTITY_NOT_ALIVE)


def test_too_small_a_sample_is_refused(shop_db):
    dataset = shop_dataset(DuckDBConnector(database=str(shop_db)), tables=CUSTOMERS)
    with pytest.raises(ValidationError, match="max_rows must be 100 or more"):
        dataset.audit(max_rows=10)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"max_rows": "many"}, "max_rows must be 100 or more, a number, not 'many'"),
        ({"seed": -1}, "seed must be 0 or more, a number, not -1"),
        ({"seed": "x"}, "seed must be 0 or more"),
        ({"ignore": "transactions.channel"}, r"such as \['transactions.channel'\]"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(shop_db, option, said):
    dataset = shop_dataset(DuckDBConnector(database=str(shop_db)), tables=CUSTOMERS)
    with pytest.raises(ValidationError, match=said):
        dataset.audit(**option)


def test_a_report_says_how_much_was_passed_over(tmp_path):
    dataset = shop_dataset(shop(tmp_path, leak=timedelta(0)), tables=CUSTOMERS)
    report = dataset.audit(ignore=["transactions.channel"])
    assert "1 findings were passed over, as asked." in report.notes
    assert not any("passed over" in note for note in dataset.audit().notes)


def test_a_child_table_without_rows_is_walked_over(tmp_path):
    report = audit(shop(tmp_path, "DELETE FROM transactions"))
    assert report.ok
    assert any(note.startswith("surroundings: ") for note in report.notes)


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE churn_validation SET label = 1", "one label only"),
        ("DELETE FROM churn_validation WHERE customer_id % 30 > 0", "fewer than 40 labelled rows"),
    ],
)
def test_a_quiet_report_says_where_nothing_could_be_measured(tmp_path, statement, why):
    report = audit(shop(tmp_path, statement))
    assert f"No column was measured against the label: a split has {why}." in report.notes
    assert not any(note.endswith("columns.") for note in report.notes)


def test_data_without_any_time_are_audited_for_the_rest(tmp_path):
    connector = shop(tmp_path, "UPDATE churn_train SET label = customer_id % 2",
                     "UPDATE churn_validation SET label = customer_id % 2",
                     "ALTER TABLE customers ADD status INTEGER",
                     "UPDATE customers SET status = customer_id % 2 + 10")  # fmt: skip
    customers = shop_table(connector, "customers")
    customers.unset_time_column("joined_at")
    task = NodeTask(
        connector,
        "churn",
        {split: f"shop.main.churn_{split}" for split in ("train", "validation")},
        "customer_id",
        "customers",
        "label",
        "binary_classification",
    )
    report = Dataset(connector, "shop", [customers], task).audit()
    assert {f.place for f in report.at_least(Severity.HIGH)} >= {"customers.status"}
    assert not report.of(FindingKind.SPLIT_ORDER)
    assert "Put each entity into one split" in report.of(FindingKind.SPLIT_OVERLAP)[0].message
