"""Says in words why a job failed, what that means and what to do; keeps what was said as it was.

`explain` is for an error that was caught, `explain_death` for a driver that ended without a word.
Both look the failure up in a table: see `rle.jobs.symptoms`, which tells how to add to it.
"""

from __future__ import annotations

import logging
import re
import signal
import traceback
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from rle.errors import RLEError, ValidationError
from rle.jobs.diagnosis import Case, Symptom
from rle.jobs.service_symptoms import MLFLOW, SNOWFLAKE
from rle.jobs.symptoms import CLUSTER, MEMORY, STORAGE, VERSIONS
from rle.runs.events import ErrorEvent
from rle.runs.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rle.spec.config import TrainerConfig

ENTRY_POINTS = "rle.symptoms"
"""Group in which packages name symptoms of their own."""
MESSAGE_LENGTH = 2000
"""Characters of what was said that `message` repeats; all of it is in `traceback`."""
TRACEBACK_LENGTH = 200_000
"""Characters of a traceback that are kept: its beginning and its end."""
LOG_LINES = 100
"""Lines of a dead driver's log that are kept in `traceback`."""
NEWEST_LINES = 20
"""Lines of it in which a symptom is looked for; older ones are of something else."""

_log = logging.getLogger(__name__)
_added: list[Symptom] = []
_EXCEPTION = re.compile(
    r"(?m)^(?P<error>(?:\w+\.)+_?[A-Z]\w*|_?[A-Z]\w*"
    r"(?:Error|Exception|Exit|Interrupt|Iteration|Group|Full|Lost|Timeout|Expired))"
    r"(?:: (?P<said>.*))?$"
)
_TRACEBACK = "Traceback (most recent call last):"
_RAY_LOG = re.compile(r",? last available logs \(truncated to [\d,]+ chars\):\n")
_EXIT_CODE = re.compile(r"failed with exit code (-?\d+)")


def add_symptom(symptom: Symptom) -> None:
    """Add a symptom to the table, for this process. Give it rank `BY_USER` to go before ours."""
    _added.append(symptom)


def known_symptoms() -> tuple[Symptom, ...]:
    """Return all symptoms: added ones, those of other packages, ours."""
    ours = (*MEMORY, *STORAGE, *CLUSTER, *VERSIONS, *MLFLOW, *SNOWFLAKE)
    return (*_added, *_of_others(), *ours)


def explain(error: BaseException | str, *, config: TrainerConfig | None = None) -> ErrorEvent:
    """Return what an error means and what helps. Never raises, and carries no secret.

    Args:
        error: What was raised, or the text of it: a traceback, or its last lines.
        config: Of the job, where it is known; its values are named beside the knobs.

    Returns:
        error: name of the class. message: what it means, with what was said; an error of ours
        says it already and is repeated as it is. advice: what to do; empty where no symptom fits.
        traceback: all that was said, causes included.
    """
    if isinstance(error, str):
        name, said, classes = _parse(error)
        return _event(name, said, [(classes, error)], error, config=config)
    links = [(_classes(link), _text(link)) for link in _chain(error)]
    whole = "".join(traceback.format_exception(error))
    is_ours = isinstance(error, RLEError)
    return _event(type(error).__name__, _said(error), links, whole, config=config, is_ours=is_ours)


def explain_death(
    ray_message: str,
    log_tail: str,
    exit_code: int | None,
    *,
    config: TrainerConfig | None = None,
) -> ErrorEvent:
    """Return why a driver that said nothing ended, as far as Ray, its log and its exit code tell.

    Args:
        ray_message: Ray's message of the job; what it repeats of the log is left out.
        log_tail: Last lines of the driver's log; "" where it cannot be read, then Ray's are taken.
        exit_code: Of the driver; None where Ray knows none.
        config: As in `explain`.
    """
    ray_said, repeated = _without_log(ray_message)
    if exit_code is None and (found := _EXIT_CODE.search(ray_said)):
        exit_code = int(found[1])
    lines = [
        line for line in (log_tail or repeated).splitlines() if not line.lstrip().startswith('{"')
    ]
    log = "\n".join(lines[-LOG_LINES:])
    name, said, classes = "DriverDied", ray_said, frozenset[str]()
    # Whom a signal ended had no time to say so: a traceback in its log is of something else.
    if _TRACEBACK in log and _signal(exit_code) is None:
        name, said, classes = _parse(log[log.rindex(_TRACEBACK) :])
    newest = "\n".join(lines[-NEWEST_LINES:])
    links = [(classes, said), (frozenset[str](), ray_said), (frozenset[str](), newest)]
    whole = "\n".join(part for part in (ray_said, log) if part)
    event = _event(name, said, links, whole, config=config)
    return event.model_copy(
        update={
            "message": f"{_ending(exit_code)} {event.message}".strip(),
            "advice": event.advice or _ADVICE.get(_signal(exit_code) or exit_code or 0, ""),
        }
    )


def _signal(exit_code: int | None) -> int | None:
    """Return the signal that ended a process: -9 is Python's way to say it, 137 a shell's."""
    if exit_code is None or 0 <= exit_code <= 128:
        return None
    return -exit_code if exit_code < 0 else exit_code - 128


_KILLED = (
    "Most often the kernel kills a process that takes the last memory: `dmesg` on the head says "
    "so. Take an engine with more memory, or lower TrainerConfig.num_workers, sampler_workers, "
    "train_batch_size or fanouts. Somebody may also have killed it; then submit again."
)
_ADVICE = {
    signal.SIGKILL.value: _KILLED,
    signal.SIGSEGV.value: "Compiled code crashed. Submit again; if it happens again, report it "
    "with the end of the log, and compare the packages of the engine with those of gnn-rle.",
    signal.SIGBUS.value: "Shared memory or a memory-mapped file could not be read: look for a "
    "full disk or /dev/shm (`df -h`) on the head.",
    signal.SIGABRT.value: "Compiled code gave up; the end of the log says why.",
    signal.SIGILL.value: "A package was built for another processor; install those of gnn-rle for "
    "this one.",
    127: "`python` is not found on the head: the environment that Ray was started in must have "
    "gnn-rle and come first on PATH.",
    126: "`python` cannot be run on the head; look at its permissions.",
}


def _ending(exit_code: int | None) -> str:
    """Return how the driver ended, in a sentence."""
    number = _signal(exit_code)
    if number is not None and number in set(signal.Signals):
        return f"The job's driver was ended by {signal.Signals(number).name}."
    code = "" if exit_code is None else f", with exit code {exit_code}"
    return f"The job's driver ended without a word{code}."


def _event(
    name: str,
    said: str,
    links: list[tuple[frozenset[str], str]],
    whole: str,
    *,
    config: TrainerConfig | None,
    is_ours: bool = False,
) -> ErrorEvent:
    message, advice = said, ""
    diagnosis = _diagnose(links)
    if diagnosis is not None:
        symptom, found = diagnosis
        case = Case(found, config)
        advice = symptom.advice if isinstance(symptom.advice, str) else symptom.advice(case)
        if not is_ours:
            line = _line(found)
            shown = "" if line in f"{name}: {said}" else f" ({line})"
            message = f"{symptom.means} {name}: {said}".removesuffix(": ") + shown
    return ErrorEvent(
        error=name,
        message=_shortened(redact(message), MESSAGE_LENGTH),
        advice=redact(advice),
        traceback=_shortened(redact(whole), TRACEBACK_LENGTH),
    )


def _diagnose(
    links: Iterable[tuple[frozenset[str], str]],
) -> tuple[Symptom, re.Match[str]] | None:
    """Return the symptom of the highest rank and where it shows; None where none does."""
    links = list(links)
    best: tuple[Symptom, re.Match[str]] | None = None
    for symptom in known_symptoms():
        if best is not None and symptom.rank <= best[0].rank:
            continue
        for classes, text in links:
            found = symptom.find(classes, text)
            if found is not None:
                best = symptom, found
                break
    return best


def _line(found: re.Match[str]) -> str:
    """Return the line in which a symptom shows."""
    first = found.string.rfind("\n", 0, found.start()) + 1
    return found.string[first:].partition("\n")[0].strip()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that led to it: causes, contexts, groups, and what Ray wraps."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        link = waiting.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        context = None if link.__suppress_context__ else link.__context__
        waiting += [link.__cause__, context, getattr(link, "cause", None)]
        waiting += getattr(link, "exceptions", ())
        # Ray Train's two.
        waiting.append(getattr(link, "controller_failure", None))
        failures = getattr(link, "worker_failures", None)
        waiting += failures.values() if isinstance(failures, dict) else ()


def _classes(error: BaseException) -> frozenset[str]:
    return frozenset(f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__)


def _text(error: BaseException) -> str:
    # What the user wrote is quoted there, and is no symptom of anything else.
    return "" if isinstance(error, ValidationError) else f"{type(error).__name__}: {_said(error)}"


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a class whose text fails must not hide that it was raised
        return "(its text cannot be read)"


def _parse(text: str) -> tuple[str, str, frozenset[str]]:
    """Return name and message of the last error in a text, and its full name as its classes."""
    found = None
    for found in _EXCEPTION.finditer(text):  # noqa: B007 - the last one counts
        pass
    if found is None:
        return "Error", text.strip(), frozenset()
    full = found["error"]
    said = text[found.start("said") :].strip() if found["said"] else ""
    classes = frozenset({full if "." in full else f"builtins.{full}"})
    return full.rpartition(".")[2], said, classes


def _without_log(ray_message: str) -> tuple[str, str]:
    """Return Ray's own words, and the end of the log that it repeats."""
    parts = _RAY_LOG.split(ray_message, maxsplit=1)
    return parts[0].strip(), parts[1] if len(parts) > 1 else ""


def _shortened(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    half = (length - 30) // 2
    return f"{text[:half]}\n... ({len(text) - 2 * half} characters) ...\n{text[-half:]}"


@cache
def _of_others() -> tuple[Symptom, ...]:
    found: list[Symptom] = []
    for point in entry_points(group=ENTRY_POINTS):
        try:
            loaded = point.load()
        except (ImportError, AttributeError) as error:
            # A broken package must not hide why a job failed.
            _log.warning("Symptoms of %s cannot be loaded: %s", point.value, error)
            continue
        several = (loaded,) if isinstance(loaded, Symptom) else tuple(loaded)
        found += [symptom for symptom in several if isinstance(symptom, Symptom)]
    return tuple(found)
