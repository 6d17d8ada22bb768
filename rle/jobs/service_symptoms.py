"""What warehouses and tracking servers say when they refuse, what it means and what helps."""

from __future__ import annotations

from rle.jobs.diagnosis import EXACT, USUAL, Symptom
from rle.jobs.remedies import grant_privilege, grant_sight

MLFLOW = (
    Symptom(
        "tracking_credentials",
        means="The MLflow server refuses the user name and password, or the token, it was given.",
        advice="Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
        "MLFLOW_TRACKING_TOKEN, where the engine is started, not on the laptop alone, and start "
        "the engine again.",
        pattern=r"(?s)API request to (?:endpoint )?\S+ failed with error code 40[13]\b",
        rank=EXACT,
    ),
    Symptom(
        "tracking_server",
        means="The MLflow server does not answer.",
        advice="See that it runs and that the head of the engine can reach it (curl its address "
        "there), and that MLFLOW_TRACKING_URI is right where the engine is started. Without that "
        "variable runs are kept in a file of the engine.",
        pattern=r"(?s)API request to \S+ failed with (?:exception|timeout exception)"
        r"|API request to \S+ failed with error code 5\d\d|MLflow could not do it: .*"
        r"(?:Max retries exceeded|could not connect to server|Connection refused)",
        rank=EXACT,
    ),
    Symptom(
        "tracking_file",
        means="The file that MLflow keeps runs in is in use by somebody else.",
        advice="Submit again. If many jobs write at the same time, run an MLflow server and set "
        "MLFLOW_TRACKING_URI to its address.",
        pattern=r"sqlite3\.OperationalError\) database is locked",
        rank=EXACT,
    ),
)

SNOWFLAKE = (
    Symptom(
        "privilege",
        means="Snowflake knows the object, and the role may not do this with it.",
        advice=grant_privilege,
        pattern=r"Insufficient privileges to operate on "
        r"(?P<kind>[\w ]+?) '(?P<name>[^'\n]+)'",
        rank=EXACT,
    ),
    Symptom(
        "privilege",
        means="Snowflake has no such object, or the role may not see it; it does not say which.",
        advice=grant_sight,
        pattern=r"(?P<kind>Database|Schema|Table|View|Object) '(?P<name>[^'\n]+)' "
        r"does not exist or not authorized",
        rank=EXACT,
    ),
    Symptom(
        "warehouse",
        means="Snowflake has no warehouse to run the query on.",
        advice="Give the connector a warehouse that exists, and ask an administrator to run: GRANT "
        "USAGE, OPERATE ON WAREHOUSE <warehouse> TO ROLE <role>;",
        pattern=r"No active warehouse selected in the current session"
        r"|[Rr]equested warehouse does not exist or not authorized",
        rank=EXACT,
    ),
    Symptom(
        "credentials",
        means="Snowflake refuses the signed key: it is not the user's, or the clock is wrong.",
        advice="Check user, account and key belong together: DESCRIBE USER <user> must show the "
        "key's fingerprint as RSA_PUBLIC_KEY_FP; set it with ALTER USER <user> SET "
        "RSA_PUBLIC_KEY='...'. The clock of the machine may be a minute off at most (`date -u`).",
        pattern=r"\b(?:390144|39430\d)\b|JWT token is invalid",
        rank=EXACT + 2,
    ),
    Symptom(
        "credentials",
        means="Snowflake refuses the token: it has expired, was revoked, or is not for this user.",
        advice="Get a new one, put it where the connector reads it on the engine (the variable or "
        "the file that it names), start the engine again if it is a variable, and submit again.",
        pattern=r"\b(?:390114|390195|390303|390318|39440\d)\b.*|Authentication token has expired"
        r"|OAuth access token expired|Invalid OAuth access token"
        r"|Programmatic access token is invalid",
        rank=EXACT + 1,
    ),
    Symptom(
        "credentials",
        means="Snowflake refuses the user name or the password.",
        advice="Check account, user and password where the engine reads them: the variables are "
        "those of the machine where the engine was started, at that time. After several wrong "
        "ones a user is locked for 15 minutes.",
        pattern=r"\b390100\b|Incorrect username or password was specified"
        r"|user account has been temporarily locked",
        rank=EXACT,
    ),
    Symptom(
        "network_policy",
        means="Snowflake's network policy keeps this machine out.",
        advice="Ask an administrator to allow the engine's address; SELECT CURRENT_IP_ADDRESS() "
        "names that of whoever asks.",
        pattern=r"\b390422\b|IP(?:/Token)? [\d./]* ?is not allowed to access Snowflake",
        rank=EXACT,
    ),
    Symptom(
        "warehouse_unreachable",
        means="Snowflake does not answer under this account's name.",
        advice="Check the account identifier (ORGANISATION-ACCOUNT, without "
        ".snowflakecomputing.com) and that the engine may reach it: its network may need a proxy, "
        "or in Snowflake's container services an external access integration.",
        pattern=r"Could not connect to Snowflake backend|25000[138] \(\w+\): .*(?:404|timed out"
        r"|Max retries exceeded|Name or service not known)",
        rank=USUAL,
    ),
)
