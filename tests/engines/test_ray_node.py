"""What Ray's processes are started with, and which of them belong to an engine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from rle.engines import ray_node
from rle.engines.ray_host import NodeOptions
from rle.engines.ray_node import MARK, RayPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def plan(tmp_path) -> RayPlan:
    return RayPlan(
        engine_folder=tmp_path / "engines" / "mine",
        token_file=tmp_path / "engines" / "mine" / "token",
        ray_folder=tmp_path / "ray",
        gcs_port=40001,
        dashboard_port=40002,
        agent_port=40003,
        num_cpus=3,
        num_gpus=2,
        object_store_mb=100,
    )


def test_the_command_says_what_the_node_is_to_be(plan):
    head = NodeOptions.from_json(plan.command(is_head=True)[-1])
    assert head.is_head
    assert (head.gcs_port, head.dashboard_port, head.num_cpus, head.num_gpus) == (
        40001,
        40002,
        3,
        2,
    )
    worker = NodeOptions.from_json(plan.command(is_head=False)[-1])
    assert not worker.is_head
    assert (worker.gcs_port, worker.num_cpus, worker.num_gpus) == (40001, 3, 0)


def test_the_environment_names_the_tokens_file_and_holds_no_token(plan):
    found = plan.environment({"RAY_AUTH_TOKEN": "canary", "RAY_ADDRESS": "http://other", "A": "b"})
    assert found["A"] == "b"
    assert found["RAY_AUTH_MODE"] == "token"
    assert found["RAY_AUTH_TOKEN_PATH"] == str(plan.token_file)
    assert "RAY_AUTH_TOKEN" not in found
    assert "RAY_ADDRESS" not in found
    assert "canary" not in str(found)


def test_the_environment_leads_jobs_home_and_to_this_interpreter(plan, tmp_path):
    found = plan.environment({"PATH": "/usr/bin", "MLFLOW_TRACKING_URI": "http://tracking"})
    assert found["RLE_HOME"] == str(tmp_path)
    assert found["RLE_ENGINE_FOLDER"] == str(tmp_path / "engines" / "mine")
    assert found["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"
    assert found["MLFLOW_TRACKING_URI"] == "http://tracking"


def test_free_ports_differ_and_are_free():
    ports = ray_node.free_ports(20)
    assert len(set(ports)) == 20
    assert all(map(ray_node.is_free, ports))


def test_a_port_with_a_listener_is_not_free():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not ray_node.is_free(taken.getsockname()[1])
    assert not ray_node.is_free(70_000)


@pytest.fixture
def new_folder() -> Iterator[Callable[[str | None], Path]]:
    """`ray_folder`; what it makes is removed after the test."""
    made: list[Path] = []

    def make(known: str | None) -> Path:
        made.append(ray_node.ray_folder(known))
        return made[-1]

    yield make
    for folder in made:
        ray_node.remove_ray_folder(str(folder))
        assert not folder.parent.exists()


def test_rays_folder_is_short_and_closed_to_others(new_folder):
    folder = new_folder(None)
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    # The longest of the sockets that Ray makes in it; a Unix socket's path may have 107 bytes.
    session = "session_2026-11-22_02-04-23_984230_4194304/sockets/plasma_store.12"
    assert len(str(folder / session)) <= 107


def test_rays_folder_is_used_again_while_it_is_closed_to_others(new_folder, tmp_path):
    folder = new_folder(None)
    assert new_folder(str(folder)) == folder
    folder.parent.chmod(0o755)
    assert new_folder(str(folder)) != folder
    folder.parent.chmod(0o700)
    tmp_path.chmod(0o700)
    (tmp_path / "link").symlink_to(folder)
    assert new_folder(str(tmp_path / "link")) != tmp_path / "link"
    assert new_folder(str(tmp_path / "gone")) != tmp_path / "gone"


def test_of_earlier_sessions_the_newest_is_kept(new_folder):
    folder = new_folder(None)
    for day in (3, 1, 2):
        (folder / f"session_2026-11-0{day}" / "logs").mkdir(parents=True)
    (folder / "session_latest").symlink_to(folder / "session_2026-11-03")
    new_folder(str(folder))
    assert sorted(path.name for path in folder.iterdir()) == [
        "session_2026-11-03",
        "session_latest",
    ]


def test_what_is_left_of_an_engine_is_found_and_ended(tmp_path):
    mine = {**os.environ, MARK: str(tmp_path / "mine")}
    others = {**os.environ, MARK: str(tmp_path / "other")}
    sleep = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
    started = [
        subprocess.Popen(sleep, env=env, stdout=subprocess.PIPE) for env in (mine, mine, others)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()  # it runs, with its own variables
        found = ray_node.left_over(tmp_path / "mine", None)
        assert {process.pid for process in found} == {process.pid for process in started[:2]}
        ray_node.kill(found)
        assert [psutil.pid_exists(process.pid) for process in started] == [False, False, True]
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(("visible", "number"), [("", 0), ("-1", 0)])
def test_hidden_gpus_do_not_count(monkeypatch, visible, number):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert ray_node.num_gpus_here() == number
