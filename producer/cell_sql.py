"""How a text becomes a value inside the database: the spellings that `cells` reads, for millions of rows at once."""

from typing import Final

from producer.column_rules import Kind

_TIMES: Final = """CASE
    WHEN regexp_full_match(trim({0}), '[0-9]{{12,14}}(\\.0+)?') THEN
        make_timestamptz(TRY_CAST(TRY_CAST(trim({0}) AS DOUBLE) AS BIGINT) * 1000)
    WHEN regexp_full_match(trim({0}), '[0-9]{{8}}') THEN TRY_CAST(try_strptime(trim({0}), '%Y%m%d') AS TIMESTAMPTZ)
    ELSE coalesce(
        TRY_CAST(trim({0}) AS TIMESTAMPTZ), TRY_CAST(try_strptime(trim({0}), '%m/%d/%Y %H:%M') AS TIMESTAMPTZ)
    ) END"""
_NUMBER: Final = "CASE WHEN isfinite(TRY_CAST(trim({0}) AS DOUBLE)) THEN TRY_CAST(trim({0}) AS DOUBLE) END"
_EXPRESSIONS: Final = {
    Kind.IDENTIFIER: "nullif(regexp_replace(trim({0}), '\\.0$', ''), '')",
    Kind.LEVEL: "nullif(regexp_replace(trim({0}), '\\s+', ' ', 'g'), '')",
    Kind.TEXT: "nullif(trim({0}), '')",
    Kind.NUMBER: _NUMBER,
    Kind.WHOLE: f"CASE WHEN {_NUMBER} = floor({_NUMBER}) THEN TRY_CAST({_NUMBER} AS BIGINT) END",
    Kind.TIME: _TIMES,
    Kind.DAY: f"CAST({_TIMES} AS DATE)",
    Kind.FLAG: "CASE WHEN lower(trim({0})) IN ('1', '1.0', 'true', 'yes', 'y') THEN true "
    "WHEN lower(trim({0})) IN ('0', '0.0', 'false', 'no', 'n') THEN false END",
}


def read_as(kind: Kind, column: str) -> str:
    """SQL for the value of a text column (quoted already) read as this kind; null where it cannot be read."""
    return _EXPRESSIONS[kind].format(column)
