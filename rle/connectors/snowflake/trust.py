"""Which authorities Snowflake's driver trusts: one variable for both generations of it."""

from __future__ import annotations

import os
from pathlib import Path

from rle.errors import ValidationError

VARIABLE = "REQUESTS_CA_BUNDLE"
"""Environment variable that names a PEM file with the authorities to trust in place of the usual
ones. Generation 4 of the driver looks for it by itself."""


def bundle() -> str | None:
    """Return the file of `REQUESTS_CA_BUNDLE`; None where it names none, or a folder.

    Raises:
        ValidationError: It is not there, or holds no certificate.
    """
    name = os.environ.get(VARIABLE)
    if not name or Path(name).is_dir():
        return None
    try:
        content = Path(name).read_bytes()
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
    else:
        problem = "" if b"-----BEGIN" in content else "holds no certificate"
    if problem:
        raise ValidationError(
            f"The environment variable {VARIABLE} names {name}, which {problem}. Set it to a "
            "PEM file with the authorities to trust, or unset it."
        )
    return name
