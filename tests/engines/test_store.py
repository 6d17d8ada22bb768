"""The store keeps engines whole, once each, for their user alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from rle.engines.record import EngineRecord, EngineSettings
from rle.engines.store import EngineStore, engines_home
from rle.errors import UnknownNameError, ValidationError
from rle.runs.folders import home

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def record(name: str = "first", *, made: datetime = NOW) -> EngineRecord:
    return EngineRecord(
        name=name,
        id="0a1b2c3d",
        backend="local",
        size="HIGHMEM_X64_S",
        created_by="ada",
        created_on=made,
        updated_on=made,
    )


def test_an_engine_is_found_again_in_a_folder_of_its_user_alone():
    store = EngineStore()
    store.create(record())
    assert store.folder("first") == home() / "engines" / "first" == engines_home() / "first"
    assert store.folder("first").stat().st_mode & 0o777 == 0o700
    assert store.get("first") == record()
    assert store.get("second") is None


def test_no_engines_where_nothing_was_made():
    assert EngineStore().all() == []
    assert EngineStore().get("first") is None
    assert not engines_home().exists()


def test_engines_are_listed_by_age():
    store = EngineStore()
    store.create(record("young", made=NOW + timedelta(days=1)))
    store.create(record("old"))
    (store.place / ".new-half").mkdir()
    (store.place / "empty").mkdir()
    assert [found.name for found in store.all()] == ["old", "young"]


def test_a_name_is_given_once():
    store = EngineStore()
    store.create(record())
    with pytest.raises(ValidationError, match=r"'first' already exists.*rle engine delete first"):
        store.create(record().replace(id="ffffffff"))
    assert store.get("first") == record()
    assert [path.name for path in store.place.iterdir()] == ["first"]


def test_of_several_at_once_one_wins():
    start = threading.Barrier(8)

    def create(number: int) -> bool:
        start.wait()
        try:
            EngineStore().create(record().replace(id=f"{number:08x}"))
        except ValidationError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert won.count(True) == 1
    kept = EngineStore().get("first")
    assert kept is not None
    assert kept.id == f"{won.index(True):08x}"


@pytest.mark.parametrize("name", ["my engine", "it's", '"x"', "../up", "", "1st", "é", "a" * 64])
def test_names_that_no_engine_may_have(name):
    with pytest.raises(ValidationError, match="An engine's name is"):
        EngineStore().folder(name)
    with pytest.raises(ValidationError, match="An engine's name is"):
        record(name)


def test_a_change_is_kept():
    store = EngineStore()
    store.create(record())
    changed = record().replace(settings=EngineSettings(auto_suspend_mins=3))
    store.update(changed)
    assert store.get("first") == changed
    with pytest.raises(UnknownNameError, match="frist"):
        store.update(record("frist"))


def test_a_deleted_engine_is_gone_and_its_name_free():
    store = EngineStore()
    store.create(record())
    (store.folder("first") / "jobs").mkdir()
    store.delete("first")
    store.delete("first")
    assert store.all() == []
    assert list(store.place.iterdir()) == []
    store.create(record())


def test_a_damaged_file_is_named():
    store = EngineStore()
    store.create(record())
    (store.folder("first") / "engine.json").write_text('{"name": "first"}')
    with pytest.raises(ValidationError, match=r"first/engine\.json is damaged"):
        store.get("first")
