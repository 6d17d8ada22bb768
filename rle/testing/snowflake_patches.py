"""Where fakesnow says what Snowflake would not, and what is done about it here.

fakesnow's server is not used at all, so most of its lies need no patch. What each was, and which
module tells the truth:

- Everybody may log in, whatever the password: snowflake_accounts.
- A result is one piece inside the first answer: snowflake_results cuts it into chunks.
- A moment that is NULL arrives as 1970-01-01, for its struct has no validity: snowflake_wire.
- An integer is sent as 64 bits and a NUMBER as decimal, whatever it holds: snowflake_wire.
- SHOW and DESCRIBE come as Arrow; Snowflake answers all but queries as JSON: snowflake_session.
- SHOW IMPORTED KEYS lists the table's own primary key, DESCRIBE knows none: snowflake_show_keys.
- Keys are enforced, and a table with one cannot be renamed: snowflake_create keeps them to itself.
- Names are compared without case: snowflake_catalog and snowflake_resolve compare them exactly.
- ARRAY, OBJECT, VECTOR, lengths and scales are forgotten: snowflake_catalog remembers them.
- What it does not know is HTTP 500, which drivers retry for minutes: snowflake_service.
- Statements to run asynchronously are run at once, and 5.x finds no result: snowflake_endpoints.
- A statement that is only to be described is run: snowflake_statements.
- A stage's names may not be quoted, PUT answers driver 5.x too little: snowflake_stages.
- NULL cannot be bound, and a float is bound as text: snowflake_bindings.
- ALTER SESSION, USE WAREHOUSE, grants, AT(TIMESTAMP => ...) do not exist or do nothing:
  snowflake_statements, snowflake_resolve.

What is left is patched below.

Part of the stand-in for Snowflake; runs under that server's own Python and imports nothing of rle.
"""

from __future__ import annotations

from fakesnow import transforms
from sqlglot import exp

_INTEGERS = (exp.DataType.Type.INT, exp.DataType.Type.SMALLINT, exp.DataType.Type.TINYINT)
_LONG = exp.DataType.build("NUMBER(38, 0)", dialect="snowflake").expressions


def patch() -> None:
    """Set right what fakesnow's translation of SQL gets wrong."""
    transforms.integer_precision = _integers_of_38_digits


def _integers_of_38_digits(expression: exp.Expression) -> exp.Expression:
    """Integers are NUMBER(38, 0) in Snowflake; fakesnow keeps 64 bits of them."""
    if not isinstance(expression, exp.DataType):
        return expression
    is_long = expression.this == exp.DataType.Type.DECIMAL and expression.expressions in ([], _LONG)
    if is_long or expression.this in (*_INTEGERS, exp.DataType.Type.BIGINT):
        return exp.DataType(this=exp.DataType.Type.INT128, nested=False)
    return expression
