"""Fixtures that every test may use, and guards that fail a test which leaves something behind."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from rle.runs import tracking
from rle.runs.folders import home
from rle.testing.shop import Shop, make_shop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdist.scheduler import LoadScopeScheduling

    from rle.engines.record import EngineRecord

# How long a test takes says more about the machine's other users than about the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Variables that third parties set once per process, whatever a test does.
SET_BY_OTHERS = ("PYTEST_", "ARROW_", "KMP_", "RAY_", "MLFLOW_", "HYPOTHESIS_", "TORCH", "PYTORCH_")
# Threads that live as long as their library, named as the library names them.
LIBRARY_THREADS = (
    "ray_",
    "raylet",
    "asyncio_",
    "AsyncIO",
    "pydevd",
    "Mlflow",
    "tqdm",
    "Thread-auto",
    "Dummy-",  # of no Python code, such as the runtime inside Snowflake's driver 5
)

SESSION_RAY = pytest.StashKey[bool]()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Of the processes `make test` uses, one has a file's tests, and one all files that need Ray.

    So that a file's tests share its fixtures, and Ray is started once; likewise an engine.
    """
    from xdist.scheduler import LoadScopeScheduling

    @cache
    def scope(file: str) -> str:
        text = (config.rootpath / file).read_text(encoding="utf-8")
        if "local_engine" in text or "on_engine" in text:
            return "engine"
        return "ray" if "ray_local" in text else file

    class FilesAndRay(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope(nodeid.partition("::")[0])

    return FilesAndRay(config, log)


@pytest.fixture(scope="session")
def shop() -> Shop:
    """The fake shop's tables in memory; treat as read-only."""
    return make_shop()


@pytest.fixture(scope="session")
def shop_db(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DuckDB file of the fake shop, shared by the session; open it read-only."""
    return shop.write_duckdb(tmp_path_factory.mktemp("shop") / "shop.duckdb")


@pytest.fixture(scope="session")
def shop_parquet(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of Parquet files of the fake shop, shared by the session."""
    return shop.write_parquet(tmp_path_factory.mktemp("shop_parquet"))


@pytest.fixture(scope="session")
def copy_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Puts MLflow's tables, without a row, into a home: making them takes seconds per home."""
    made = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    tracking.connect(f"sqlite:///{made}").search_experiments()

    def copy(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, folder / "mlflow.db")

    return copy


@pytest.fixture
def mlflow_there(_home: None, copy_mlflow: Callable[[Path], None]) -> None:
    """MLflow's tables are in the test's home already."""
    copy_mlflow(home())


@pytest.fixture(scope="session")
def ray_local(request: pytest.FixtureRequest) -> Iterator[object]:
    """One Ray of this machine for the whole session: 2 CPUs, 512 MiB of object store.

    Ray binds every interface whatever it is asked; `make test` runs in a network namespace that has
    loopback only (.ci/offline), and Ray asks for a token.
    """
    import ray

    # A Unix socket's path may have 107 bytes, so Ray's folder is not under pytest's long one.
    folder = tempfile.mkdtemp(prefix="rt", dir="/tmp")
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = "180"
    context = ray.init(
        num_cpus=2,
        num_gpus=0,
        object_store_memory=512 * 2**20,
        include_dashboard=True,  # without it Ray Train floods the log
        dashboard_host="127.0.0.1",
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
        log_to_driver=False,
        configure_logging=False,
    )
    request.config.stash[SESSION_RAY] = True
    yield context
    request.config.stash[SESSION_RAY] = False
    ray.shutdown()
    del os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"]
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class LocalEngine:
    """A local engine that runs, in a home of its own."""

    home: Path
    record: EngineRecord

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def folder(self) -> Path:
        return self.home / "engines" / self.name


@pytest.fixture(scope="session")
def local_engine(copy_mlflow: Callable[[Path], None]) -> Iterator[LocalEngine]:
    """One engine of this machine for the whole session: 2 CPUs, 512 MiB, never suspends itself."""
    from rle.testing.engine import start_engine, stop_engine

    folder = Path(tempfile.mkdtemp(prefix="re", dir="/tmp"))
    copy_mlflow(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        record = start_engine(folder, "local", num_cpus=2, auto_suspend_mins=0)
    yield LocalEngine(folder, record)
    stop_engine(folder, record)
    shutil.rmtree(folder)


@pytest.fixture
def on_engine(
    _home: None, local_engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> LocalEngine:
    """The test's home is that of `local_engine`."""
    monkeypatch.setenv("RLE_HOME", str(local_engine.home))
    return local_engine


@pytest.fixture(autouse=True)
def _home(_no_variable_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run files of a test (snapshots, runs, MLflow) land in its own folder.

    Comes after the guard, so that what a test sets through `monkeypatch` is undone before it looks.
    """
    monkeypatch.setenv("RLE_HOME", str(tmp_path / "rle_home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(autouse=True)
def _no_thread_left(request: pytest.FixtureRequest) -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    if "ray_local" in request.fixturenames:
        return  # Ray's own threads come and go
    deadline = time.monotonic() + 5.0
    while (left := _strangers(before)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left, f"threads left behind: {left}"


def _strangers(before: set[threading.Thread]) -> list[str]:
    return [
        thread.name
        for thread in threading.enumerate()
        if thread not in before and not thread.name.startswith(LIBRARY_THREADS)
    ]


@pytest.fixture(autouse=True)
def _no_variable_left() -> Iterator[None]:
    before = dict(os.environ)
    yield
    changed = {
        name
        for name in before.keys() | os.environ.keys()
        if before.get(name) != os.environ.get(name) and not name.startswith(SET_BY_OTHERS)
    }
    assert not changed, f"environment variables left changed: {sorted(changed)}"


@pytest.fixture(autouse=True)
def _no_ray_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized() or request.config.stash.get(SESSION_RAY, False):
        return
    ray.shutdown()
    pytest.fail("a Ray session was left behind; use the ray_local fixture")
