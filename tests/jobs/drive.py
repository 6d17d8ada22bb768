"""A real driver whose work is what the tests say: run by `FakeHead` as a process of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from rle.jobs.driver import run
from rle.jobs.layout import engine_folder, jobs_folder
from rle.jobs.turn import max_running_jobs
from rle.runs.events import MetricEvent, ReportEvent, RunEvent
from tests.jobs.fake_ray import FakeRay


def work(request, folder, tell):
    """Do what the experiment's name says, and write down when it began and ended."""
    engine = engine_folder()
    do, *args = request.work.experiment_name.split()
    _trace(engine, "start", request.job_id)
    place = _free_place(engine)
    try:
        tell(MetricEvent(name="loss", value=1.0, step=1))
        ACTIONS[do](tell, engine, *args)
    finally:
        place.unlink()
        _trace(engine, "end", request.job_id)
    return {"did": do}


def _free_place(engine):
    """Return a file made by this job alone; fails where too many work at the same time."""
    places = [engine / f"working{n or ''}" for n in range(max_running_jobs(jobs_folder(engine)))]
    for place in places:
        with suppress(FileExistsError):
            os.close(os.open(place, os.O_CREAT | os.O_EXCL))
            return place
    raise RuntimeError(f"{len(places)} jobs work already")


def _sleep(tell, engine, seconds):
    time.sleep(float(seconds))


def _gate(tell, engine):
    """Work until the test says "go"."""
    while not (engine / "go").exists():
        time.sleep(0.02)


def _fail(tell, engine):
    raise MemoryError("it is all gone")


def _die(tell, engine):
    (engine / "working").unlink()
    os.kill(os.getpid(), signal.SIGKILL)


def _halt(tell, engine):
    (engine / "working").unlink()
    os.kill(os.getpid(), signal.SIGSTOP)


def _native(tell, engine):
    """Sit in native code that no signal gets out of."""
    tell(RunEvent(model_run_id="run-1", experiment_name="e"))
    (engine / "working").unlink()
    libc = ctypes.CDLL(None)
    # The main thread has SIGTERM blocked, so that only another thread can hear of it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    libc.pause()


def _child(tell, engine):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (engine / "child").write_text(str(child.pid))


def _chatter(tell, engine):
    while True:
        tell(ReportEvent(name="r", text="z" * 10_000))


def _exit(tell, engine, code):
    sys.exit(int(code))


def _run(tell, engine):
    tell(RunEvent(model_run_id="run-1", experiment_name="e"))
    time.sleep(600)


ACTIONS = {
    "sleep": _sleep,
    "gate": _gate,
    "fail": _fail,
    "die": _die,
    "halt": _halt,
    "native": _native,
    "child": _child,
    "chatter": _chatter,
    "exit": _exit,
    "run": _run,
}


def _trace(engine, *words):
    with (engine / "trace").open("a") as file:
        file.write(" ".join(words) + "\n")


def main(job_id, ray, breath_limit_s, environment, log):
    """Run one job as a process that Ray started would, with its output in `log`."""
    os.environ.update(environment)
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    code = run(
        job_id,
        api=FakeRay(ray),
        handlers={"materialize": work},
        breath_limit_s=breath_limit_s,
        poll_s=0.05,
    )
    sys.exit(code)
