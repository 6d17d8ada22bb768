"""What a reading process holds open is closed when nothing is read any more, never while it is."""

from __future__ import annotations

import threading

import pytest

from rle.ingest import idle

PATIENCE_S = 30


class Counting:
    """Stands where a connector does."""

    def __init__(self):
        self.closed = threading.Event()
        self.is_read, self.was_cut = False, False

    def close(self):
        self.was_cut = self.was_cut or self.is_read
        self.closed.set()


@pytest.mark.parametrize("fails", [False, True])
def test_it_is_closed_soon_after_the_last_chunk(monkeypatch, fails):
    monkeypatch.setattr(idle, "IDLE_S", 0.01)
    connector = Counting()
    for _ in range(3):
        try:
            with idle.reading(connector):
                if fails:
                    raise KeyError
        except KeyError:
            pass
    assert connector.closed.wait(PATIENCE_S)


def test_it_is_not_closed_while_a_chunk_is_read(monkeypatch):
    monkeypatch.setattr(idle, "IDLE_S", 0.0)  # due at once, again and again
    connector = Counting()
    for _ in range(200):
        with idle.reading(connector):
            connector.is_read = True
            connector.is_read = False
    assert connector.closed.wait(PATIENCE_S)
    assert not connector.was_cut


def test_the_next_chunk_comes_before_a_close_that_is_due(monkeypatch):
    monkeypatch.setattr(idle, "IDLE_S", 1000.0)
    connector = Counting()
    with idle.reading(connector):
        pass
    waiting = idle._waiting
    with idle.reading(connector):
        waiting.join(PATIENCE_S)
        assert not waiting.is_alive()
    idle._waiting.cancel()
    assert not connector.closed.is_set()
