"""What Snowflake and its driver say when something fails, what it means and what helps."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rle.connectors.snowflake import remedies
from rle.errors import (
    ConnectionError,
    DataError,
    NotSeenError,
    OutputExistsError,
    PermissionError,
    RLEError,
    StorageError,
    ValidationError,
)

if TYPE_CHECKING:
    from rle.connectors.snowflake.remedies import Where

Advice = str | Callable[[re.Match[str], "Where"], str]


@dataclass(frozen=True, slots=True)
class Failure:
    """One cause of failure: how it shows, what it means, what to do."""

    name: str
    """Short and stable, such as "privilege"."""
    means: str
    """What happened, in a sentence or two."""
    advice: Advice
    """What to do: a setting to turn, a statement to run."""
    pattern: str
    """Regular expression, looked for anywhere in what was said, its code before it."""
    error: type[RLEError] = ConnectionError
    """What is raised."""
    rank: int = 0
    """Of several that fit, the highest counts."""
    is_expired: bool = False
    """Whether signing in again, with what is in the variable or the file now, may help."""
    is_vague: bool = False
    """Whether other software says the like, so that it counts from Snowflake's driver alone."""
    is_passing: bool = False
    """Whether it may be gone in a moment: signing in, and reading, are tried again."""
    is_of_statement: bool = False
    """Whether it is about one statement, such as its length, and others may succeed."""
    compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compiled", re.compile(self.pattern))

    @property
    def is_worth_a_login(self) -> bool:
        """Whether signing in once more may do. Never after a password was refused."""
        return self.is_passing or self.name == "warehouse_unreachable"

    @property
    def may_pass(self) -> bool:
        """Whether all that was done in a session may be tried again later, in another one."""
        return self.is_worth_a_login or self.is_expired

    def advise(self, found: re.Match[str], where: Where) -> str:
        """Return what to do about this one."""
        return self.advice if isinstance(self.advice, str) else self.advice(found, where)


def _coded(codes: str) -> str:
    """Return the pattern of a code where the drivers put codes: a number in a row is none."""
    return rf"(?:(?:^|: )(?:{codes})(?=: | \(\w{{5}}\))|\bcode: (?:{codes})\b)"


def _status(statuses: str) -> str:
    """Return the pattern of an HTTP status as the drivers name it."""
    return rf"(?:\bHTTP|\bstatus:?) (?:{statuses})\b"


_NO_WAREHOUSE = (
    "Give the connector a warehouse that exists, and ask an administrator to run: GRANT USAGE ON "
    "WAREHOUSE {warehouse} TO ROLE {role}; and, for one that does not resume by itself, GRANT "
    "OPERATE ON WAREHOUSE {warehouse} TO ROLE {role};"
)

FAILURES = (
    Failure(
        "privilege",
        means="Snowflake knows the object, and the role may not do this with it.",
        advice=remedies.grant_privilege,
        pattern=r"Insufficient privileges to operate on (?P<kind>[\w ]+?) '(?P<name>[^'\n]+)'",
        error=PermissionError,
        rank=1,
    ),
    Failure(
        "unseen",
        means="Snowflake has no such object, or the role may not see it; it does not say which.",
        advice=remedies.grant_sight,
        pattern=r"(?P<kind>Database|Schema|Table|View|Object|Stage) '(?P<name>[^'\n]+)' "
        r"does not exist or not authorized",
        error=NotSeenError,
    ),
    Failure(
        "unseen",
        means="Snowflake has no such object, or the role may not see it; it does not say which.",
        advice=remedies.grant_sight,
        pattern=_coded("002003|002043") + "(?P<kind>)(?P<name>)",
        error=NotSeenError,
        is_vague=True,
        rank=-1,
    ),
    Failure(
        "broken_view",
        means="The view is there, and a table that it reads is not, or its owner may not see it.",
        advice="Repair the view (SELECT GET_DDL('VIEW', '...') shows it), or use another source.",
        pattern=r"Failure during expansion of view '(?P<view>[^'\n]+)'",
        error=DataError,
        rank=2,
    ),
    Failure(
        "warehouse",
        means="Snowflake has no warehouse to run the query on: none is named, or it does not "
        "exist, is closed to this role, or is suspended and this role may not resume it.",
        advice=lambda _, where: _NO_WAREHOUSE.format(
            warehouse=where.warehouse or "<warehouse>", role=where.role or "<role>"
        ),
        pattern=r"No active warehouse selected in the current session"
        r"|[Rr]equested warehouse does not exist or not authorized"
        r"|Warehouse '[^'\n]+' does not exist or not authorized",
        rank=1,
    ),
    Failure(
        "warehouse_quota",
        means="The warehouse is suspended, and a resource monitor keeps it so: its credits are "
        "used up.",
        advice="Ask an administrator to raise the monitor's quota, wait until it begins anew, or "
        "use another warehouse.",
        pattern="cannot be resumed because resource monitor|" + _coded("090073"),
        rank=2,
    ),
    Failure(
        "warehouse_suspended",
        means="The warehouse is suspended and did not resume by itself.",
        advice=lambda _, where: (
            "Ask an administrator to run: ALTER WAREHOUSE {0} SET AUTO_RESUME = TRUE; GRANT USAGE, "
            "OPERATE ON WAREHOUSE {0} TO ROLE {1}; or resume it: ALTER WAREHOUSE {0} RESUME;"
        ).format(where.warehouse or "<warehouse>", where.role or "<role>"),
        pattern=r"[Ww]arehouse '?[^'\n]*'? (?:is|was|has been) suspended|" + _coded("000607"),
        rank=1,
    ),
    Failure(
        "role",
        means="The user has no such role.",
        advice=lambda _, where: (
            f"Check the role's name, or ask an administrator to run: GRANT ROLE "
            f"{where.role or '<role>'} TO USER {where.user or '<user>'};"
        ),
        pattern=_coded("390189") + r"|Role '[^'\n]+' specified in the connect string"
        r"|[Rr]equested role .{0,200}is not (?:assigned|listed)",
        error=PermissionError,
        rank=3,
        is_vague=True,
    ),
    Failure(
        "key",
        means="Snowflake refuses the signed key: it is not the user's, or the clock is wrong.",
        advice="Check user, account and key belong together: DESCRIBE USER <user> must show the "
        "key's fingerprint as RSA_PUBLIC_KEY_FP; set it with ALTER USER <user> SET "
        "RSA_PUBLIC_KEY='...'. The clock of the machine may be a minute off at most (`date -u`).",
        pattern=_coded(r"390144|39430\d") + "|JWT token is invalid",
        rank=2,
    ),
    Failure(
        "token",
        means="Snowflake refuses the token: it has expired, was revoked, or is not for this user.",
        advice="Get a new one, put it where the connector reads it on the engine (the variable or "
        "the file that it names), start the engine again if it is a variable, and submit again.",
        pattern=_coded(r"390195|390303|390318|39440\d") + "|OAuth access token expired"
        "|Invalid OAuth access token|Programmatic access token is invalid",
        rank=1,
        is_expired=True,
    ),
    Failure(
        "session",
        means="Snowflake has ended the session, as it does after some hours without a call.",
        advice="Do it again: the next call signs in anew.",
        pattern=_coded("390104|39011[0-5]") + "|Authentication token has expired"
        "|Session no longer exists|must login again|session has expired",
        is_expired=True,
        is_vague=True,
    ),
    Failure(
        "disabled",
        means="An administrator has disabled the user.",
        advice=lambda _, where: (
            "It stays so until an administrator runs: ALTER USER "
            f"{where.user or '<user>'} SET DISABLED = FALSE;"
        ),
        pattern=_coded("390101") + "|[Uu]ser access disabled|account is disabled",
        rank=3,
        is_vague=True,
    ),
    Failure(
        "locked",
        means="Snowflake has locked the user, after too many wrong passwords or by hand.",
        advice=lambda _, where: (
            "Wait 15 minutes, or ask an administrator to run: ALTER USER "
            f"{where.user or '<user>'} SET MINS_TO_UNLOCK = 0; Check the password before trying "
            "again: every wrong one counts."
        ),
        pattern=_coded("390102") + "|temporarily locked",
        rank=3,
        is_vague=True,
    ),
    Failure(
        "second_factor",
        means="Snowflake wants a second factor for this user, and a program has none.",
        advice="Use auth_method='key_pair', or 'oauth' with a programmatic access token; a user "
        "of TYPE = SERVICE needs no second factor with either.",
        pattern=_coded(r"390127|39450\d") + "|[Mm]ulti-factor authentication is required"
        "|MFA .{0,40}is required|Duo Security authentication",
        rank=3,
        is_vague=True,
    ),
    Failure(
        "password",
        means="Snowflake refuses the user name or the password.",
        advice="Check account, user and password where the engine reads them: the variables are "
        "those of the machine where the engine was started, at that time. After several wrong "
        "ones a user is locked for 15 minutes.",
        pattern=_coded("390100|390140") + "|Incorrect username or password (?:was )?specified"
        "|[Pp]assword has expired",
        is_vague=True,
    ),
    Failure(
        "network_policy",
        means="Snowflake's network policy keeps this machine out.",
        advice="Ask an administrator to allow the engine's address; SELECT CURRENT_IP_ADDRESS() "
        "names that of whoever asks.",
        pattern=_coded("39042[02]") + r"|IP(?:/Token)? [\d./]* ?is not allowed to access Snowflake",
        rank=3,
    ),
    Failure(
        "connection_limit",
        means="Snowflake has as many sessions or queries of this user as it allows.",
        advice="Submit again later, or let fewer workers read at a time "
        "(TrainerConfig.num_workers).",
        pattern=f"{_coded('290429')}|{_status('429')}"
        r"|(?i:too many (?:concurrent )?(?:sessions|connections|requests)"
        r"|(?:sessions?|connections?|queued queries) .{0,40}\blimit\b.{0,40}(?:exceed|reach)"
        r"|exceed\w* .{0,60}(?:sessions?|connections?) limit)",
        rank=1,
        is_passing=True,
        is_vague=True,
    ),
    Failure(
        "statement_timeout",
        means="The statement took longer than it may, and was cancelled.",
        advice="Raise statement_timeout_s of the connector, or the warehouse's "
        "STATEMENT_TIMEOUT_IN_SECONDS; or take a larger warehouse, or fewer columns.",
        pattern=r"reached its (?:statement|queued|warehouse)[\w ]*timeout|" + _coded("000630"),
        rank=2,
        is_of_statement=True,
    ),
    Failure(
        "cancelled",
        means="Somebody cancelled the statement.",
        advice="Submit again.",
        pattern=_coded("000604") + "|SQL execution cancell?ed",
        is_of_statement=True,
    ),
    Failure(
        "name_taken",
        means="There is an object of this name already.",
        advice="Choose another output alias; nothing is overwritten.",
        pattern=r"Object '[^'\n]+' already exists|" + _coded("002002"),
        error=OutputExistsError,
        is_vague=True,
    ),
    Failure(
        "column",
        means="The table has no such column any more.",
        advice="Make the dataset again from the tables as they are now.",
        pattern=r"invalid identifier '(?P<name>[^\n]+)'",
        error=DataError,
        is_vague=True,
    ),
    Failure(
        "server_error",
        means="Snowflake's server failed inside, again and again.",
        advice="Try again later; https://status.snowflake.com says what is out of order.",
        pattern=f"{_coded('2905..')}|{_status('5..')}"
        r"|Processing aborted by error 300\d\d\d",
        rank=1,
        is_passing=True,
        is_vague=True,
    ),
    Failure(
        "profile",
        means="There is no such profile in connections.toml.",
        advice="Snowflake's driver reads it in $SNOWFLAKE_HOME, ~/.snowflake or the configuration "
        "folder of the user that runs this; a job reads that of the engine. Check "
        "connection_name, or add the profile there.",
        pattern=r"Invalid connection_name '(?P<name>[^'\n]*)'"
        r"|Connection '(?P<view>[^'\n]*)' not found in config",
        error=ValidationError,
    ),
    Failure(
        "certificate",
        means="The certificate that was shown there is not trusted here, and nothing was sent: an "
        "authority that is not known, such as that of a company's proxy, another host's name, or a "
        "date that is over.",
        advice="Behind a company's proxy, ask for its authority's certificate (PEM), add it to a "
        "copy of the public ones (`python -m certifi` prints their path), and set the environment "
        "variable REQUESTS_CA_BUNDLE to that file, for jobs where the engine is started. Else "
        "check account and host, and the clock (`date -u`).",
        pattern=r"(?P<name>[Cc]ertificate verify failed|CERTIFICATE_VERIFY_FAILED"
        r"|hostname '[^'\n]+' doesn't match[^\n\")]*|invalid peer certificate: [^\n]{0,200})",
        rank=4,
    ),
    Failure(
        "disk",
        means="The disk of this machine has no space left for rows on their way.",
        advice="Free some space, or set TMPDIR to a folder on a larger disk.",
        pattern=r"\[Errno 28\]|No space left on device|os error 28\b",
        error=StorageError,
        rank=4,
        is_vague=True,
    ),
    Failure(
        "storage",
        means="Rows were not taken by the cloud storage (S3, Azure, Google Cloud) that Snowflake "
        "keeps stages in; it has addresses of its own.",
        advice="Let the network of this machine through to them: SELECT SYSTEM$ALLOWLIST() lists "
        "them, of type STAGE. Where they are open, try again later.",
        pattern=r"\b25300[0-9]\b|While putting file\(s\) there was an error"
        r"|Failed to upload files\.",
        rank=2,
        is_passing=True,
    ),
    Failure(
        "cut",
        means="The connection to Snowflake was cut before the answer was there.",
        advice="Look at the network between this machine and Snowflake, and try again.",
        pattern=r"Connection broken|IncompleteRead|RemoteDisconnected|[Cc]onnection reset"
        r"|[Cc]onnection aborted|end of file before message",
        is_vague=True,
        is_passing=True,
    ),
    Failure(
        "warehouse_unreachable",
        means="Snowflake does not answer under this account's name.",
        advice="Check the account identifier (ORGANISATION-ACCOUNT, without "
        ".snowflakecomputing.com) and that the engine may reach it: its network may need a proxy, "
        "or in Snowflake's container services an external access integration.",
        pattern=f"{_coded('29040[34]|251001')}|{_status('40[34]')}"
        r"|Could not connect to Snowflake backend|Verify the account name is correct"
        r"|25000[138] \(\w+\):[\s\S]*?(?:timed out|Max retries exceeded"
        r"|Name or service not known|[Cc]onnection|refused)|Failed to execute request"
        r"|error sending request|Failed to get the response|login timed out",
        rank=-1,
        is_vague=True,
    ),
    Failure(
        "no_past",
        means="A table cannot be read as of that moment: Snowflake does not keep its past so long, "
        "or it is younger.",
        advice="Choose a later read_at, or None for tables as they are now; "
        "DATA_RETENTION_TIME_IN_DAYS says how long a table's past is kept.",
        pattern=r"Time travel data is not available for (?:table|view|object) (?P<name>[^\s.]+)",
        error=ValidationError,
    ),
    Failure(
        "not_snowflake",
        means="The server gave an answer that is none of Snowflake's.",
        advice="Check host, port and protocol, and that no proxy answers in its place.",
        pattern=r"Invalid Snowflake response|Failed to login: Missing response field"
        r"|There is no data in the returning response",
        rank=-2,
    ),
)
"""Rows that share a code or a phrase differ in rank."""
