"""Training on 0, 1 or many workers: Ray Train around `rle.training.loop`.

The driver sends each worker a job as JSON; workers rebuild everything from it and the files it
names, and tell the driver through files in the job's folder (`relay`). A lost worker ends its
group; Ray Train starts a new one, which continues from the newest checkpoint there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import traceback
import uuid
from typing import TYPE_CHECKING

import torch

from rle.errors import TrainingError, ValidationError
from rle.ingest.ray_runtime import ensure_ray, joins_cluster
from rle.runs.clean_stream import clean_output
from rle.runs.events import EventLog, WarningEvent
from rle.runs.redact import redact
from rle.training.device import check_device, gpus_needed, gpus_per_worker
from rle.training.job import RESULT_FILE, TrainingResult, carry_out, job_from
from rle.training.ranks import Ranks
from rle.training.relay import STOP_CHECK_S, Relay

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray.train.torch import TorchTrainer

    from rle.runs.events import AnyEvent
    from rle.spec.config import TrainerConfig
    from rle.training.job import TrainingJob
    from rle.training.loop import OnEvent

COLLECTIVE_TIMEOUT_S = 120
"""How long a worker waits for the others in an exchange before it gives up."""
START_TIMEOUT_S = 300
"""How long Ray Train waits for a group of workers to start."""
GRACE_S = 2.0
"""How long a worker that is asked to stop has to finish its step; then it ends at once."""
STOP_TIMEOUT_S = 30.0
"""How long Ctrl-C waits for the workers to be gone."""
LEAVE_TIMEOUT_S = 2.0
"""How long SIGTERM or an exit waits for it; Ray ends the workers of a process that is gone."""
POLL_S = 0.2
"""How often the driver looks for new events."""
_START_TIMEOUT_VARIABLE = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"


def run_training(job: TrainingJob, *, on_event: OnEvent) -> TrainingResult:
    """Carry out `job` with as many workers as its config says; 0 is in this process, without Ray.

    The same job gives the same batches in the same order, and the same losses to rounding, on any
    number of workers. A job whose folder holds a checkpoint continues from it.

    Args:
        job: What to train.
        on_event: Called in this thread with every event, while training runs.

    Raises:
        DeviceError: The device asked for is not there; nothing was read.
        RLEError: What a worker raised, as it raised it.
        TrainingError: More workers were lost than `max_failures` allows.
        KeyboardInterrupt: Ctrl-C; the newest checkpoint stays, and nothing is half-written.
    """
    if job.config.num_workers == 0:
        device = check_device(job.config)
        _prepare(job, on_event)
        carry_out(job, Ranks(device=device), on_event=on_event)
    else:
        _run_on_ray(job, on_event)
    return TrainingResult.from_json((job.folder / RESULT_FILE).read_bytes())


def _prepare(job: TrainingJob, on_event: OnEvent) -> None:
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / RESULT_FILE).unlink(missing_ok=True)
    for remark in job.prepare():
        on_event(WarningEvent(message=remark))


def _run_on_ray(job: TrainingJob, on_event: OnEvent) -> None:
    _connect(job.config)
    _prepare(job, on_event)
    relay = Relay(job.folder)
    relay.clear()
    ray_folder = job.folder / "ray"
    raised: list[BaseException] = []
    with _variable(_START_TIMEOUT_VARIABLE, str(START_TIMEOUT_S)):
        trainer = _trainer(job, str(ray_folder))

        def fit() -> None:
            try:
                trainer.fit()
            except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
                raised.append(error)

        # On the main thread Ray Train would take over Ctrl-C and exit the process.
        thread = threading.Thread(target=fit, name="ray_train_fit", daemon=True)
        thread.start()
        _follow(thread, relay, on_event)
    shutil.rmtree(ray_folder, ignore_errors=True)
    failure = relay.failure()
    if failure is not None:
        raise failure
    if raised:
        raise _explained(job.config, raised[0]) from raised[0]


def _follow(thread: threading.Thread, relay: Relay, on_event: OnEvent) -> None:
    """Pass events on until training ends; whatever interrupts this stops the workers first."""
    try:
        while thread.is_alive():
            thread.join(POLL_S)
            for event in relay.new_events():
                on_event(event)
        for event in relay.new_events():
            on_event(event)
    except BaseException as stop:
        relay.ask_to_stop()
        thread.join(LEAVE_TIMEOUT_S if isinstance(stop, SystemExit) else STOP_TIMEOUT_S)
        raise


def _connect(config: TrainerConfig) -> None:
    """Connect to Ray, and know at once if the workers can never be placed."""
    import ray

    if not joins_cluster():
        check_device(config)  # quicker than starting a Ray to find out
    needed = config.num_workers * config.cpus_per_worker
    ensure_ray(num_cpus=needed, num_gpus=gpus_needed(config))
    there: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    check_device(config, cluster_gpus=there.get("GPU", 0.0))
    if needed > there.get("CPU", 0.0):
        raise ValidationError(
            f"{config.num_workers} workers of {config.cpus_per_worker:g} CPUs need {needed:g} "
            f"CPUs, but the Ray cluster has {there.get('CPU', 0.0):g}. Lower "
            f"TrainerConfig.num_workers or cpus_per_worker, or use a larger cluster."
        )


def _trainer(job: TrainingJob, storage: str) -> TorchTrainer:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from rle.training.meeting import MeetingConfig

    config = job.config
    on_gpu = config.device == "cuda"
    resources = {"CPU": config.cpus_per_worker}
    if on_gpu:
        resources["GPU"] = gpus_per_worker(config)
    return TorchTrainer(
        train_worker,
        train_loop_config={"job_class": job.import_path, "job": job.to_json()},
        torch_config=MeetingConfig(
            backend="nccl" if on_gpu else "gloo", timeout_s=COLLECTIVE_TIMEOUT_S
        ),
        scaling_config=ScalingConfig(
            num_workers=config.num_workers, use_gpu=on_gpu, resources_per_worker=resources
        ),
        run_config=RunConfig(
            # A name that was there before would make Ray Train continue that run.
            name=f"train-{uuid.uuid4().hex}",
            storage_path=storage,
            failure_config=FailureConfig(max_failures=config.max_failures),
        ),
    )


def train_worker(settings: dict[str, str]) -> None:
    """What each Ray Train worker runs."""
    import ray.train.torch

    job = job_from(settings["job_class"], settings["job"])
    relay = Relay(job.folder)
    if relay.must_stop or relay.failure() is not None:
        return  # the driver is leaving, or a restart would meet the same error again
    clean_output()
    torch.set_num_threads(max(int(job.config.cpus_per_worker), 1))
    ranks = Ranks.current(ray.train.torch.get_device())
    try:
        with contextlib.ExitStack() as stack:
            on_event = _silent
            if ranks.rank == 0:
                restarted = relay.has_events
                on_event = stack.enter_context(EventLog(relay.folder))
                if restarted:
                    message = "A training worker was lost; all were started again."
                    on_event(WarningEvent(message=message))
            stack.enter_context(_ends_when_asked(relay))
            carry_out(job, ranks, on_event=on_event, should_stop=relay.is_asked_to_stop)
    except KeyboardInterrupt:
        return  # the driver asked for it
    except Exception as error:
        # A RuntimeError is how torch tells that another worker is gone; a restart may help.
        if not isinstance(error, RuntimeError):
            relay.write_failure(error)
        if (clean := _without_secrets(error)) is not None:
            raise clean from None
        raise


def _without_secrets(error: Exception) -> Exception | None:
    """Return what Ray may log in an error's place, if it or what led to it tells a secret."""
    whole = "".join(traceback.format_exception(error))
    if (clean := redact(whole)) == whole:
        return None
    return (RuntimeError if isinstance(error, RuntimeError) else TrainingError)(clean)


@contextlib.contextmanager
def _ends_when_asked(relay: Relay) -> Iterator[None]:
    """End this process where the block goes on for `GRACE_S` after the driver's wish to stop.

    Whatever it is busy with: reading, a long step, waiting for another worker.
    """
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(STOP_CHECK_S):
            if relay.must_stop and not is_over.wait(GRACE_S):
                os._exit(0)

    thread = threading.Thread(target=watch, name="rle-stop", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _silent(event: AnyEvent) -> None:
    """Ranks other than 0 tell nothing."""


def _explained(config: TrainerConfig, error: BaseException) -> BaseException:
    """What an error of Ray Train means for the user; other errors stay as they are."""
    from ray.train import ControllerError, WorkerGroupError

    if isinstance(error, ControllerError):
        cause = error.controller_failure
        return TrainingError(
            f"The workers could not be started or kept running: {cause!s:.500} "
            f"See whether the cluster has room for {config.num_workers} workers."
        )
    if not isinstance(error, WorkerGroupError):
        return error
    survives = f"survives {config.max_failures}" if config.max_failures else "survives none"
    causes = [f"rank {r}: {_last_line(e)}" for r, e in sorted(error.worker_failures.items())]
    return TrainingError(
        f"Training lost a worker, and with TrainerConfig.max_failures={config.max_failures} it "
        f"{survives}. Raise max_failures to continue from the newest checkpoint; if memory ran "
        f"out, lower train_batch_size or num_workers. What the workers said: {'; '.join(causes)}"
    )


def _last_line(error: BaseException) -> str:
    """The line of an error's text that says most, where Ray wraps it in a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:300]


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable that is not set, for as long as the block runs."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
