"""No id or file name from outside becomes a path, an address or part of a shell line unchecked."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rle.cli.app import app
from rle.engines.base import EngineAccess
from rle.engines.ray_api import RayApi
from rle.engines.record import check_engine_name
from rle.errors import JobHandlerError, RLEError, ValidationError
from rle.jobs.layout import job_folder, served_name
from rle.jobs.request import (
    JobRequest,
    MaterializeWork,
    Versions,
    check_job_id,
    new_job_id,
)
from rle.jobs.submission import entrypoint, metadata
from rle.jobs.versions import read_request
from rle.sdk.manager import JobManager
from rle.sdk.monitor import JobMonitor

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = "3f2c9b1e-5a74-4d0c-9a53-0d9c1f6e2b7a"
BAD_IDS: list[Any] = [
    "", ".", "..", "../x", f"../{GOOD}", f"{GOOD}/..", f"{GOOD}/../../etc/passwd", f"/{GOOD}",
    f"{GOOD} ", f" {GOOD}", f"{GOOD}\n", f"{GOOD}\0", f"{GOOD};reboot", f"$({GOOD})", f"`{GOOD}`",
    f"'{GOOD}'", f'"{GOOD}"', f"{GOOD}?x=1", f"{GOOD}#", f"{GOOD}%2e%2e", GOOD.upper(), GOOD[:-1],
    GOOD + "0", GOOD.replace("-", ""), "\uff13" + GOOD[1:], "é",
    "\u202e" + GOOD, "x" * 10**6, "-rf", "--help", "*", "C:\\x", None, 7, b"x", ["x"], Path(GOOD),
]  # fmt: skip
NASTY = st.one_of(
    st.sampled_from(BAD_IDS),
    st.text(),
    st.text("./\\ '\"\n\0;$`é-0123456789abcdef").map(lambda text: GOOD + text),
    st.text("./\\ '\"\n\0;$`é-0123456789abcdef").map(lambda text: text + GOOD),
)
NOWHERE = EngineAccess("nowhere", "http://127.0.0.1:9", token=None)
"""Nothing listens there: a ConnectionError would show that an address was made."""


def _layout(job_id: Any) -> list[Callable[[], object]]:
    return [
        lambda: check_job_id(job_id),
        lambda: job_folder(Path("/x"), job_id),
        lambda: served_name(job_id, "log.txt"),
        lambda: MaterializeWork(source_job_id=job_id, experiment_name="a/b/c"),
    ]


@given(NASTY)
def test_what_is_no_job_id_makes_no_path(job_id: Any) -> None:
    for action in _layout(job_id):
        if job_id == GOOD:
            action()
            continue
        with pytest.raises(ValidationError) as caught:
            action()
        assert len(str(caught.value)) < 500


@given(st.uuids().map(str))
def test_a_job_id_is_one_part_of_a_path_and_one_word_of_a_shell(job_id: str) -> None:
    assert job_folder(Path("/x"), job_id).parent == Path("/x")
    assert served_name(job_id, "log.txt").count("/") == 2
    assert shlex.split(f"x {job_id}") == ["x", job_id]


@given(st.sampled_from([text for text in BAD_IDS if isinstance(text, str) and len(text) < 999]))
def test_an_address_is_made_of_no_path(job_id: str) -> None:
    with RayApi(NOWHERE, timeout_s=0.2) as api:
        plain = job_id.replace("-", "").isalnum() and job_id.isascii() and job_id[:1] != "-"
        for action in (lambda: api.job(job_id), lambda: api.stop(job_id)):
            with pytest.raises(ValidationError if not plain else RLEError):
                action()


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../x", "rle/../../x", "rle//x", "rle/./x", "a\nb", "a\0b", "rle\\..\\x",
     "**", "x" * 2000, "rle/", "\u202ex"],
)  # fmt: skip
def test_a_file_that_is_asked_for_lies_below_the_logs(name: str) -> None:
    node = "0" * 56
    with RayApi(NOWHERE, timeout_s=0.2) as api:
        with pytest.raises(ValidationError):
            api.read_file(name, node=node)
        with pytest.raises(ValidationError):
            next(api.follow_file(name, node=node))


@pytest.mark.parametrize("node", ["", "..", "0" * 200, "x y", "head", "0123456789;"])
def test_a_node_that_is_asked_is_a_number(node: str) -> None:
    with RayApi(NOWHERE, timeout_s=0.2) as api:
        for action in (
            lambda: api.read_file("x", node=node),
            lambda: api.files("worker-*", node=node),
            lambda: next(api.follow_file("x", node=node)),
        ):
            with pytest.raises(ValidationError):
                action()


@pytest.mark.parametrize("job_id", [text for text in BAD_IDS if text != "x" * 10**6])
def test_the_sdk_refuses_what_is_no_job_id(job_id: Any) -> None:
    with pytest.raises(RLEError):
        JobMonitor.from_id(job_id)
    with pytest.raises(RLEError):
        JobManager().fetch_job(job_id)


@pytest.mark.parametrize(
    "job_id", [text for text in BAD_IDS if isinstance(text, str) and len(text) < 999]
)
@pytest.mark.parametrize("command", ["show", "logs", "cancel"])
def test_the_command_line_refuses_what_is_no_job_id(command: str, job_id: str) -> None:
    done = CliRunner().invoke(app, ["jobs", command, "--", job_id])
    assert done.exit_code == 2
    assert not done.exception or isinstance(done.exception, SystemExit)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a b", "a'b", 'a"b', "a/b", "../a", "a\n", "a\0", "1a", "-a", "é", "a;b", "$a",
     "a" * 64, None, 7],
)  # fmt: skip
def test_an_engine_has_a_plain_name(name: Any) -> None:
    with pytest.raises(ValidationError):
        check_engine_name(name)


@given(st.text(max_size=50), st.text(max_size=50))
def test_what_users_name_is_in_no_command_line(experiment: str, user: str) -> None:
    work = MaterializeWork(source_job_id=new_job_id(), experiment_name=experiment)
    request = JobRequest(job_id=new_job_id(), work=work, versions=Versions.here(), created_by=user)
    assert entrypoint(request) == f"python -m rle.jobs.driver {request.job_id}"
    assert all(isinstance(value, str) for value in metadata(request).values())
    assert read_request(request.to_json()) == request


def test_ray_is_told_no_more_than_it_takes() -> None:
    work = MaterializeWork(source_job_id=new_job_id(), experiment_name="x" * 5 * 2**20)
    request = JobRequest(
        job_id=new_job_id(), work=work, versions=Versions.here(), created_by="y" * 10**6
    )
    assert sum(map(len, metadata(request).values())) < 10_000


@given(st.one_of(st.text(), st.binary(), st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner)
    | st.dictionaries(st.sampled_from(["format", "job_id", "work", "kind", "versions"]), inner),
).map(str)))  # fmt: skip
def test_no_request_breaks_the_reader(text: str | bytes) -> None:
    with pytest.raises(JobHandlerError):
        read_request(text)
