"""The two integers that stand for "no time"."""

from __future__ import annotations

import numpy as np

NULL_TIME = int(np.iinfo(np.int64).max)
"""The time of a row that has none: sorts last, so no bound ever reaches it."""
NULL_STAMP = int(np.iinfo(np.int64).min)
"""NULL in a datetime feature."""
