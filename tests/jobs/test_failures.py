"""Failures as the software really words them lead to their cause and to what helps."""

from __future__ import annotations

import builtins
import os
import re
import shlex
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import rle.errors
from rle.connectors.duckdb import DuckDBConnector
from rle.errors import ConnectionError, DataError, PermissionError, StorageError
from rle.jobs import failures
from rle.jobs.diagnosis import BY_USER, PREDICT_KNOBS, Case, Symptom
from rle.jobs.failures import add_symptom, explain, explain_death, known_symptoms
from rle.runs.events import parse_event
from rle.spec.config import TrainerConfig
from rle.spec.predict_request import PredictRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _raised(action: Callable[[], Any]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - whatever it is
        action()
    return caught.value


NODE_OOM = """ray.exceptions.OutOfMemoryError: Memory on the node (IP: 10.0.0.7, ID: \
c2a1f0) where the task (actor ID: 5e, name=RayTrainWorker.__init__, pid=511, memory used=22.61GB) \
was running was 30.39GB / 32.00GB (0.949612), which exceeds the memory usage threshold of 0.95. \
Ray killed this worker (ID: 77) because it was the most recently scheduled task; to see more \
information about memory usage on this node, use `ray logs raylet.out -ip 10.0.0.7`.
Task was killed due to the node running low on memory.
Refer to the documentation on how to address the out of memory issue. To adjust the kill \
threshold, set the environment variable `RAY_memory_usage_threshold` when starting Ray."""
CUDA_OOM = """torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.44 GiB. GPU 0 has a \
total capacity of 15.77 GiB of which 1.12 GiB is free. Including non-PyTorch memory, this process \
has 14.64 GiB memory in use. If reserved but unallocated memory is large try setting \
PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."""
LOST_NODE = """ray.exceptions.NodeDiedError: Task failed because the node it was running on is \
dead or unavailable. Node IP: 10.0.0.8, node ID: 2f9b. This can happen if the node was preempted, \
had a hardware failure, or its raylet crashed unexpectedly."""
ACTOR_DIED = """ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this \
task.
\tclass_name: RayTrainWorker
\tactor_id: 7a3e
\tpid: 4711
\tnamespace: 6b1d
\tip: 10.0.0.9
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit \
detail: Worker unexpectedly exits with a connection error code 2. End of file. Some common causes \
include: (1) the process was killed by the OOM killer due to high memory usage, (2) ray stop \
--force was called, or (3) the worker crashed unexpectedly due to SIGSEGV or another unexpected \
error."""
GLOO = """RuntimeError: [../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by \
peer [10.0.0.9]:34567"""
GLOO_LATE = """RuntimeError: [../third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:81] Timed \
out waiting 1800000ms for recv operation to complete"""
NCCL = """torch.distributed.DistBackendError: [Rank 1] Watchdog caught collective operation \
timeout: WorkNCCL(SeqNum=1580, OpType=ALLREDUCE, NumelIn=466119168, NumelOut=466119168, \
Timeout(ms)=600000) ran for 600060 milliseconds before timing out."""
SNOW = "snowflake.connector.errors."
GRANT_SCHEMA = SNOW + (
    "ProgrammingError: 003001 (42501): 01b2c3d4-0000: SQL access control error:\n"
    "Insufficient privileges to operate on schema 'PUBLIC'"
)
GRANT_TABLE = SNOW + (
    "ProgrammingError: 003001 (42501): 01b2c3d4-0000: SQL access control error:\n"
    "Insufficient privileges to operate on table 'ORDERS'"
)
UNSEEN = SNOW + (
    "ProgrammingError: 002003 (42S02): 01b2c3d4-0000: SQL compilation error:\n"
    "Object 'SHOP.PUBLIC.ORDERS' does not exist or not authorized."
)
UNSEEN_SCHEMA = SNOW + (
    "ProgrammingError: 002003 (02000): 01b2: SQL compilation error:\n"
    "Schema 'SHOP.\"my Sales\"' does not exist or not authorized."
)
PASSWORD = SNOW + (
    "DatabaseError: 250001 (08001): None: Failed to connect to DB: "
    "ab12345.snowflakecomputing.com:443. Incorrect username or password was specified."
)
KEY_PAIR = SNOW + (
    "DatabaseError: 250001 (08001): None: 390144 (08001): Failed to connect to DB: "
    "ab12345.snowflakecomputing.com:443. JWT token is invalid. [0f3c-11]"
)
EXPIRED = SNOW + (
    "ProgrammingError: 390114 (08001): Authentication token has expired.  The user must "
    "authenticate again."
)
REVOKED = SNOW + (
    "DatabaseError: 250001 (08001): 394400 (08001): Programmatic access token is invalid."
)
WAREHOUSE = SNOW + (
    "ProgrammingError: 000606 (57P03): No active warehouse selected in the current session.  "
    "Select an active warehouse with the 'use warehouse' command."
)
POLICY = SNOW + (
    "DatabaseError: 250001 (08001): None: Failed to connect to DB: x.snowflakecomputing.com:443. "
    "Incoming request with IP/Token 203.0.113.9 is not allowed to access Snowflake. Contact your "
    "account administrator."
)
START = """ray.train.v2._internal.exceptions.WorkerGroupStartupTimeoutError: The worker group \
startup timed out after 30.0 seconds waiting for 4 workers. Potential causes include: (1) \
temporary insufficient cluster resources while waiting for autoscaling (ignore this warning \
in this case), (2) infeasible resource request where the provided `ScalingConfig` cannot be \
satisfied), and (3) transient network issues."""
MISMATCH = """RuntimeError: Version mismatch: The cluster was started with:
    Ray: 2.60.0
    Python: 3.11.7
This process on node 10.0.0.9 was started with:
    Ray: 2.55.1
    Python: 3.11.7"""
STORE = """ray.exceptions.ObjectStoreFullError: Failed to put object 00ff in object store because \
it is full. Object size is 104857643 bytes.
The local object store is full of objects that are still in scope and cannot be evicted. Tip: Use \
the `ray memory` command to list active objects in the cluster."""
GCS = """RuntimeError: Failed to connect to GCS. Please check if the GCS server is running or if \
this node can connect to the head node."""


@pytest.mark.parametrize(
    ("text", "means", "helps"),
    [
        (NODE_OOM, "ran low on memory", "TrainerConfig.num_workers"),
        (CUDA_OOM, "GPU ran out of memory", "TrainerConfig.train_batch_size"),
        ("RuntimeError: CUDA error: out of memory", "GPU ran out of memory", "fanouts"),
        (LOST_NODE, "node of the cluster is gone", "max_failures"),
        (ACTOR_DIED, "worker process died", "dmesg"),
        (GLOO, "lost touch", "GLOO_SOCKET_IFNAME"),
        (GLOO_LATE, "lost touch", "GLOO_SOCKET_IFNAME"),
        (NCCL, "lost touch", "NCCL_SOCKET_IFNAME"),
        (GRANT_SCHEMA, "may not do this", "GRANT USAGE ON SCHEMA PUBLIC TO ROLE"),
        (GRANT_TABLE, "may not do this", "GRANT SELECT ON TABLE ORDERS TO ROLE <role>;"),
        (UNSEEN, "may not see it", "GRANT SELECT ON TABLE SHOP.PUBLIC.ORDERS TO ROLE <role>;"),
        (UNSEEN_SCHEMA, "may not see it", 'GRANT USAGE ON SCHEMA SHOP."my Sales" TO ROLE <role>;'),
        (PASSWORD, "user name or the password", "where the engine"),
        (KEY_PAIR, "refuses the signed key", "RSA_PUBLIC_KEY"),
        (EXPIRED, "ended the session", "signs in anew"),
        (REVOKED, "refuses the token", "Get a new one"),
        (WAREHOUSE, "no warehouse", "ON WAREHOUSE"),
        (POLICY, "network policy", "CURRENT_IP_ADDRESS"),
        (START, "has not the CPUs", "TrainerConfig.num_workers"),
        (MISMATCH, "same versions", "on every node"),
        (STORE, "object store", "object_store_mb"),
        (GCS, "head of the cluster", "rle engine status"),
        ("ModuleNotFoundError: No module named 'rle.jobs'", "not the one", "upload_code"),
        ("ModuleNotFoundError: No module named 'lightgbm'", "package", "install lightgbm"),
        ("OSError: [Errno 24] Too many open files: '/x'", "open more files", "ulimit"),
        ("sqlite3.OperationalError: database or disk is full", "disk is full", "df -h"),
    ],
)  # fmt: skip
def test_a_text_as_the_software_words_it(text: str, means: str, helps: str) -> None:
    whole = f'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    g()\n{text}\n'
    event = explain(whole)
    assert event.error == re.match(r"[\w.]+", text)[0].rpartition(".")[2]  # type: ignore[index]
    assert means in event.message
    assert helps in event.advice
    assert event.traceback == whole


def _full_disk() -> None:
    with open("/dev/full", "w", buffering=1) as file:
        file.write("x\n")


def test_errors_that_really_happen(tmp_path: Path) -> None:
    no_memory = explain(_raised(lambda: np.ones(1 << 45)))
    assert (no_memory.error, "not enough memory" in no_memory.message) == ("MemoryError", True)
    assert "num_workers" in no_memory.advice
    assert "num_workers" in explain(_raised(lambda: bytearray(1 << 60))).advice
    no_room = explain(_raised(_full_disk))
    assert "disk is full" in no_room.message
    assert "No space left on device" in no_room.message
    assert "RLE_HOME" in no_room.advice
    locked = tmp_path / "a.duckdb"
    script = f"import duckdb, os; c = duckdb.connect({str(locked)!r}); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        import duckdb

        event = explain(_raised(lambda: duckdb.connect(str(locked))))
        assert f"End process {holder.pid}" in event.advice
        holder.communicate(b"\n")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_closed_paths_that_really_are(tmp_path: Path) -> None:
    closed = tmp_path / "it's closed.duckdb"
    closed.write_text("")
    closed.chmod(0o600)
    become = "import duckdb, os; os.setgroups([]); os.setuid(65534); "
    for action in (f"open({str(closed)!r})", f"duckdb.connect({str(closed)!r})"):
        done = subprocess.run(
            [sys.executable, "-c", become + action], capture_output=True, text=True, check=False
        )
        event = explain(done.stderr)
        assert "closed to the user" in event.message
        assert f"chmod u+rw {shlex.quote(str(closed))} for a file" in event.advice


def test_an_mlflow_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    from rle.runs.tracking import Tracker

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = "http://joe:tiger7tiger@127.0.0.1:9"
    error = _raised(lambda: Tracker("a/b/c", params={}, tags={}, uri=uri))
    event = explain(error)
    assert isinstance(error, ConnectionError)
    assert event.message == str(error)
    assert "MLFLOW_TRACKING_URI" in event.advice
    assert "tiger7" not in event.to_json()


def test_an_mlflow_server_that_refuses() -> None:
    text = (
        "mlflow.exceptions.MlflowException: API request to endpoint "
        "/api/2.0/mlflow/experiments/search failed with error code 401 != 200. Response body: "
        "'You are not authenticated. Please see https://www.mlflow.org/docs/latest/auth'"
    )
    assert "MLFLOW_TRACKING_PASSWORD" in explain(text).advice


@pytest.mark.parametrize(
    "error",
    [
        ValueError("the table memory has no column gpu"),
        ValueError("out of memory of man"),
        KeyError("disk"),
        RuntimeError("permission denied to enter twice"),
        TypeError("token must be a str"),
        DataError("Column 'note' has the value 'CUDA out of memory. Tried to allocate 2 GiB'."),
        DataError("Column 'note' has the value \"[Errno 28] No space left on device\"."),
        ZeroDivisionError("division by zero"),
    ],
)
def test_what_only_sounds_like_a_symptom_gets_no_advice(error: Exception) -> None:
    event = explain(error)
    assert (event.error, event.message, event.advice) == (type(error).__name__, str(error), "")


def test_an_error_of_ours_keeps_its_words_and_gains_advice() -> None:
    text = "Table 'A.B.C' cannot be read: Object 'A.B.C' does not exist or not authorized."
    event = explain(PermissionError(text))
    assert event.message == text
    assert "GRANT SELECT ON TABLE A.B.C" in event.advice
    event = explain(PermissionError("/data/a b/x.parquet is not readable by this user."))
    assert "chmod u+rw '/data/a b/x.parquet'" in event.advice
    assert explain(StorageError("Writing x failed: no idea.")).advice == ""


def test_the_cause_is_found_and_everything_that_was_said_is_kept() -> None:
    def fail() -> None:
        try:
            _full_disk()
        except OSError as error:
            raise RuntimeError("cannot go on") from error

    event = explain(_raised(fail))
    assert event.error == "RuntimeError"
    assert "disk is full" in event.message
    assert "cannot go on" in event.message
    assert "No space left on device" in event.message
    for part in ("_full_disk", "OSError: [Errno 28]", "direct cause", "RuntimeError: cannot go on"):
        assert part in event.traceback


def test_what_ray_train_wraps_is_found() -> None:
    from ray.train import WorkerGroupError

    wrapped = WorkerGroupError("rank 1 failed", {1: MemoryError()})
    assert "num_workers" in explain(wrapped).advice


def test_a_group_of_errors_is_looked_through() -> None:
    assert "df -h" in explain(ExceptionGroup("two", [ValueError("x"), _raised(_full_disk)])).advice


def test_values_of_the_config_stand_beside_the_knobs(tmp_path: Path) -> None:
    config = TrainerConfig(
        connector=DuckDBConnector(database=tmp_path / "x.duckdb"),
        device="cpu", n_epochs=1, train_batch_size=512, fanouts=(64, 8),
    )  # fmt: skip
    advice = explain(CUDA_OOM, config=config).advice
    assert "TrainerConfig.train_batch_size (now 512)" in advice
    assert "TrainerConfig.fanouts (now [64, 8])" in advice


def test_all_advice_can_be_given_and_names_knobs_that_exist() -> None:
    named: set[str] = set()

    class Names(Case):
        def knobs(self, *names: str) -> str:
            named.update(names)
            return ""

    for symptom in known_symptoms():
        if callable(symptom.advice):
            groups = symptom.compiled.groupindex
            stand_in = re.compile("|".join(f"(?P<{name}>x)" for name in groups) or "x")
            match = stand_in.search("x" * 9)
            if "kind" not in groups:
                symptom.advice(Names(match))  # type: ignore[arg-type]
    knobs = set(TrainerConfig.model_fields) | set(PREDICT_KNOBS)
    assert named
    assert named <= knobs
    assert "test_batch_size" in str(PredictRequest.model_json_schema())


def test_classes_in_the_table_exist() -> None:
    import ray.exceptions

    from rle.connectors.snowflake.driver import load

    snowflake = load()
    for symptom in known_symptoms():
        for full in symptom.classes:
            module, _, name = full.rpartition(".")
            place = {
                "builtins": builtins,
                "rle.errors": rle.errors,
                "ray.exceptions": ray.exceptions,
                "snowflake.connector.errors": snowflake.errors,
            }
            assert issubclass(getattr(place[module], name), BaseException)


def test_no_secret_in_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", "tiger7tiger")
    assert "tiger7" not in explain(ValueError("login with tiger7tiger failed")).to_json()
    dead = explain_death("said tiger7tiger", "password=hunter2\ntiger7tiger", 1)
    assert "tiger7" not in dead.to_json()
    assert "hunter2" not in dead.to_json()


def test_an_error_whose_text_cannot_be_read_is_still_told() -> None:
    class SilentError(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    assert explain(SilentError()).error == "SilentError"


def test_a_huge_text_is_shortened() -> None:
    event = explain(ValueError("x" * 10**6))
    assert len(event.message) <= failures.MESSAGE_LENGTH
    assert len(event.traceback) <= failures.TRACEBACK_LENGTH


RAY_SAID = """Job entrypoint command failed with exit code {}, last available logs \
(truncated to 20,000 chars):
"""


@pytest.mark.parametrize("code", [-9, 137])
def test_a_killed_driver(code: int) -> None:
    log = '{"type":"progress","stage":"train","step":1,"num_steps":2}\nlast words\n'
    event = explain_death(RAY_SAID.format(code) + log, log, code)
    assert "SIGKILL" in event.message
    assert "last words" not in event.message
    assert event.traceback.count("last words") == 1
    assert "progress" not in event.traceback
    assert "dmesg" in event.advice


def test_a_driver_that_the_memory_monitor_killed() -> None:
    event = explain_death(RAY_SAID.format(-9) + "x\n", f"starting\n{NODE_OOM}\n", -9)
    assert "ran low on memory" in event.message


@pytest.mark.parametrize(
    ("code", "means"),
    [(-signal.SIGSEGV, "SIGSEGV"), (128 + signal.SIGBUS, "SIGBUS"), (127, "exit code 127"),
     (None, "without a word"), (3, "exit code 3"), (-signal.SIGTERM, "SIGTERM")],
)  # fmt: skip
def test_how_a_driver_ended(code: int | None, means: str) -> None:
    assert means in explain_death("", "", code).message


def test_a_driver_that_left_a_traceback() -> None:
    log = (
        "starting\nTraceback (most recent call last):\n"
        '  File "x.py", line 1, in <module>\n    import rle.jobs.driver\n'
        "ModuleNotFoundError: No module named 'rle'\n"
    )
    event = explain_death(RAY_SAID.format(1) + log, "", 1)
    assert event.error == "ModuleNotFoundError"
    assert "upload_code" in event.advice
    assert event.traceback.count("ModuleNotFoundError") == 1


def test_a_traceback_that_was_survived_is_not_why_a_signal_ended_the_driver() -> None:
    log = "Traceback (most recent call last):\nKeyError: 'x'\n" + "going on\n" * 30
    assert explain_death("", log, -9).error == "DriverDied"


@pytest.mark.parametrize(
    ("said", "helps"),
    [
        ("Job supervisor actor failed to start within 900.0 seconds.", "Cancel what"),
        ("Job supervisor actor could not be scheduled: The actor is not schedulable: x", "less"),
        ("runtime_env setup failed: Failed to set up runtime environment.", "df -h"),
        (f"Job supervisor actor died: {ACTOR_DIED.partition(' ')[2]}", "dmesg"),
    ],
)
def test_what_ray_says_of_a_driver_that_never_ran(said: str, helps: str) -> None:
    event = explain_death(said, "", None)
    assert said[:40] in event.message
    assert helps in event.advice


def test_symptoms_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "_added", [])
    mine = Symptom(
        "our_gpu", means="Our GPU.", advice="Ask Ann.", pattern="CUDA out of memory", rank=BY_USER
    )
    add_symptom(mine)
    assert explain(CUDA_OOM).advice == "Ask Ann."


def test_packages_can_add_symptoms_and_a_broken_one_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    points = [
        EntryPoint("mine", "tests_of_symptoms:SYMPTOMS", failures.ENTRY_POINTS),
        EntryPoint("gone", "no_such_module:X", failures.ENTRY_POINTS),
    ]
    module = type(sys)("tests_of_symptoms")
    module.SYMPTOMS = (Symptom("quota", means="Our quota.", advice="Ask Bob.", pattern="QUOTA-7"),)
    monkeypatch.setitem(sys.modules, "tests_of_symptoms", module)
    monkeypatch.setattr(failures, "entry_points", lambda group: points)
    failures._of_others.cache_clear()
    try:
        assert explain(RuntimeError("QUOTA-7 reached")).advice == "Ask Bob."
        assert "no_such_module" in caplog.text
    finally:
        failures._of_others.cache_clear()


def test_a_symptom_that_would_match_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="every error"):
        Symptom("all", means="x", advice="y")


def test_what_is_explained_is_an_event() -> None:
    event = explain(ValueError("x"))
    assert parse_event(event.to_json()) == event
