"""Results that are kept under their query id, and how they are cut into chunks.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

import gzip
import hashlib
import hmac
import secrets
import threading
import time
from base64 import b64encode
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from snowflake_wire import json_chunk, number_types, to_arrow, to_json

if TYPE_CHECKING:
    import pyarrow as pa
    from snowflake_accounts import SnowflakeError
    from snowflake_session import Answer

MAX_KEPT = 500
MAX_BYTES = 2 * 2**30
_GOOGLE_HEADERS = "X-Goog-SignedHeaders=" + quote(
    "host;x-goog-if-generation-match;x-goog-meta-encryptiondata;x-goog-meta-matdesc;"
    "x-goog-meta-sfc-digest"
)
"""Driver 5 uploads to no address of Google's that does not say so."""
KEY_HEADER = "x-amz-server-side-encryption-customer-key"


@dataclass
class Cutting:
    """How results are sent."""

    rows_per_chunk: int = 100_000
    """A result of at most this many rows is inline; a larger one is followed by chunks."""
    first_rows: int = 1_000
    """Rows inline where there are chunks."""
    has_arrow: bool = True
    """False: everything is answered as JSON."""
    link_s: float = 6 * 3600.0
    """How long a chunk's address is good."""


@dataclass
class Query:
    """One statement that was sent, and what came of it."""

    id: str
    user: str
    sql: str
    tag: str = ""
    answer: Answer | None = None
    error: SnowflakeError | None = None
    cutting: Cutting = field(default_factory=Cutting)
    ended: threading.Event = field(default_factory=threading.Event)
    source: str = ""
    """Id under which the rows are kept: another one for RESULT_SCAN."""
    numbers: list[pa.DataType] | None = None
    """How its NUMBERs are sent; the same in every chunk."""
    session: dict[str, Any] = field(default_factory=dict)
    """What was current when it ended."""

    @property
    def status(self) -> str:
        """Status as the monitoring endpoint tells it."""
        if not self.ended.is_set():
            return "RUNNING"
        return "SUCCESS" if self.error is None else "FAILED_WITH_ERROR"

    def arrow(self, start: int, count: int) -> bytes:
        """Return a range of the rows as an Arrow stream."""
        assert self.answer is not None
        rows, types = self.answer.rows, self.answer.types
        if self.numbers is None:
            self.numbers = number_types(rows, types, is_wide=bool(self.source))
        return to_arrow(rows.slice(start, count), types, self.numbers)


class Results:
    """The latest queries, by id."""

    def __init__(self) -> None:
        self._queries: OrderedDict[str, Query] = OrderedDict()
        self._lock = threading.Lock()
        self._secret = secrets.token_bytes(32)
        self.key = secrets.token_urlsafe(24)
        """What a chunk's request must carry in its header, as the driver was told to."""

    def add(self, query: Query) -> None:
        """Keep a query; the oldest ones go when there are too many or too large ones."""
        with self._lock:
            self._queries[query.id] = query
            while len(self._queries) > MAX_KEPT or self._num_bytes() > MAX_BYTES:
                if len(self._queries) == 1:
                    break
                self._queries.popitem(last=False)

    def _num_bytes(self) -> int:
        return sum(q.answer.rows.nbytes for q in self._queries.values() if q.answer is not None)

    def find(self, query_id: str, user: str) -> Query | None:
        """Return a query of this user."""
        query = self._queries.get(query_id)
        return query if query is not None and query.user == user else None

    def all(self) -> list[Query]:
        """Return all that are kept, oldest first."""
        with self._lock:
            return list(self._queries.values())

    def data(self, query: Query, base: str) -> dict[str, Any]:
        """Return the `data` of the answer to a query that succeeded.

        Args:
            query: The query.
            base: Address of this server, for the chunks.
        """
        answer = query.answer
        assert answer is not None
        is_arrow = answer.is_query and query.cutting.has_arrow
        inline, chunks = _cuts(answer.rows.num_rows, query.cutting)
        if not answer.is_query:
            inline, chunks = answer.rows.num_rows, []
        rows = answer.rows.slice(0, inline)
        data: dict[str, Any] = {
            "parameters": [{"name": "TIMEZONE", "value": "UTC"}],
            "rowtype": [
                sf_type.rowtype(name)
                for name, sf_type in zip(answer.rows.column_names, answer.types, strict=True)
            ],
            "total": answer.rows.num_rows,
            "returned": answer.rows.num_rows,
            "queryId": query.id,
            "sqlState": "00000",
            "statementTypeId": answer.kind,
            "version": 1,
            "queryResultFormat": "arrow" if is_arrow else "json",
            **query.session,
        }
        if is_arrow:
            inside = query.arrow(0, inline) if inline else b""
            data["rowsetBase64"] = b64encode(inside).decode()
        else:
            data["rowset"] = to_json(rows, answer.types)
        if chunks:
            row_bytes = answer.rows.nbytes // max(answer.rows.num_rows, 1)
            data["chunkHeaders"] = {KEY_HEADER: self.key}
            data["chunks"] = [
                {
                    "url": self.link(base, query, number),
                    "rowCount": count,
                    "uncompressedSize": count * row_bytes,
                    "compressedSize": count * row_bytes // 3 + 1,
                }
                for number, (_, count) in enumerate(chunks)
            ]
        return data

    def link(self, base: str, query: Query, number: int) -> str:
        """Return the address of a chunk, good for a while for whoever has it and the key."""
        path = f"/results/{query.id}/{number}"
        ends = f"{time.time() + query.cutting.link_s:.3f}"
        return f"{base}{path}?expires={ends}&signature={self._sign(path, ends)}"

    def upload_link(self, base: str, target: str) -> str:
        """Return the address that a file of a stage is sent to."""
        path = f"/stages/{quote(target)}"
        ends = f"{time.time() + 3600:.3f}"
        signature = self._sign("/stages", ends)
        return f"{base}{path}?expires={ends}&signature={signature}&{_GOOGLE_HEADERS}"

    def check_link(self, path: str, ends: str, signature: str) -> bool:
        """Say whether an address is one of ours and still good."""
        if not hmac.compare_digest(self._sign(path, ends), signature):
            return False
        return time.time() < float(ends)

    def _sign(self, path: str, ends: str) -> str:
        return hmac.new(self._secret, f"{path}|{ends}".encode(), hashlib.sha256).hexdigest()

    def chunk(self, query_id: str, number: int) -> bytes | None:
        """Return a chunk, packed; None where it is no longer kept."""
        query = self._queries.get(query_id)
        if query is None or query.answer is None:
            return None
        _, chunks = _cuts(query.answer.rows.num_rows, query.cutting)
        if number >= len(chunks):
            return None
        start, count = chunks[number]
        if query.cutting.has_arrow:
            return gzip.compress(query.arrow(start, count), 1)
        return gzip.compress(
            json_chunk(query.answer.rows.slice(start, count), query.answer.types), 1
        )


def _cuts(num_rows: int, cutting: Cutting) -> tuple[int, list[tuple[int, int]]]:
    """Rows that are inline, and start and length of every chunk after them."""
    if num_rows <= cutting.rows_per_chunk:
        return num_rows, []
    inline = min(cutting.first_rows, num_rows)
    step = max(cutting.rows_per_chunk, 1)
    return inline, [(s, min(step, num_rows - s)) for s in range(inline, num_rows, step)]
