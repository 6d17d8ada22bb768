from __future__ import annotations

import itertools
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from rle.engines.base import EngineAccess
from rle.engines.ray_api import AnswerLostError, JobExistsError, RayApi
from rle.engines.ray_http import is_loopback, sensible_line
from rle.errors import ConnectionError, JobManagerError, ValidationError
from rle.runs.job_status import JobStatus
from tests.engines.dashboard import HEAD, TOKEN, WORKER, Answer, Dashboard

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = "3f2c9b1e-5a74-4d0c-9a53-0d9c1f6e2b7a"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Dashboard]:
    with Dashboard(tmp_path / "logs") as dashboard:
        yield dashboard


@pytest.fixture
def api(board: Dashboard) -> Iterator[RayApi]:
    with RayApi(board.access, timeout_s=1.0) as api:
        yield api


def submit(api: RayApi, *, package: bytes | None = b"zip") -> None:
    api.submit(JOB, entrypoint="run it", package=package, metadata={"rle_job": "1"}, env_vars={})


def api_at(address: str, token: str | None = TOKEN) -> RayApi:
    secret = None if token is None else SecretStr(token)
    return RayApi(EngineAccess(name="far", address=address, token=secret), timeout_s=0.3)


def test_a_job_is_submitted_with_its_package_which_is_uploaded_once(api, board):
    submit(api)
    asked = board.jobs[JOB]["asked"]
    assert asked["entrypoint"] == "run it"
    assert asked["metadata"] == {"rle_job": "1"}
    ((name, content),) = board.packages.items()
    assert (asked["runtime_env"]["working_dir"], content) == (f"gcs://{name}", b"zip")
    board.jobs.clear()
    submit(api)
    assert sum(line.startswith("PUT") for line in board.asked) == 1


def test_the_token_goes_with_every_request_and_is_shown_nowhere(api, board):
    submit(api)
    api.jobs()
    assert set(board.sent_on) == {f"Bearer {TOKEN}"}
    assert TOKEN not in repr(api) + str(vars(api))
    assert not any(TOKEN in line for line in board.asked)


def test_an_id_that_is_taken_is_an_error_of_its_own(api):
    submit(api)
    with pytest.raises(JobExistsError, match=JOB) as caught:
        submit(api)
    assert isinstance(caught.value, JobManagerError)
    assert caught.value.code == "job_exists"


def test_what_ray_says_of_a_job_is_told_in_our_words(api, board):
    board.add_job(
        JOB, "SUCCEEDED", start_time=1_700_000_000_123, job_id="01000000", driver_exit_code=0
    )
    job = api.job(JOB)
    assert (job.status, job.ray_status) == (JobStatus.COMPLETED, "SUCCEEDED")
    assert job.submitted_at.isoformat() == "2023-11-14T22:13:20.123000+00:00"
    assert (job.ray_job_id, job.exit_code, job.is_rle) == ("01000000", 0, True)
    assert api.job(JOB.replace("3", "4")) is None


def test_drivers_that_nobody_submitted_are_not_listed(api, board):
    board.add_job(JOB)
    board.jobs["driver"] = {"type": "DRIVER", "submission_id": None, "status": "RUNNING"}
    assert [job.submission_id for job in api.jobs()] == [JOB]


def test_stopping_says_whether_there_was_something_to_stop(api, board):
    board.add_job(JOB)
    assert [api.stop(JOB), api.stop(JOB), api.stop("no-such-job")] == [True, False, False]


def test_nodes_are_told_with_head_and_life(api):
    nodes = {node.id: node for node in api.nodes()}
    assert nodes[HEAD].is_head
    assert not nodes[WORKER].is_head
    assert [node.is_alive for node in nodes.values()].count(False) == 1
    assert nodes[WORKER].resources == {"CPU": 2.0}


def test_a_file_of_the_head_is_read_whole_or_by_its_last_lines(api, board):
    (board.logs / "a ü&=b.log").write_text("one\ntwo\nthree\n")
    (board.logs / "empty").touch()
    assert api.read_file("a ü&=b.log") == b"one\ntwo\nthree\n"
    assert api.read_file("a ü&=b.log", lines=1) == b"three\n"
    assert api.read_file("empty") == b""
    assert api.read_file("missing") is None


def test_files_of_another_node_are_found_by_pattern(api, board):
    (board.logs / WORKER).mkdir()
    (board.logs / WORKER / "worker-1-01000000-7.out").write_text("hello\n")
    assert api.files("worker-*-01000000-*", node=WORKER) == ["worker-1-01000000-7.out"]
    assert api.read_file("worker-1-01000000-7.out", node=WORKER) == b"hello\n"


def test_a_head_that_was_restarted_is_found_again(api, board):
    (board.logs / "log").write_text("x")
    api.read_file("log")
    board.head = "99" * 28
    assert api.read_file("log") == b"x"


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a\nb", "a\\b", "x" * 2000, "a\0"]
)
def test_a_name_that_is_no_log_file_is_refused_before_it_is_sent(api, board, name):
    with pytest.raises(ValidationError):
        api.read_file(name)
    with pytest.raises(ValidationError):
        next(iter(api.follow_file(name)))
    with pytest.raises(ValidationError):
        api.files(name, node=HEAD)
    assert board.asked == []


@pytest.mark.parametrize("job_id", ["", "a/b", "../x", "a b", "a?b", "-x", "x" * 200, None, 5])
def test_an_id_that_is_none_is_refused_before_it_is_sent(api, board, job_id):
    for ask in (api.job, api.stop):
        with pytest.raises(ValidationError):
            ask(job_id)
    assert board.asked == []


@pytest.mark.parametrize("node", ["", "10.0.0.1", "../..", "AB" * 28])
def test_a_node_that_is_no_id_is_refused(api, node):
    with pytest.raises(ValidationError, match="hexadecimal"):
        api.read_file("x", node=node)


def test_following_a_file_gives_what_is_added_and_looks_up_when_nothing_is(api, board):
    log = board.logs / "log.txt"
    blocks = api.follow_file("log.txt", idle_s=0.05)
    assert next(blocks) == b""
    log.write_bytes(b"one\n")
    assert _next_text(blocks) == b"one\n"
    assert next(blocks) == b""
    with log.open("ab") as file:
        file.write(b"two\n")
    assert _next_text(blocks) == b"two\n"
    before = threading.active_count()
    blocks.close()
    assert threading.active_count() < before


def _next_text(blocks: Iterator[bytes]) -> bytes:
    return next(filter(None, blocks))


def test_a_stream_is_left_while_more_comes_than_is_read(api, board):
    with (board.logs / "log.txt").open("wb") as file:
        file.truncate(30 * 2**20)
    before = threading.active_count()
    blocks = api.follow_file("log.txt", idle_s=0.05)
    assert set(_next_text(blocks)) == {0}
    blocks.close()
    assert threading.active_count() <= before + 1  # the dashboard's own


def test_silence_longer_than_the_timeout_does_not_end_a_stream(board):
    (board.logs / "log.txt").write_bytes(b"one\n")
    with RayApi(board.access, timeout_s=0.2) as api:
        blocks = api.follow_file("log.txt", idle_s=0.1)
        assert _next_text(blocks) == b"one\n"
        assert list(itertools.islice(blocks, 6)) == [b""] * 6
        with (board.logs / "log.txt").open("ab") as file:
            file.write(b"two\n")
        assert _next_text(blocks) == b"two\n"
        blocks.close()


def test_a_stream_that_is_cut_raises_after_all_that_came(api, board):
    (board.logs / "log.txt").write_bytes(b"0123456789" * 10)
    board.cut_streams_after = 70
    blocks = api.follow_file("log.txt", idle_s=0.05)
    assert _next_text(blocks) == (b"0123456789" * 7)
    with pytest.raises(ConnectionError, match=r"'far' at .* cut the connection"):
        list(blocks)


def test_a_head_that_dies_while_a_file_is_followed_is_noticed(api, board):
    (board.logs / "log.txt").write_bytes(b"x\n")
    blocks = api.follow_file("log.txt", idle_s=0.05)
    assert _next_text(blocks) == b"x\n"
    board.stop()
    with pytest.raises(ConnectionError):
        list(blocks)


def test_no_token_and_a_wrong_one_are_told_apart_and_not_shown(board):
    with api_at(board.address, None) as api, pytest.raises(ConnectionError, match="none is set"):
        api.version()
    refused = r"refused the token \(HTTP 403\)"
    with (
        api_at(board.address, "wrong-canary") as api,
        pytest.raises(ConnectionError, match=refused) as caught,
    ):
        submit(api)
    assert "wrong-canary" not in str(caught.value)
    assert board.jobs == {}


def test_an_address_that_does_not_answer_is_named_with_the_time(board):
    board.fail("GET /api/version", Answer(delay_s=5))
    says = r"'far' at http://127.*no answer within 0\.3 s"
    with api_at(board.address) as api, pytest.raises(ConnectionError, match=says):
        api.version()


def test_a_port_where_nothing_listens_refuses(board):
    board.stop()
    with api_at(board.address) as api, pytest.raises(ConnectionError, match="nothing listens"):
        submit(api)


def test_a_lost_answer_is_told_from_a_refusal(api, board):
    for fault in (Answer(is_cut=True), Answer(500, "No available agent"), Answer(delay_s=3)):
        board.fail("POST /api/jobs/", fault)
        with pytest.raises(AnswerLostError):
            submit(api)
    board.fail("POST /api/jobs/", Answer(400, "bad entrypoint"))
    with pytest.raises(ConnectionError, match="HTTP 400: bad entrypoint") as caught:
        submit(api)
    assert not isinstance(caught.value, AnswerLostError)


def test_a_kept_connection_that_was_closed_is_opened_again(api, board):
    board.fail("GET /api/version", Answer(is_cut=True))
    assert api.version() == "2.60.0"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(200, "<html>hello</html>", "text/html"), "Is it the URL of a Ray dashboard"),
        (Answer(200, "[1, 2", "application/json"), "HTTP 200 with application/json"),
        (Answer(200, "[1, 2]", "application/json"), "which Ray's dashboard does not"),
        (Answer(200, '{"status": "ODD", "submission_id": "x"}'), "which Ray's dashboard does not"),
        (Answer(404, "<html>nginx</html>", "text/html"), "HTTP 404 with text/html"),
        (Answer(502, "<html>bad gateway</html>", "text/html"), "HTTP 502: a web page"),
        (Answer(500, "Traceback (most recent call last):\n  x\nKeyError: 'y'"), "KeyError: 'y'"),
        (Answer(500), "HTTP 500: nothing more"),
    ],
)
def test_an_answer_that_is_none_of_rays_is_said_in_words(api, board, answer, says):
    board.fail(f"GET /api/jobs/{JOB}", answer)
    with pytest.raises(ConnectionError, match="Engine 'far' at") as caught:
        api.job(JOB)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_server_that_sends_the_token_back_does_not_bring_it_into_an_error(api, board):
    echo = f"Authorization: Bearer {TOKEN}"
    board.fail("GET /api/version", Answer(500, echo))
    with pytest.raises(ConnectionError, match=r"Bearer \*\*\*") as caught:
        api.version()
    assert TOKEN not in repr(caught.value) + str(vars(caught.value))


def test_a_redirect_is_not_followed(api, board, tmp_path):
    with Dashboard(tmp_path / "other") as other:
        there = {"Location": f"{other.address}/api/version"}
        board.fail("GET /api/version", Answer(302, headers=there))
        with pytest.raises(ConnectionError, match="redirects to"):
            api.version()
        assert other.asked == []


@pytest.mark.parametrize(
    "address", ["", "nowhere", "ftp://x", "http://", "http://x:port", "http://u:canary@x:80"]
)
def test_an_address_that_is_none_is_refused_when_it_is_opened(address):
    with pytest.raises(ConnectionError) as caught:
        api_at(address)
    assert "canary" not in str(caught.value)


def test_proxies_and_netrc_of_the_environment_are_not_used_on_loopback(
    board, tmp_path, monkeypatch
):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with RayApi(board.access) as api:
        assert api.version() == "2.60.0"
    assert board.sent_on == [f"Bearer {TOKEN}"]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_an_https_address_is_trusted_by_its_authority_alone(board, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    make = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    also = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run(["openssl", *make.split(), *also], check=True, capture_output=True)
    (board.logs / "log.txt").write_bytes(b"one\n")
    address = board.with_tls(certificate, key)
    with api_at(address) as api, pytest.raises(ConnectionError, match="cannot be trusted"):
        api.version()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with api_at(address) as api:
        assert api.version() == "2.60.0"
        blocks = api.follow_file("log.txt", idle_s=0.05)
        assert _next_text(blocks) == b"one\n"
        assert next(blocks) == b""
        blocks.close()


def test_what_is_loopback():
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost"]))
    assert not any(map(is_loopback, ["10.0.0.1", "example.com", "localhost.example.com"]))


def test_the_line_of_an_error_page_that_says_most():
    assert sensible_line("first\nsecond") == "first"
    trace = "x\nTraceback (most recent call last):\n  a\nE: last\n"
    assert sensible_line(trace) == sensible_line(f"{trace}.\n") == "E: last"
    assert len(sensible_line("x" * 10_000)) < 400
