"""How workers meet, without Ray; several machines are two addresses of loopback."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from rle.training.meeting import Place

# Linux gives a machine all of 127.0.0.0/8.
FIRST = "127.0.0.2"


def meet(place: Place, rank: int) -> dict:
    """Join the other, exchange a number, leave, and return what was seen."""
    import torch
    import torch.distributed as dist

    from rle.training import meeting

    meeting.join(place, rank, 2, "gloo", 60)
    total = torch.tensor([rank + 1.0])
    dist.all_reduce(total)
    listens = [
        connection.laddr.ip
        for connection in psutil.Process().net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    dist.barrier()
    meeting.leave()
    return {"total": total.item(), "listens": sorted(listens)}


def run_rank(rank: int, folder: Path) -> None:
    """Meet on one machine, then on several; what it saw goes to a file."""
    from rle.training import meeting

    os.environ["GLOO_SOCKET_IFNAME"] = "nowhere7"
    notes = [meet(meeting.Place(FIRST, str(folder)), rank)]
    told = folder / "port"
    if rank == 0:
        place = meeting.serve(meeting.Place(FIRST, str(folder / "none")))
        told.with_suffix(".part").write_text(str(place.port))
        told.with_suffix(".part").rename(told)
    else:
        while not told.exists():
            time.sleep(0.05)
        place = meeting.Place(FIRST, str(folder / "none"), int(told.read_text()))
    notes.append(meet(place, rank))
    (folder / f"rank{rank}.json").write_text(json.dumps(notes))


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict]]:
    folder = tmp_path_factory.mktemp("meeting")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=run_rank, args=(rank, folder)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(180)
    assert [worker.exitcode for worker in workers] == [0, 0]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


def test_workers_of_one_machine_listen_on_loopback_whatever_interface_was_named(notes):
    for note in (notes[0][0], notes[1][0]):
        assert note == {"total": 3.0, "listens": ["127.0.0.1"]}  # gloo's; there is no server


def test_workers_of_several_machines_meet_at_the_address_of_the_first_one_alone(notes):
    assert notes[0][1] == {"total": 3.0, "listens": ["127.0.0.1", FIRST]}
    assert notes[1][1] == {"total": 3.0, "listens": ["127.0.0.1"]}
