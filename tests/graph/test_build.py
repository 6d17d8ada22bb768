from __future__ import annotations

import pickle
import resource
import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rle.errors import DataError, StorageError
from rle.graph import storage
from rle.graph.snapshot import Snapshot
from rle.graph.store import NULL_STAMP, NULL_TIME
from rle.ingest import stream
from tests.graph.reference import Tiny, children, edges, parents, sorted_rows
from tests.graph.tiny import build, dataset, table_spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.spec.dataset import DatasetSpec

STAMP = pa.timestamp("ns")
WORDS = ["", "a", "A", "é", "東", "ab", "b", "'\"", "7"]


@st.composite
def tiny_databases(draw: st.DrawFn) -> dict[str, Tiny]:
    """People who refer to people, text-keyed shops, visits with two links to people, likes."""
    times = st.one_of(st.none(), st.sampled_from([-5, 0, 3, 3_600 * 10**9, 86_400 * 10**9 * 4]))
    people = draw(st.lists(st.integers(-9, 30), min_size=1, max_size=12, unique=True))
    far = draw(st.booleans())
    ids = [p * 10**12 if far else p for p in people]
    shops = draw(st.lists(st.sampled_from(WORDS), max_size=6, unique=True))
    person = st.one_of(st.none(), st.sampled_from([*ids, 999]))
    shop = st.one_of(st.none(), st.sampled_from([*WORDS, "nowhere"]))

    def rows(**columns: st.SearchStrategy[Any]) -> list[dict[str, Any]]:
        return draw(st.lists(st.fixed_dictionaries(columns), max_size=25))

    tables = {
        "people": Tiny(
            [{"id": i, "boss": draw(person), "since": draw(times)} for i in ids],
            keys=("id",),
            links={"boss": ("people", "id")},
            time="since",
        ),
        "shops": Tiny([{"code": s, "size": float(i)} for i, s in enumerate(shops)], ("code",)),
        "visits": Tiny(
            rows(who=person, guest=person, where=shop, at=times),
            links={"who": ("people", "id"), "guest": ("people", "id"), "where": ("shops", "code")},
            time="at",
        ),
        "likes": Tiny(
            rows(person=person, shop=shop),
            links={"person": ("people", "id"), "shop": ("shops", "code")},
            is_edge=True,
        ),
    }
    if draw(st.booleans()):
        tables["people"].rows.append({"id": None, "boss": ids[0], "since": draw(times)})
    return tables


TYPES = {
    "people": {"id": pa.int64(), "boss": pa.int64(), "since": STAMP},
    "shops": {"code": pa.string(), "size": pa.float64()},
    "visits": {"who": pa.int64(), "guest": pa.int64(), "where": pa.string(), "at": STAMP},
    "likes": {"person": pa.int64(), "shop": pa.string()},
}


def spec_of(tables: dict[str, Tiny], folder: Path, *, group_rows: int = 4) -> DatasetSpec:
    specs = [
        table_spec(
            folder,
            name,
            pa.table({c: pa.array([r[c] for r in tiny.rows], t) for c, t in TYPES[name].items()}),
            keys=tiny.keys,
            links={c: ".".join(to) for c, to in (tiny.links or {}).items()},
            time=tiny.time,
            is_edge=tiny.is_edge,
            group_rows=group_rows,
        )
        for name, tiny in tables.items()
    ]
    return dataset(folder, *specs)


def lists_of(snapshot: Snapshot, relation: str) -> list[list[int]]:
    names = [r.name for r in snapshot.schema.relations]
    number = names.index(relation)
    source = snapshot.tables[snapshot.schema.relations[number].source]
    return [snapshot.topology.children(number, row).tolist() for row in range(source.num_rows)]


def parents_of(snapshot: Snapshot, relation: str) -> list[int]:
    names = [r.name for r in snapshot.schema.relations]
    number = names.index(relation)
    source = snapshot.tables[snapshot.schema.relations[number].source]
    return snapshot.topology.parents(number, np.arange(source.num_rows)).tolist()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables=tiny_databases())
def test_a_snapshot_equals_the_obvious_builder(tables: dict[str, Tiny]) -> None:
    with tempfile.TemporaryDirectory() as name:
        snapshot = build(spec_of(tables, Path(name)), Path(name))
        for table in ("people", "visits"):
            tiny, store = tables[table], snapshot.tables[table]
            expected = [row[tiny.time] for row in sorted_rows(tiny)]
            assert store.times is not None
            assert [None if t == NULL_TIME else t for t in store.times] == expected
        assert snapshot.tables["people"].keys("id").to_pylist() == [
            row["id"] for row in sorted_rows(tables["people"])
        ]
        assert snapshot.tables["shops"].keys("code").to_pylist() == [
            row["code"] for row in sorted_rows(tables["shops"])
        ]
        for table in ("people", "visits"):
            for column in tables[table].links or {}:
                link = f"{table}.{column}"
                assert parents_of(snapshot, f"{link}:parent") == parents(tables, table, column)
                assert lists_of(snapshot, f"{link}:children") == children(tables, table, column)
        for column in ("person", "shop"):
            assert lists_of(snapshot, f"likes.{column}:children") == edges(tables, "likes", column)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(tables=tiny_databases(), random=st.randoms(use_true_random=False))
def test_files_do_not_depend_on_the_order_in_which_chunks_arrive(
    tables: dict[str, Tiny], random: Any
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        spec = spec_of(tables, folder, group_rows=2)
        list_work = stream.list_work
        first = contents(build(spec, folder / "a"))

        def shuffled(staging: Any) -> Sequence[Any]:
            work = list_work(staging)
            random.shuffle(work)
            return work

        patch.setattr("rle.graph.construct.list_work", shuffled)
        assert contents(build(spec, folder / "b")) == first


def contents(snapshot: Snapshot) -> dict[str, bytes]:
    assert snapshot.path is not None
    files = snapshot.path.rglob("*")
    return {
        str(f.relative_to(snapshot.path)): f.read_bytes()
        for f in files
        if f.is_file() and f.name != "manifest.json"
    }


FEATURES = pa.table(
    {
        "id": pa.array([3, 1, 2], pa.int32()),
        "number": pa.array([1.5, None, float("inf")]),
        "count": pa.array([7, None, -1], pa.int16()),
        "colour": pa.array(["red", None, "blue"]),
        "flag": pa.array([True, False, None]),
        "when": pa.array([0, None, 10**18], pa.timestamp("ns")),
        "tags": pa.array([["b", "a"], None, ["c", None]]),
        "vector": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32())),
    }
)
DTYPES = {
    "colour": "category",
    "flag": "category",
    "tags": "multi_categorical",
    "vector": "embedding",
}


def test_every_dtype_lands_in_its_block_in_row_order(tmp_path: Path) -> None:
    spec = table_spec(tmp_path, "a", FEATURES, keys=("id",), dtypes=DTYPES, group_rows=2)
    snapshot = build(dataset(tmp_path, spec), tmp_path)
    store = snapshot.tables["a"]
    assert store.keys("id").to_pylist() == [1, 2, 3]
    assert store.keys("id").type == pa.int32()
    assert store.times is None
    nan = np.nan
    np.testing.assert_array_equal(store.numbers, [[nan, nan], [nan, -1], [1.5, 7]])
    assert store.dictionary("colour").to_pylist() == ["blue", "red"]
    assert store.dictionary("flag").to_pylist() == ["false", "true"]
    np.testing.assert_array_equal(store.codes, [[-1, 0], [0, -1], [1, 1]])
    np.testing.assert_array_equal(store.stamps[:, 0], [NULL_STAMP, 10**18, 0])
    np.testing.assert_array_equal(store.vectors["vector"], [[nan, nan], [3, 4], [1, 2]])
    offsets, codes = store.lists["tags"]
    assert store.dictionary("tags").to_pylist() == ["a", "b", "c"]
    assert offsets.tolist() == [0, 0, 1, 3]
    assert codes.tolist() == [2, 1, 0]
    assert "a.number: 1 infinite" in " ".join(snapshot.report.warnings())


def test_vectors_with_holes_are_null_and_reported(tmp_path: Path) -> None:
    vectors = [[1.0, 2.0], None, [3.0, None], [float("nan"), 4.0], [float("inf"), 5.0], None]
    rows = pa.table({"id": [0, 1, 2, 3, 4, 5], "vector": pa.array(vectors)})
    spec = table_spec(tmp_path, "a", rows, keys=("id",), dtypes=DTYPES, group_rows=2)
    snapshot = build(dataset(tmp_path, spec), tmp_path)
    present = ~np.isnan(snapshot.tables["a"].vectors["vector"])
    assert present.all(axis=1).tolist() == [True] + [False] * 5
    assert not present[1:].any()
    assert "a.vector: 3 vectors with a NULL" in " ".join(snapshot.report.warnings())


def test_text_is_embedded_and_null_stays_null(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2, 3], "text": ["a red apple", None, "a red apple"]})
    snapshot = build(dataset(tmp_path, table_spec(tmp_path, "a", table, keys=("id",))), tmp_path)
    vectors = snapshot.tables["a"].vectors["text"]
    assert vectors.dtype == np.float16
    assert vectors.shape == (3, 50)
    assert np.isnan(vectors[1]).all()
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_blocks_are_mapped_and_cannot_be_written(tmp_path: Path) -> None:
    spec = table_spec(tmp_path, "a", FEATURES, keys=("id",), dtypes=DTYPES)
    store = build(dataset(tmp_path, spec), tmp_path).tables["a"]
    for block in (store.numbers, store.codes, store.stamps, store.vectors["vector"]):
        assert not block.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            block[0, 0] = 0


def test_a_second_build_of_unchanged_tables_reads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dataset(tmp_path, table_spec(tmp_path, "a", FEATURES, keys=("id",), dtypes=DTYPES))
    first = build(spec, tmp_path)
    monkeypatch.setattr("rle.graph.build.Construction", None)
    assert build(spec, tmp_path).fingerprint == first.fingerprint
    other_task = spec.replace(task=spec.task.replace(name="another"))
    assert build(other_task, tmp_path).fingerprint == first.fingerprint


def test_changed_rows_or_roles_make_another_snapshot(tmp_path: Path) -> None:
    plain = dataset(tmp_path, table_spec(tmp_path, "a", FEATURES, keys=("id",), dtypes=DTYPES))
    first = build(plain, tmp_path)
    (table,) = plain.tables
    fewer = plain.replace(tables=(table.replace(columns=table.columns[:3]),))
    assert build(fewer, tmp_path).fingerprint != first.fingerprint
    changed = FEATURES.slice(0, 2)
    again = dataset(tmp_path, table_spec(tmp_path, "a", changed, keys=("id",), dtypes=DTYPES))
    assert build(again, tmp_path).fingerprint != first.fingerprint


def test_a_damaged_snapshot_is_refused_and_built_again(tmp_path: Path) -> None:
    spec = dataset(tmp_path, table_spec(tmp_path, "a", FEATURES, keys=("id",), dtypes=DTYPES))
    path = build(spec, tmp_path).path
    assert path is not None
    (path / "t0" / "codes.npy").write_bytes(b"")
    with pytest.raises(DataError, match=r"damaged: t0/codes.npy"):
        Snapshot.open(path)
    assert build(spec, tmp_path).tables["a"].num_rows == 3
    (path / "manifest.json").unlink()
    with pytest.raises(DataError, match="no complete graph snapshot"):
        Snapshot.open(path)
    assert build(spec, tmp_path).tables["a"].num_rows == 3


@pytest.mark.parametrize("limit", [200, 900, 1500])
def test_a_full_disk_leaves_no_half_snapshot(tmp_path: Path, limit: int) -> None:
    spec = dataset(tmp_path, table_spec(tmp_path, "a", FEATURES, keys=("id",), dtypes=DTYPES))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(StorageError):
            build(spec, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "snapshots").iterdir()) == []
    assert build(spec, tmp_path).tables["a"].num_rows == 3


@pytest.mark.parametrize("where", ["rle.graph.construct.place_rows", "rle.graph.build.publish"])
def test_an_interrupt_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    spec = dataset(tmp_path, table_spec(tmp_path, "a", FEATURES, keys=("id",), dtypes=DTYPES))
    monkeypatch.setattr(where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(spec, tmp_path)
    assert list((tmp_path / "snapshots").iterdir()) == []


def test_what_a_killed_build_left_behind_is_removed(tmp_path: Path) -> None:
    spec = dataset(tmp_path, table_spec(tmp_path, "a", FEATURES, keys=("id",), dtypes=DTYPES))
    path = build(spec, tmp_path).path
    assert path is not None
    host = socket.gethostname()
    left = path.parent / f".building-0-{host}-{2**22 + 1}"
    left.mkdir()
    path.rename(path.with_name("other"))
    build(spec, tmp_path)
    assert not left.exists()


def test_two_builds_at_once_end_with_one_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dataset(tmp_path, table_spec(tmp_path, "a", FEATURES, keys=("id",), dtypes=DTYPES))
    publish = storage.publish

    def late(temporary: Path, final: Path, manifest: Any) -> None:
        shutil.copytree(temporary, final)
        (final / "manifest.json").write_text(manifest.to_json())
        publish(temporary, final, manifest)

    monkeypatch.setattr("rle.graph.build.publish", late)
    assert build(spec, tmp_path).tables["a"].num_rows == 3


def test_a_snapshot_travels_as_its_path(tmp_path: Path) -> None:
    spec = dataset(tmp_path, table_spec(tmp_path, "a", FEATURES, keys=("id",), dtypes=DTYPES))
    snapshot = build(spec, tmp_path)
    data = pickle.dumps(snapshot)
    assert len(data) < 1000
    assert pickle.loads(data).fingerprint == snapshot.fingerprint
