"""What runs in different places is compared before it matters."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rle.errors import JobHandlerError
from rle.jobs import versions
from rle.jobs.request import JobRequest, MaterializeWork, Versions, new_job_id
from rle.jobs.versions import check_nodes, check_versions, read_request

if TYPE_CHECKING:
    from collections.abc import Mapping


def _request(*, has_code: bool = False, **changes: str | None) -> JobRequest:
    work = MaterializeWork(source_job_id=new_job_id(), experiment_name="shop/binary/churn")
    return JobRequest(
        job_id=new_job_id(),
        work=work,
        versions=Versions.here().replace(**changes),
        has_code=has_code,
    )


def test_the_same_versions_are_silent() -> None:
    assert check_versions(_request()) == []
    assert check_versions(_request(ray=None)) == []


def test_another_package_is_refused_with_both_versions_and_the_way_out() -> None:
    with pytest.raises(JobHandlerError) as caught:
        check_versions(_request(rle="9.8.7"))
    assert caught.value.code == "version"
    for part in ("9.8.7", Versions.here().rle, "upload_code=True", "gnn-rle=="):
        assert part in str(caught.value)


def test_code_that_was_sent_along_must_be_what_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    request = _request(has_code=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JobHandlerError, match="runs instead") as caught:
        check_versions(request)
    assert caught.value.code == "version"
    monkeypatch.chdir(Path(versions.__file__).parents[2])
    assert check_versions(request) == []


def test_another_python_or_ray_is_a_warning() -> None:
    (python,) = check_versions(_request(python="3.99"))
    assert "3.99" in python
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in python
    (ray,) = check_versions(_request(ray="2.49.1"))
    assert "2.49.1" in ray
    here = Versions.here().ray
    assert here is not None
    assert check_versions(_request(ray=here.rpartition(".")[0] + ".99")) == []


def test_a_request_is_read_as_it_was_written() -> None:
    request = _request()
    assert read_request(request.to_json()) == request


def _changed(changes: Mapping[str, Any]) -> str:
    return json.dumps(json.loads(_request().to_json()) | dict(changes))


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        (_changed({"format": 2}), "version", "format 2"),
        (_changed({"format": "x" * 999}), "version", "format"),
        (_changed({"work": {"kind": "tune"}}), "version", "kind 'tune'"),
        (_changed({"versions": {"rle": "9.9", "python": "3.11", "ray": None}, "new": 1}),
         "version", "9.9"),
        (_changed({"new": 1}), "request", "new"),
        (_changed({"job_id": "../../etc"}), "request", "no job id"),
        (_changed({"versions": 7}), "request", "versions"),
        (_changed({"work": 7}), "request", "work"),
        ("{", "request", "no JSON"),
        ("[]", "request", "no JSON object"),
        ("", "request", "no JSON"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_read_is_refused_in_words(text: str, code: str, says: str) -> None:
    with pytest.raises(JobHandlerError) as caught:
        read_request(text)
    assert caught.value.code == code
    assert says in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_nodes_that_differ_are_all_named() -> None:
    ours = Versions.here().rle
    versions._check_same({"10.0.0.1": ours})
    with pytest.raises(JobHandlerError) as caught:
        versions._check_same({"10.0.0.1": ours, "10.0.0.2": "0.0.9", "10.0.0.3": None})
    assert caught.value.code == "version"
    assert "10.0.0.2 has 0.0.9, 10.0.0.3 has none" in str(caught.value)
    assert ours in str(caught.value)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_local")
def test_one_node_is_not_asked() -> None:
    assert check_nodes() == []


@pytest.mark.cluster
@pytest.mark.ray
@pytest.mark.usefixtures("_own_ray")
def test_a_node_with_another_package_is_found_and_named(tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    (tmp_path / "rle").mkdir()
    (tmp_path / "rle" / "__init__.py").touch()
    (tmp_path / "rle" / "version.py").write_text('VERSION = "0.0.9"\n')
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(**node)
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        assert check_nodes() == []
        (late,) = check_nodes(timeout_s=0.0)
        assert "did not say within 0 s" in late
        cluster.add_node(**node, env_vars={"PYTHONPATH": str(tmp_path)})
        cluster.wait_for_nodes()
        with pytest.raises(JobHandlerError, match=r"\) has 0\.0\.9\.") as caught:
            check_nodes()
        assert caught.value.code == "version"
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def _own_ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What Ray's workers load comes from their own path, not from this process's folder."""
    monkeypatch.chdir(tmp_path.parent)
    monkeypatch.setenv("PYTHONBREAKPOINT", "0")  # Ray sets it, and leaves it
    root = str(Path(versions.__file__).parents[2])
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in (root, "")])
