"""Turns blocks of bytes into blocks of whole lines."""

from __future__ import annotations

TAIL_BYTES = 4096


class WholeLines:
    """Cuts what comes in at line ends, from a byte on. The end of an unfinished line waits.

    Args:
        offset: Bytes that are left out at the beginning; a place between two lines.
    """

    def __init__(self, offset: int = 0) -> None:
        self._skip = offset
        self._rest: list[bytes] = []
        self.tail = b""
        """The last bytes that came in, at most `TAIL_BYTES`."""

    def add(self, block: bytes) -> bytes:
        """Return the lines that are whole now; b"" where none is."""
        self.tail = (self.tail + block[-TAIL_BYTES:])[-TAIL_BYTES:]
        if self._skip:
            skipped = min(self._skip, len(block))
            self._skip -= skipped
            block = block[skipped:]
        end = block.rfind(b"\n") + 1
        if not end:
            if block:
                self._rest.append(block)
            return b""
        lines = b"".join((*self._rest, block[:end]))
        self._rest = [block[end:]] if block[end:] else []
        return lines

    def rest(self) -> bytes:
        """Return the unfinished line, which nothing will follow."""
        rest, self._rest = b"".join(self._rest), []
        return rest
