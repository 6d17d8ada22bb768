"""A job's real driver whose work is to print: `python -m benchmarks.chatty_driver JOB_ID`.

Everything but the work is the engine's own: the queue, the log, the events, the state. How many
lines is in the variable CHATTY_LINES; with 0 it waits until it is canceled.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from rle.jobs import driver, work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rle.jobs.request import JobRequest
    from rle.runs.events import AnyEvent

LINE = "step {} of a program that says a lot: loss 0.123456, rows read 123456789, all is well\n"
LINES_PER_WRITE = 100


def chat(request: JobRequest, folder: Path, tell: Callable[[AnyEvent], None]) -> dict[str, int]:
    """Print as many lines as asked for, as fast as they are taken."""
    num_lines = int(os.environ["CHATTY_LINES"])
    for start in range(0, num_lines, LINES_PER_WRITE):
        sys.stdout.write("".join(LINE.format(start + i) for i in range(LINES_PER_WRITE)))
        sys.stdout.flush()
    while not num_lines:
        time.sleep(0.1)
    return {"lines": num_lines}


if __name__ == "__main__":
    work.HANDLERS["train"] = "benchmarks.chatty_driver:chat"
    driver.main()
