"""Keeps secrets out of requests: they are kept on disks, copied to engines and shown to people."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rle.connectors.snowflake.secrets import HERE, is_kept_here, way_out
from rle.errors import ValidationError
from rle.runs.redact import has_known_secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.jobs.request import JobRequest

# The scheme is looked for last: a search that began with it would be quadratic in long words.
_URL_PASSWORD = re.compile(r"(?<=[A-Za-z0-9+.-])://[^/\s:@'\"]*:[^/\s'\"]+@")


def check_no_secrets(request: JobRequest) -> None:
    """Check that a request carries no password in a URL and no secret of this environment.

    Raises:
        ValidationError: It does, or it needs one that this process alone knows; names the fields,
            never the value.
    """
    text = request.to_json()
    if HERE in text:
        _refuse_kept(request.model_dump(mode="json"))
    if not _URL_PASSWORD.search(text) and not has_known_secret(text):
        return
    found = list(_secrets(request.model_dump(mode="json"), ""))
    if found:
        raise ValidationError(
            "The job's request would carry a secret, and requests are kept and shown. "
            + " ".join(found)
            + " Give the name of a variable, a profile or a file that the engine has instead."
        )


def _refuse_kept(value: Any) -> None:
    """Refuse a secret that was given as a value: the job would have only its made-up name."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(item, dict | list):
            _refuse_kept(item)
        elif is_kept_here(item):
            secret = str(key).removesuffix("_variable")
            raise ValidationError(
                f"The connector's {secret} was given as a value that no environment variable "
                f"holds, so a job cannot have it: secrets do not travel. {way_out(secret)}"
            )


def _secrets(value: Any, field: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets(key, f"a key of {field or 'the request'}")
            yield from _secrets(item, f"{field}.{key}" if field else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _secrets(item, f"{field}[{index}]")
    elif isinstance(value, str):
        if _URL_PASSWORD.search(value):
            yield f"{field} has a password in a URL."
        elif has_known_secret(value):
            yield f"{field} holds what a secret variable or file of this machine holds."
