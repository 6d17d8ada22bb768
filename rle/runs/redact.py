"""Takes secrets out of whatever leaves a process: logs, events, errors, MLflow, answers.

Two nets, one behind the other. Values that are known to be secret, wherever they stand: those of
environment variables and files whose names say so, and those given to `hide`. And what looks like
a secret to anybody: passwords in addresses, private keys, bearer and session tokens, and what
follows "password=".
"""

from __future__ import annotations

import json
import os
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rle.runs.events import AnyEvent

MARK = "***"
"""What stands where a secret stood."""
MIN_LENGTH = 6
"""Characters of a value that is looked for; anything shorter is in half of all words."""
MIN_LINE = 16
"""Characters of one line of a secret of several lines, such as a key, that is looked for alone."""
MAX_FILE = 16 * 1024
"""Bytes of a file that can be a token or a key; larger ones are not read."""
RAY_AUTH = "~/.ray/auth_token"
"""File that Ray takes a token from where no variable names another."""

# MAX_TOKENS and TOKENIZERS_PARALLELISM are no secrets, and neither are a mode, a path or a name.
_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|PASSCODE|SECRET|CREDENTIAL|TOKEN(?![A-Z])|KEY$|_PWD$|_KEY_B64$",
    re.IGNORECASE,
)
_PLAIN_NAME = re.compile(
    r"_(MODE|TYPE|NAME|ID|URL|URI|HOST|DIR|TTL|LIFETIME|EXPIRY|COUNT)$", re.IGNORECASE
)
_FILE_NAME = re.compile(r"_(PATH|FILE)$", re.IGNORECASE)

_WORD = (
    r"(?:password|passwd|passphrase|passcode|secret|token|credentials?|pwd"
    r"|(?:api|access|account|private|secret|signing|encryption)[_-]?key)"
)
_ENDS_IN_WORD = re.compile(rf"{_WORD}$", re.IGNORECASE)
_NO_VALUE = r"(?!\*\*\*|(?:none|null|true|false)\b|self\.|os\.|SecretStr\(|TokenSource\()"
_PAIRS = re.compile(
    rf"""
    (?P<before>{_WORD}\\*["']?\s*(?P<by>=>|[:=])\s*)
    (?:
        (?P<escaped>\\+["'])(?!\*\*\*)(?:(?!(?P=escaped)).)+?(?P=escaped)
      | (?P<quoted>["'])(?!\*\*\*|(?P=quoted))(?:\\.|(?!(?P=quoted))[^\\\n])+(?:(?P=quoted)|$)
      | (?P<bare>{_NO_VALUE}(?![{{[(<])[^\s"'\\,;&)\]}}>]+)
    )
    """,
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_USER_INFO = re.compile(r"""(?<=//)[^/\s"'<>?#|]*@""")
# A header of at most so much: without an end, what is full of beginnings would take minutes.
_JWT = re.compile(r"\beyJ[\w-]{8,4096}+\.[\w-]{8,}(?:\.[\w-]*)?")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----"
    r"(?:(?:(?!-----)[\s\S]){0,20000}-----END [A-Z0-9 ]*PRIVATE KEY-----"
    r"|(?:(?:\s|\\[nr])+[A-Za-z0-9+/=]{16,})+)"
)
_HEADER = re.compile(
    r"""(authorization\\*["']?\s*[:=]\s*(?:b?\\*["'])?)(?!\*\*\*)"""
    r"""(?:(?:bearer|basic|negotiate|snowflake\ token=\\*["']?)\s*)?[^\s"'\\,;}]+""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s+)(?=[^\s\d]*\d)[\w.~+/=-]{8,}", re.IGNORECASE)
_SNOWFLAKE = re.compile(r"ver:\d+-hint:\d+-[\w+/=-]+")
_SIGNED = re.compile(
    r"([?&](?:x-amz-[a-z-]+|x-goog-[a-z-]+|signature|sig)=)[^&\s\"']+", re.IGNORECASE
)
_VENDORS = re.compile(r"\b(?:gh[pousr]_|hf_|dapi)\w{30,}\b")

# What a pattern cannot do without, in small letters, is looked for first: that is much quicker.
_NETS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("@", _USER_INFO, f"{MARK}@"),
    ("private key-----", _PRIVATE_KEY, MARK),
    ("authorization", _HEADER, rf"\1{MARK}"),
    ("bearer", _BEARER, rf"\1{MARK}"),
    ("eyj", _JWT, MARK),
    ("-hint:", _SNOWFLAKE, MARK),
    ("=", _SIGNED, rf"\1{MARK}"),
    ("_", _VENDORS, MARK),
    ("dapi", _VENDORS, MARK),
)
_WORDS = ("pass", "secret", "token", "credential", "key", "pwd")

_hidden: set[str] = set()


def hide(value: str) -> None:
    """Take `value` out of everything from now on, in this process.

    For a secret that no environment variable holds: a password typed in, a token read from a file.
    One of fewer than `MIN_LENGTH` characters is not looked for.
    """
    _hidden.add(value)


def redact(text: str) -> str:
    """Return `text` with `***` in place of each secret in it; what has none comes back as it is.

    Doing it twice changes nothing more. Costs about 50 us, and 20 us per line of a longer text.
    """
    return _clean(text, _known_values())


def has_known_secret(text: str) -> bool:
    """Whether a value that is known to be secret stands in `text`."""
    return any(value in text for value in _known_values())


def _clean(text: str, known: tuple[str, ...]) -> str:
    for value in known:
        if value in text:
            text = text.replace(value, MARK)
    folded = text.lower()
    for needle, pattern, clean in _NETS:
        if needle in folded:
            text = pattern.sub(clean, text)
    if any(word in folded for word in _WORDS):
        text = _PAIRS.sub(_without_value, text)
    return text


def redacted_event(event: AnyEvent) -> AnyEvent:
    """Return the event with every text in it redacted; the same object where nothing was secret."""
    known = _known_values()
    changes: dict[str, Any] = {}
    for name in type(event).model_fields:
        value = getattr(event, name)
        if isinstance(value, str | dict) and (clean := _clean_json(value, known)) != value:
            changes[name] = clean
    return event.model_copy(update=changes) if changes else event


def redacted_json(value: Any) -> Any:
    """Return texts, lists and dicts with every text in them redacted; other values as they are.

    A text under a key that says "password" or the like goes whatever it is.
    """
    return _clean_json(value, _known_values())


def _clean_json(value: Any, known: tuple[str, ...]) -> Any:
    if type(value) is str:
        return _clean(value, known)
    if isinstance(value, dict):
        return {
            key: MARK
            if type(item) is str and item and _ENDS_IN_WORD.search(key)
            else _clean_json(item, known)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(_clean_json(item, known) for item in value)
    return value


def _without_value(found: re.Match[str]) -> str:
    bare = found["bare"]
    # In a sentence, what follows a colon is the sentence: "wrong token: give another". What no
    # word looks like, letters and digits of some length, is taken for a secret.
    is_sentence = bare and found["by"] == ":" and not re.search(r"[\"']\s*:", found["before"])
    if is_sentence and not (len(bare) >= MIN_LENGTH and re.search(r"\d", bare)):
        return found[0]
    mark = found["escaped"] or found["quoted"] or ""
    return f"{found['before']}{mark}{MARK}{mark}"


def _known_values() -> tuple[str, ...]:
    """Return what is looked for: longest first, so that no part of a longer one is left over."""
    values, addresses = list(_hidden), []
    files = [os.path.expanduser(RAY_AUTH)]
    for name in os.environ:
        value = os.environ.get(name, "")  # another thread may just have taken it away
        is_secret, is_file = _kind(name)
        if is_secret:
            values.append(value)
        if is_file:
            files.append(value)
        if "@" in value:
            addresses.append(value)
    return _forms_of(tuple(values), tuple(addresses), tuple(_stamps(files)))


@cache
def _kind(name: str) -> tuple[bool, bool]:
    """Return whether a variable of this name holds a secret, and whether it names a file of one."""
    kind, is_file = _FILE_NAME.subn("", name)
    is_secret = bool(_SECRET_NAME.search(kind)) and not _PLAIN_NAME.search(kind)
    return is_secret and not is_file, is_secret and bool(is_file)


def _stamps(files: Iterable[str]) -> Iterator[tuple[str, int, int]]:
    for file in files:
        try:
            found = os.stat(file)
        except (OSError, ValueError):
            continue
        yield file, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=64)
def _read(file: str, changed_at: int, size: int) -> str:
    """Return a small text file's content; empty where it is none. A changed file is read again."""
    if size > MAX_FILE or not Path(file).is_file():
        return ""
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


@lru_cache(maxsize=8)
def _forms_of(
    values: tuple[str, ...], addresses: tuple[str, ...], files: tuple[tuple[str, int, int], ...]
) -> tuple[str, ...]:
    secrets = [value.strip() for value in (*values, *(_read(*file) for file in files))]
    for text in (*secrets, *addresses):
        secrets.extend(_passwords(text))
    lines = {line for secret in secrets for line in _lines(secret)}
    forms = {form for line in lines for form in _forms(line)}
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def _passwords(address: str) -> Iterator[str]:
    """Yield what may be the password in an address: some write @ and / into it as they are."""
    for found in re.finditer(r"//[^:/@\s]*:(.+)@", address):
        yield found[1]
        yield found[1].partition("@")[0]


def _lines(secret: str) -> Iterator[str]:
    if len(secret) < MIN_LENGTH or not secret.strip("*"):
        return
    yield secret
    if "\n" in secret:
        lines = (line.strip() for line in secret.splitlines())
        yield from (line for line in lines if len(line) >= MIN_LINE and line[:5] != "-----")


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it stands in plain text, in JSON, in a repr and in an address."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    yield quote(secret, safe="")
    yield quote_plus(secret)
    if len(unquote(secret)) >= MIN_LENGTH:
        yield unquote(secret)
