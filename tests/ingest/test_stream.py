from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pytest

from rle.connectors.local import LocalConnector
from rle.errors import ConnectionError, DataError, StorageError
from rle.ingest.plan import plan_table
from rle.ingest.staging import Staging, stage
from rle.ingest.stream import list_work, stage_all
from tests.graph.tiny import table_spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rle.connectors.base import Chunk


class FlakyConnector(LocalConnector):
    """Fails for the first reads of chunk 1, then works; leaves a mark for every attempt."""

    kind: Literal["flaky"] = "flaky"  # type: ignore[assignment]
    failures: int = 1

    def read(self, chunk: Chunk) -> Iterator[pa.RecordBatch]:
        marks = self.folder / f"attempts-{chunk.index}"
        attempt = len(marks.read_text()) if marks.exists() else 0
        marks.write_text("x" * (attempt + 1))
        yield from super().read(chunk)
        if chunk.index == 1 and attempt < self.failures:
            raise ConnectionError("the line went dead")

    def close(self) -> None:
        (self.folder / "closed").touch()


TABLE = pa.table({"id": [1, 2, 3, 4], "x": [1.0, None, 3.0, 4.0]})


def staging_of(
    folder: Path, table: pa.Table = TABLE, *, failures: int | None = None, group_rows: int = 2
) -> Staging:
    spec = table_spec(folder, "a", table, keys=("id",), group_rows=group_rows)
    connector = LocalConnector(connector_type="parquet", url=str(folder))
    if failures is not None:
        connector = FlakyConnector(connector_type="parquet", url=str(folder), failures=failures)
    (folder / "parts").mkdir(exist_ok=True)
    return Staging(
        connector=connector, plans=(plan_table(spec),), embedder=None, folder=str(folder / "parts")
    )


def small_chunks(staging: Staging) -> list[tuple[int, Chunk]]:
    plan = staging.plans[0]
    chunks = staging.connector.chunks(plan.source, columns=plan.columns, max_rows=2)
    return [(0, chunk) for chunk in chunks]


def nothing(done: int, total: int) -> None:
    pass


def test_a_chunk_that_fails_is_read_again_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    staging = staging_of(tmp_path, failures=2)
    infos = stage_all(staging, small_chunks(staging), num_workers=0, on_progress=nothing)
    assert [info.num_rows for info in infos] == [2, 2]
    assert (tmp_path / "attempts-0").read_text() == "x"
    assert (tmp_path / "attempts-1").read_text() == "xxx"


def test_a_source_that_stays_away_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    staging = staging_of(tmp_path, failures=3)
    with pytest.raises(ConnectionError, match="went dead"):
        stage_all(staging, small_chunks(staging), num_workers=0, on_progress=nothing)


def test_a_chunk_of_many_rows_is_staged_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rle.ingest.plan._MAX_CHUNK_ROWS", 1)
    monkeypatch.setattr("rle.ingest.plan._MIN_CHUNK_ROWS", 1)
    monkeypatch.setattr("rle.connectors.parquet_file.BATCH_ROWS", 1)
    staging = staging_of(tmp_path, group_rows=4)
    ((_, chunk),) = list_work(staging)
    infos = stage(staging, 0, chunk)
    assert [(info.piece, info.num_rows) for info in infos] == [(0, 1), (1, 1), (2, 1), (3, 1)]


def test_a_source_without_rows_has_one_empty_part(tmp_path: Path) -> None:
    staging = staging_of(tmp_path, TABLE.slice(0, 0))
    infos = stage_all(staging, list_work(staging), num_workers=0, on_progress=nothing)
    assert [info.num_rows for info in infos] == [0]
    assert staging.part(0, 0, 0).exists()


def test_a_folder_that_is_gone_is_a_storage_error(tmp_path: Path) -> None:
    staging = staging_of(tmp_path)
    gone = staging.replace(folder=str(tmp_path / "gone"))
    with pytest.raises(StorageError, match="No such file"):
        stage_all(gone, list_work(gone), num_workers=0, on_progress=nothing)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_ray_stages_the_same_parts_and_hands_errors_over(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    found: list[Any] = []
    for num_workers in (0, 2):
        folder = tmp_path / str(num_workers)
        folder.mkdir()
        staging = staging_of(folder)
        infos = stage_all(
            staging,
            small_chunks(staging),
            num_workers=num_workers,
            on_progress=lambda done, total: seen.append((done, total)),
        )
        parts = [staging.part(i.table, i.chunk, i.piece).read_bytes() for i in infos]
        found.append((infos, parts))
    assert found[0] == found[1]
    assert seen == [(1, 2), (2, 2)] * 2
    bad = staging_of(tmp_path, pa.table({"id": ["a", "b"], "x": ["1", "many"]}))
    (plan,) = bad.plans
    as_number = bad.replace(plans=(plan.replace(numbers=("x",), texts=()),))
    with pytest.raises(DataError, match=r"'a\.x'"):
        stage_all(as_number, list_work(as_number), num_workers=2, on_progress=nothing)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_rays_readers_close_what_they_held_open(tmp_path: Path) -> None:
    staging = staging_of(tmp_path, failures=0)
    stage_all(staging, small_chunks(staging), num_workers=2, on_progress=nothing)
    deadline = time.monotonic() + 60
    while not (tmp_path / "closed").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
