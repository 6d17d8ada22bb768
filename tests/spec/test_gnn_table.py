from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rle.errors import RoleKeyError, UnknownNameError, ValidationError
from rle.spec.gnn_table import GNNTable
from rle.spec.table import CandidateKey, ForeignKey, TableSpec
from rle.values import ColumnDType

if TYPE_CHECKING:
    from collections.abc import Callable

    from rle.connectors.duckdb import DuckDBConnector

    Make = Callable[..., GNNTable]


@pytest.fixture
def takes(table: Make) -> GNNTable:
    return table("takes", primary_key="take_id", time_column="at")


def test_dtypes_are_inferred_and_the_rest_is_reported(
    table: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    students = table("students", primary_key="student_id")
    assert students.columns == {
        "student_id": "integer",
        "code": "category",
        "age": "float",
        "tags": "multi_categorical",
        "colour": "category",
    }
    assert list(students.left_out) == ["nothing", "photo"]
    printed = capsys.readouterr().out
    assert "leaves out 2 columns: nothing (holds NULL only" in printed
    assert "photo (type binary has no dtype)" in printed


def test_left_out_columns_can_be_added(table: Make) -> None:
    students = table("students", primary_key="student_id")
    students.add_column("nothing", "integer")
    assert students.columns["nothing"] is ColumnDType.integer_t
    with pytest.raises(ValidationError, match=r"holds binary.*Possible: none"):
        students.add_column("photo", "text")


def test_columns_can_be_removed_and_added_again(takes: GNNTable) -> None:
    takes.remove_column(col_name="grade")
    assert "grade" not in takes.columns
    takes.add_column(col_name="grade", dtype=ColumnDType.category_t)
    assert takes.columns["grade"] == "category"
    assert list(takes.columns)[-1] == "grade"


def test_removing_a_column_drops_its_roles(takes: GNNTable) -> None:
    takes.set_foreign_key(ForeignKey("class_id", "classes.class_id"))
    for column in ("take_id", "class_id", "at"):
        takes.remove_column(column)
    assert (takes.primary_key, takes.foreign_keys, takes.time_column) == (None, (), None)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.remove_column("grad"),
        lambda t: t.add_column("grad", "integer"),
        lambda t: t.update_column_dtype("grad", "integer"),
        lambda t: t.set_primary_key("grad"),
        lambda t: t.unset_primary_key("grad"),
        lambda t: t.set_foreign_key(ForeignKey("grad", "a.b")),
        lambda t: t.unset_foreign_key(ForeignKey("grad", "a.b")),
        lambda t: t.set_time_column("grad"),
        lambda t: t.unset_time_column("grad"),
    ],
)
def test_unknown_columns_are_told_with_the_nearest(
    takes: GNNTable, change: Callable[[GNNTable], None]
) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'grade'"):
        change(takes)


@pytest.mark.parametrize(
    "roles",
    [
        {"primary_key": "take_ID"},
        {"foreign_keys": [ForeignKey("take_ID", "a.b")]},
        {"candidate_keys": {CandidateKey("take_ID")}},
        {"time_column": "take_ID"},
        {"column_dtypes": {"take_ID": "text"}},
    ],
)
def test_roles_of_unknown_columns_are_refused(table: Make, roles: dict[str, object]) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'take_id'"):
        table("takes", **roles)


def test_a_column_is_added_once(takes: GNNTable) -> None:
    with pytest.raises(ValidationError, match="already"):
        takes.add_column("grade", "integer")


def test_dtypes_can_be_updated_under_both_spellings(takes: GNNTable) -> None:
    for dtype in ("category", "float_t", ColumnDType.text_t, ColumnDType("integer")):
        takes.update_column_dtype("grade", dtype)
        assert takes.columns["grade"] is ColumnDType(dtype)
    with pytest.raises(UnknownNameError, match="Did you mean 'category'"):
        takes.update_column_dtype("grade", "categry")


@pytest.mark.parametrize(
    ("column", "dtype", "message"),
    [
        ("at", "category", "is the time column"),
        ("take_id", "category", "integer, float, text, not category"),
        ("grade", "embedding", "cannot be read as embedding"),
    ],
)
def test_impossible_dtypes_are_refused(
    takes: GNNTable, column: str, dtype: str, message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        takes.update_column_dtype(column, dtype)


def test_the_primary_key_is_replaced_and_unset(takes: GNNTable) -> None:
    takes.set_primary_key(col_name="student_id")
    assert takes.primary_key == "student_id"
    with pytest.raises(KeyError, match="is not the primary key"):
        takes.unset_primary_key(col_name="take_id")
    takes.unset_primary_key(col_name="student_id")
    assert takes.primary_key is None


def test_strings_are_text_as_a_key(table: Make) -> None:
    students = table("students")
    assert students.columns["code"] == "category"
    students.set_primary_key("code")
    assert students.columns["code"] == "text"
    assert table("students", primary_key="code").columns["code"] == "text"


def test_foreign_keys_are_set_once_and_unset(takes: GNNTable) -> None:
    key = ForeignKey(column_name="class_id", link_to="classes.class_id")
    takes.set_foreign_key(key)
    with pytest.raises(ValidationError, match="already"):
        takes.set_foreign_key(ForeignKey("class_id", "other.id"))
    takes.unset_foreign_key(ForeignKey("class_id", "other.id"))
    with pytest.raises(RoleKeyError, match="is not a foreign key"):
        takes.unset_foreign_key(key)


def test_a_column_may_link_to_another_of_its_table_but_not_to_itself(takes: GNNTable) -> None:
    takes.set_foreign_key(ForeignKey("grade", "takes.take_id"))
    with pytest.raises(ValidationError, match="links to itself"):
        takes.set_foreign_key(ForeignKey("take_id", "takes.take_id"))


def test_the_time_column_is_replaced_and_unset(takes: GNNTable) -> None:
    with pytest.raises(ValidationError, match="must be datetime, and it is integer"):
        takes.set_time_column("grade")
    with pytest.raises(ValidationError, match="is not the time column"):
        takes.unset_time_column("grade")
    takes.unset_time_column(col_name="at")
    takes.set_time_column(col_name="at")
    assert takes.time_column == "at"


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.set_primary_key("at"),
        lambda t: t.set_foreign_key(ForeignKey("at", "a.b")),
    ],
)
def test_time_and_key_exclude_each_other(
    takes: GNNTable, change: Callable[[GNNTable], None]
) -> None:
    with pytest.raises(ValidationError, match="time column and key at once"):
        change(takes)


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"primary_key": "take_id", "time_column": "grade"}, "cannot be the time column"),
        ({"primary_key": "at"}, "cannot be a key"),
        ({"foreign_keys": [ForeignKey("at", "a.b")]}, "cannot be a key"),
    ],
)
def test_a_role_of_a_wrong_dtype_is_printed_then_raised(
    table: Make, capsys: pytest.CaptureFixture[str], roles: dict[str, object], message: str
) -> None:
    takes = table("takes", **roles)
    assert message in capsys.readouterr().out
    assert (takes.time_column, takes.foreign_keys) == (None, ())
    with pytest.raises(ValidationError, match=message):
        takes.validate_table()


def test_a_refused_time_column_can_be_put_right(table: Make) -> None:
    for put_right in (
        lambda t: t.set_time_column("at"),
        lambda t: t.unset_time_column("grade"),
        lambda t: t.remove_column("grade"),
    ):
        takes = table("takes", primary_key="take_id", time_column="grade")
        put_right(takes)
        takes.validate_table()


def test_a_table_needs_a_key(table: Make) -> None:
    with pytest.raises(ValueError, match="at least one primary key or foreign key"):
        table("takes").validate_table()


def test_an_empty_table_is_told_and_allowed(
    table: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = table("nobody", primary_key="id")
    told = "Table 'nobody' (school.main.nobody) has no rows.\n"
    assert capsys.readouterr().out == told
    nobody.validate_table()
    assert capsys.readouterr().out == told
    assert not nobody.has_rows


def test_given_dtypes_come_before_roles(table: Make) -> None:
    takes = table(
        "takes", primary_key="take_id", column_dtypes={"take_id": "text", "grade": "category"}
    )
    assert (takes.columns["take_id"], takes.columns["grade"]) == ("text", "category")


def test_candidate_keys_of_a_set_have_one_order(table: Make) -> None:
    keys = {CandidateKey("code", is_feature=True), CandidateKey("student_id")}
    students = table("students", candidate_keys=keys)
    assert [key.column_name for key in students.candidate_keys] == ["student_id", "code"]
    assert [c.name for c in students.spec.feature_columns] == ["code", "age", "tags", "colour"]


def test_a_primary_key_comes_before_candidate_keys(table: Make) -> None:
    students = table("students", primary_key="code", candidate_keys=[CandidateKey("student_id")])
    assert students.spec.key_columns == ("code", "student_id")


@pytest.mark.parametrize("roles", [{"primary_key": "a"}, {"time_column": None}])
def test_an_edge_table_is_two_links_and_nothing_else(table: Make, roles: dict[str, object]) -> None:
    links = {ForeignKey("a", "students.student_id"), ForeignKey("b", "students.student_id")}
    table("friends", foreign_keys=links, type="edge").validate_table()
    with pytest.raises(ValidationError, match="exactly two foreign keys and no other"):
        table("friends", foreign_keys=list(links)[:1], type="edge", **roles).validate_table()


def test_a_key_of_an_edge_table_is_named(table: Make) -> None:
    links = [ForeignKey("a", "students.student_id"), ForeignKey("b", "students.student_id")]
    friends = table("friends", primary_key="a", foreign_keys=links, type="edge")
    with pytest.raises(ValidationError, match="may have no key of its own, such as 'a'"):
        friends.validate_table()


def test_a_further_column_of_an_edge_table_is_named(table: Make) -> None:
    links = [ForeignKey("student_id", "a.b"), ForeignKey("class_id", "a.c")]
    takes = table("takes", foreign_keys=links, type="edge")
    with pytest.raises(ValidationError, match="'take_id', 'at', 'grade'"):
        takes.validate_table()
    for column in ("take_id", "at", "grade"):
        takes.remove_column(column)
    takes.validate_table()


@pytest.mark.parametrize("name", ["1st", "a.b", "", "a b", "_x"])
def test_names_that_no_link_could_use_are_refused(school: DuckDBConnector, name: str) -> None:
    with pytest.raises(ValidationError, match="must start with a letter"):
        GNNTable(school, name, "school.main.takes")


def test_a_missing_source_is_told_with_the_nearest(school: DuckDBConnector) -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean 'school\.main\.takes'"):
        GNNTable(school, "takes", "school.main.tokes")


def test_show_table_names_every_column(table: Make, capsys: pytest.CaptureFixture[str]) -> None:
    students = table("students", primary_key="student_id")
    students.set_foreign_key(ForeignKey("age", "students.student_id"))
    capsys.readouterr()
    students.show_table()
    printed = capsys.readouterr().out
    for text in ("students (node) from school.main.students", *students.columns, "nothing"):
        assert text in printed
    for text in ("Not defined", "primary", "students.student_id", "multi_categorical", "double"):
        assert text in printed


def test_the_spec_equals_its_json(takes: GNNTable) -> None:
    assert TableSpec.from_json(takes.spec.to_json()) == takes.spec


def test_repr_says_what_it_is(takes: GNNTable) -> None:
    assert repr(takes) == (
        "<GNNTable takes (node) from school.main.takes: 5 columns; key take_id; time at>"
    )
