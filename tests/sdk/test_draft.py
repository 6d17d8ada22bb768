"""A drafted schema: what a person must say, and what comes of it as tables, code and YAML."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import rle
from rle.errors import DataError, OutputExistsError, UnknownNameError, ValidationError

DECLARED = """
    CREATE TABLE a.customers (customer_id BIGINT PRIMARY KEY, referred_by BIGINT,
        joined_at TIMESTAMP, age DOUBLE, visits BIGINT, is_member BOOLEAN, city VARCHAR,
        interests VARCHAR[], taste FLOAT[4], birthday DATE);
    CREATE TABLE a.transactions (transaction_id BIGINT PRIMARY KEY, customer_id BIGINT,
        article_id VARCHAR, happened_at TIMESTAMP, quantity INTEGER, amount DOUBLE,
        channel VARCHAR, FOREIGN KEY (customer_id) REFERENCES a.customers (customer_id));
    INSERT INTO a.customers SELECT * FROM main.customers;
    INSERT INTO a.transactions SELECT t.* FROM main.transactions t
        SEMI JOIN main.customers c ON t.customer_id = c.customer_id;
    CREATE TABLE a.churn_train AS SELECT * FROM main.churn_train;
    CREATE TABLE a.churn_validation AS SELECT * FROM main.churn_validation;
    CREATE TABLE a.churn_test AS SELECT * FROM main.churn_test;
"""
TIMES = {"customers": "joined_at", "transactions": "happened_at"}


@pytest.fixture(scope="module")
def connector(shop, tmp_path_factory):
    """The shop twice: with declared keys in schema a, and without any in main."""
    path = shop.write_duckdb(tmp_path_factory.mktemp("drafts") / "shop.duckdb")
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE SCHEMA a;" + DECLARED).fetchall()
    return rle.DuckDBConnector(database=str(path))


@pytest.fixture
def draft(connector):
    return rle.Dataset.from_schema(connector, "shop.a", exclude=["churn_*"])


@pytest.fixture
def task(connector):
    return rle.NodeTask(
        connector,
        name="churn",
        task_data_source={s: f"SHOP.A.churn_{s}" for s in ("train", "validation", "test")},
        source_entity_column="customer_id",
        source_entity_table="customers",
        target_column="label",
        task_type="binary_classification",
        time_column="timestamp",
    )


def same(left, right):
    """Whether tables are the same to the graph, also where they do not hold together yet."""

    def facts(table):
        keys = [key.model_dump() for key in (*table.candidate_keys, *table.foreign_keys)]
        return (table.name, table.source, table.type, table.columns, table.time_column, keys)

    return [facts(table) for table in left] == [facts(table) for table in right]


def test_a_draft_says_what_was_found_and_what_is_open(draft):
    text = str(draft)
    for said in (
        "Draft of shop.a: 2 tables, 1 link\n",
        "customers (shop.a.customers): 10 columns, key customer_id",
        "    customer_id -> customers.customer_id",
        "  customers: joined_at, birthday?",
    ):
        assert said in text
    assert draft.open_times == {
        "customers": ("joined_at", "birthday"),
        "transactions": ("happened_at",),
    }
    assert draft.suggestions == ()


def test_a_dataset_needs_every_time_to_be_said(draft, task):
    with pytest.raises(ValidationError, match=r"customers: joined_at or birthday; transactions"):
        draft.dataset("shop", task)
    draft.set_time_columns(TIMES)
    dataset = draft.dataset("shop", task)
    assert dataset.experiment_name == "shop/binary_classification/churn"
    assert {t.name: t.time_column for t in dataset.tables} == TIMES
    assert isinstance(dataset, rle.Dataset)


def test_rows_may_have_been_known_always(draft, task):
    draft.set_time_columns({"customers": None, "transactions": "happened_at"})
    assert draft.open_times == {}
    assert draft.dataset("shop", task).tables[0].time_column is None
    draft.set_time_columns({"customers": "joined_at"})
    draft.set_time_columns({"customers": None})
    assert draft["customers"].time_column is None


def test_times_may_be_said_at_once(connector):
    draft = rle.Dataset.from_schema(
        connector, "shop.a", exclude=["churn_*"], time_columns=TIMES, look_for_links=False
    )
    assert draft.open_times == {}
    with pytest.raises(UnknownNameError, match="Did you mean 'customers'"):
        draft.set_time_columns({"customer": None})
    with pytest.raises(ValidationError, match="datetime"):
        draft.set_time_columns({"customers": "age"})


def test_tables_of_the_task_are_no_part_of_the_graph(connector, task, capsys):
    draft = rle.Dataset.from_schema(connector, "SHOP.A", time_columns=TIMES)
    assert "churn_test" in {table.name for table in draft.tables}
    dataset = draft.dataset("shop", task)
    assert [table.name for table in dataset.tables] == ["customers", "transactions"]
    said = capsys.readouterr().out
    assert "Left out of the graph, as tables of the task: churn_test" in said
    assert "a prediction may see the answer" not in said
    draft["churn_train"].set_foreign_key(rle.ForeignKey("customer_id", "customers.customer_id"))
    rle.Dataset(connector, "shop", [draft["customers"], draft["churn_train"]], task)
    said = capsys.readouterr().out
    assert "Table 'churn_train' is a table of the task, shop.a.churn_train, with its label" in said
    draft["churn_train"].remove_column("label")
    rle.Dataset(connector, "shop", [draft["customers"], draft["churn_train"]], task)
    assert "a prediction may see the answer" not in capsys.readouterr().out
    assert "take them out of `tables`" in draft.to_code()


def test_a_link_to_a_table_of_the_task_goes_with_it_and_never_silently(tmp_path):
    path = tmp_path / "labels.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("""
            CREATE TABLE customers (id BIGINT PRIMARY KEY);
            CREATE TABLE churn (id BIGINT PRIMARY KEY, customer_id BIGINT, label BOOLEAN,
                FOREIGN KEY (customer_id) REFERENCES customers (id));
            CREATE TABLE remarks (churn_id BIGINT, customer_id BIGINT,
                FOREIGN KEY (churn_id) REFERENCES churn (id),
                FOREIGN KEY (customer_id) REFERENCES customers (id));
            INSERT INTO customers VALUES (1), (2);
            INSERT INTO churn VALUES (1, 1, true), (2, 2, false);
            INSERT INTO remarks VALUES (1, 1), (2, 2);
        """).fetchall()
    connector = rle.DuckDBConnector(database=str(path))
    task = rle.NodeTask(
        connector,
        name="churn",
        task_data_source=dict.fromkeys(("train", "validation", "test"), "LABELS.MAIN.Churn"),
        source_entity_column="customer_id",
        source_entity_table="customers",
        target_column="label",
        task_type="binary_classification",
    )
    draft = rle.Dataset.from_schema(connector, "labels.main")
    with pytest.raises(ValidationError, match=r"remarks\.churn_id links to 'churn', a table of"):
        draft.dataset("shop", task)
    draft.leave_out("churn")
    graph = draft.dataset("shop", task)
    assert [table.name for table in graph.tables] == ["customers", "remarks"]
    assert [key.column_name for key in graph.tables[1].foreign_keys] == ["customer_id"]


def test_many_tables_show_how_far_they_are(tmp_path, capsys):
    path = tmp_path / "many.duckdb"
    with duckdb.connect(str(path)) as con:
        for number in range(20):
            con.execute(f"CREATE TABLE t{number} AS SELECT 1 AS id").fetchall()
    connector = rle.DuckDBConnector(database=str(path))
    draft = rle.Dataset.from_schema(connector, "many.main")
    assert "look at tables: 20 steps" in capsys.readouterr().out
    rle.Dataset.from_draft(draft.save(tmp_path / "many.yaml"))
    assert "look at tables: 20 steps" in capsys.readouterr().out
    rle.Dataset.from_schema(connector, "many.main", exclude=["t1*"])
    assert "look at tables" not in capsys.readouterr().out


def test_columns_that_differ_only_by_case_stay_two(tmp_path):
    folder = tmp_path / "cases"
    folder.mkdir()
    rows = pa.table({"ID": [1, 2, 3], "id": ["a", "b", "b"], "Id": [1.5, 2.5, 3.5]})
    pq.write_table(rows, folder / "things.parquet")
    pq.write_table(pa.table({"thing_id": [1, 1, 3]}), folder / "uses.parquet")
    connector = rle.LocalConnector(connector_type="parquet", url=str(folder))
    draft = rle.Dataset.from_schema(connector, "cases.main")
    assert [str(found).partition(":")[0] for found in draft.suggestions] == [
        "key things.ID",
        "link uses.thing_id -> things.ID",
    ]
    draft.accept()
    found = {}
    exec(draft.to_code(), found)
    assert same(found["tables"], draft.tables)
    assert list(draft["things"].columns) == ["ID", "id", "Id"]


def test_what_nobody_declared_is_suggested_and_applied_when_accepted(connector):
    draft = rle.Dataset.from_schema(connector, "shop.main", exclude=["*_train", "*_validation"])
    assert not any(table.candidate_keys or table.foreign_keys for table in draft.tables)
    suggested = {str(found).partition(":")[0] for found in draft.suggestions}
    assert "key customers.customer_id" in suggested
    assert "link wishlist.customer_id -> customers.customer_id" in suggested
    # One sold to nobody is enough for no suggestion: the value is not among the keys.
    assert "link transactions.customer_id -> customers.customer_id" not in suggested
    assert any("transactions: customer_id is named like" in note for note in draft.notes)
    assert "wishlist" in draft.loose

    link = next(s for s in draft.suggestions if s.table == "wishlist" and s.column == "customer_id")
    with pytest.raises(ValidationError, match=r"customers\.customer_id is no key yet"):
        draft.accept(link)
    key = next(s for s in draft.suggestions if s.table == "customers")
    draft.accept(key, link)
    assert draft["customers"].primary_key == "customer_id"
    assert [k.link_to for k in draft["wishlist"].foreign_keys] == ["customers.customer_id"]
    draft.accept()
    assert draft.suggestions == ()
    assert {k.link_to for k in draft["wishlist"].foreign_keys} == {
        "articles.article_id",
        "customers.customer_id",
    }


def test_one_column_that_may_link_to_two_tables_needs_a_choice(tmp_path):
    path = tmp_path / "two.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("""
            CREATE TABLE people (id BIGINT, person_id BIGINT PRIMARY KEY);
            CREATE TABLE members (person_id BIGINT PRIMARY KEY);
            CREATE TABLE visits (person_id BIGINT);
            INSERT INTO people VALUES (1, 7); INSERT INTO members VALUES (7);
            INSERT INTO visits VALUES (7);
        """).fetchall()
    draft = rle.Dataset.from_schema(rle.DuckDBConnector(database=str(path)), "two.main")
    with pytest.raises(ValidationError, match="Accept one of them"):
        draft.accept()
    assert not draft["visits"].foreign_keys
    draft.accept(next(s for s in draft.suggestions if s.table == "visits"))
    assert len(draft["visits"].foreign_keys) == 1


def test_tables_leave_the_draft_with_the_links_to_them(draft, task):
    draft.leave_out("customers")
    assert [table.name for table in draft.tables] == ["transactions"]
    assert draft["transactions"].foreign_keys == ()
    assert "transactions: customer_id -> customers.customer_id went with" in str(draft)
    draft["transactions"].unset_primary_key("transaction_id")
    draft.set_time_columns({"transactions": "happened_at"})
    with pytest.raises(ValidationError, match=r"draft\.leave_out\('transactions'\)"):
        draft.dataset("shop", task)
    with pytest.raises(UnknownNameError, match="table in the draft"):
        draft.leave_out("customers")


def edited(draft):
    """The draft as somebody left it: with every kind of change that a table takes."""
    draft.set_time_columns({"customers": None, "transactions": "happened_at"})
    customers = draft["customers"]
    customers.remove_column("taste")
    customers.update_column_dtype("city", "text")
    customers.set_foreign_key(rle.ForeignKey("referred_by", "customers.customer_id", True))
    return draft


def test_the_code_of_a_draft_makes_the_same_tables(draft):
    for state in (draft, edited(draft)):
        found = {}
        exec(state.to_code(), found)
        assert same(found["tables"], state.tables)
        assert found["connector"] == draft.connector


def test_the_code_asks_what_is_open_and_quotes_what_is_odd(tmp_path):
    path = tmp_path / 'it"s.duckdb'
    with duckdb.connect(str(path)) as con:
        con.execute("""
            CREATE TABLE "a'b""\n" ("k'1" INTEGER PRIMARY KEY, "when?" DATE, other DATE);
            INSERT INTO "a'b""\n" VALUES (1, '2020-01-01', '2020-01-01');
        """).fetchall()
    connector = rle.DuckDBConnector(database=str(path))
    draft = rle.Dataset.from_schema(connector, 'it"s.main')
    code = draft.to_code()
    assert "# When did a row become known? time_column='when?' or 'other'," in code
    found = {}
    exec(code, found)
    assert same(found["tables"], draft.tables)


def test_a_terminal_shows_names_and_obeys_none(tmp_path, capsys):
    odd = "x\r\nimport os\x1b[31m\x07\u202e\x85y"
    path = tmp_path / "odd.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute(f"""
            CREATE TABLE "{odd}" (id INTEGER, "{odd}" DATE, more DATE);
            INSERT INTO "{odd}" SELECT i, '2020-01-01', '2020-01-01' FROM range(20) t(i);
        """).fetchall()
    draft = rle.Dataset.from_schema(rle.DuckDBConnector(database=str(path)), "odd.main")
    draft.tables[0].show_table()
    assert draft.suggestions
    for text in (str(draft), draft.to_code(), capsys.readouterr().out):
        assert text
        assert all(line.isprintable() for line in text.split("\n"))
        assert not [line for line in text.split("\n") if line.startswith("import os")]
    saved = draft.save(tmp_path / "odd.yaml")
    assert same(rle.Dataset.from_draft(saved).tables, draft.tables)


def test_the_file_of_a_draft_is_read_back_as_it_was(draft, tmp_path):
    for name, state in (("open", draft), ("edited", edited(draft))):
        path = state.save(tmp_path / f"{name}.yaml")
        back = rle.Dataset.from_draft(path)
        assert same(back.tables, state.tables)
        assert back.open_times == state.open_times
        assert back.connector == draft.connector
        assert path.read_text().startswith("# Draft of shop.a: 2 tables")


def test_a_person_edits_the_file(draft, task, tmp_path):
    path = draft.save(tmp_path / "shop.yaml")
    content = yaml.safe_load(path.read_text())
    customers, transactions = content["tables"]
    customers["always_known"] = True
    del customers["columns"]["taste"]
    transactions["time_column"] = "happened_at"
    path.write_text(yaml.safe_dump(content))
    dataset = rle.Dataset.from_draft(path).dataset("shop", task)
    assert "taste" not in dataset.tables[0].columns
    assert dataset.tables[1].time_column == "happened_at"


def test_files_that_are_no_draft(draft, tmp_path):
    path = draft.save(tmp_path / "shop.yaml")
    with pytest.raises(OutputExistsError, match="Save under another name, or delete the file"):
        draft.save(path)
    with pytest.raises(ValidationError, match=r"must end in \.yaml"):
        draft.save(tmp_path / "shop.py")
    path.write_text(path.read_text().replace("time_column", "tiem_column"))
    with pytest.raises(ValidationError, match="does not hold a valid draft"):
        rle.Dataset.from_draft(path)


def test_an_empty_entity_table_is_refused_as_ever(connector, task):
    with duckdb.connect(connector.database) as con:
        con.execute("CREATE SCHEMA b; CREATE TABLE b.customers AS FROM a.customers LIMIT 0")
        con.execute("ALTER TABLE b.customers ADD PRIMARY KEY (customer_id)")
    empty = rle.Dataset.from_schema(connector, "shop.b", time_columns={"customers": "joined_at"})
    with pytest.raises(DataError, match="has no rows"):
        empty.dataset("shop", task)


def test_a_folder_of_files_is_drafted_from_suggestions_alone(shop_parquet):
    connector = rle.LocalConnector(connector_type="parquet", url=str(shop_parquet))
    others = ["c*_t*", "c*_validation", "departments_*", "spend_*"]
    draft = rle.Dataset.from_schema(connector, f"{shop_parquet.name}.main", exclude=others)
    assert {t.name for t in draft.tables} == {
        *("articles", "customers", "departments", "transactions", "wishlist")
    }
    draft.accept()
    assert draft["articles"].foreign_keys[0].link_to == "departments.department_id"
    found = {}
    exec(draft.to_code(), found)
    assert same(found["tables"], draft.tables)


def test_what_is_no_task_is_refused_in_words(connector):
    draft = rle.Dataset.from_schema(connector, "shop.a", exclude=["churn_*"], time_columns=TIMES)
    with pytest.raises(ValidationError, match="must be a NodeTask or a LinkTask, not NoneType"):
        draft.dataset("shop", None)
