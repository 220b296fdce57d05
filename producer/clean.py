"""A cleaned copy of a file: types, times, levels, gaps and repetitions put right by declared rules, all written down.

Nothing disappears: every row is in the copy or, with its reason, among the rows set aside; outliers are marked only.
"""

from collections.abc import Mapping
from datetime import datetime
from heapq import nsmallest
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from duckdb import DuckDBPyConnection

from producer.cell_sql import read_as
from producer.column_rules import EQUAL_ROWS_ARE_SEVERAL, Kind, Missing, Rule, rules_of
from producer.errors import BadRule, RefusedFile
from producer.raw_table import literal, one_row, quoted
from producer.source import Part

OUTLIER_IN: Final = "outlier_in"  # the column of a copy that names the columns in which a row is an outlier
FENCE: Final = 3.0  # Tukey's outer fence: so many interquartile ranges beyond a quartile lies an outlier
EARLIEST: Final = "1990-01-01"  # no shop's record is older; an earlier time is an error of some clock
LINES_NAMED: Final = 5
_NUMBERS: Final = (Kind.NUMBER, Kind.WHOLE)
_TIMES: Final = (Kind.TIME, Kind.DAY)
_READ: Final = (*_NUMBERS, *_TIMES, Kind.FLAG)
_LINES_AT_ONCE: Final = 100_000
_PARQUET: Final = (".parquet", ".pq")
_ISO: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was done to how many cells or rows, and why; `lines` are the first of them."""

    action: str
    why: str
    count: int
    column: str | None = None
    lines: tuple[int, ...] = ()


class Cleaned(NamedTuple):
    """What came of a file: `rows` is always `kept` plus `set_aside`."""

    rows: int
    kept: int
    set_aside: int
    changes: list[Change]


class Cleaning:
    """One file on its way to its copy. `now` (aware) is the moment after which nothing can have happened yet."""

    def __init__(
        self,
        connection: DuckDBPyConnection,
        part: Part,
        format_name: str,
        missing: Mapping[str, Missing],
        now: datetime,
    ) -> None:
        self._connection = connection
        self._name = part.file.name
        self._format_name = format_name
        self._found = part.adapter.found
        self._rules = _with_missing(rules_of(format_name, part.adapter.table), missing)
        read = {*self._found.values(), OUTLIER_IN}
        self._others = [name for name in part.file.columns if name not in read]
        self._now = now
        self._changes: list[Change] = []

    def run(self, output: Path) -> Cleaned:
        """Clean, and write the copy, the rows set aside and the log; raises `RefusedFile`."""
        self._read_cells()
        self._set_aside_bad_rows()
        self._set_aside_repetitions()
        self._make_levels_equal()
        self._impute()
        self._mark_outliers()
        kept, set_aside = one_row(self._connection, "SELECT count(*) FILTER (reason IS NULL), count(reason) FROM typed")
        cleaned = Cleaned(kept + set_aside, kept, set_aside, self._changes)
        self._write(output, cleaned)
        return cleaned

    def _columns(self, *kinds: Kind) -> list[tuple[str, str, Rule]]:
        """The file's name of each column of these kinds, as SQL, with the format's own name and its rule."""
        names = [(quoted(found), name, self._rules[name]) for name, found in self._found.items()]
        return [each for each in names if not kinds or each[2].kind in kinds]

    def _read_cells(self) -> None:
        cells = ", ".join(f"{read_as(rule.kind, name)} AS {name}" for name, _, rule in self._columns())
        others = "".join(f", {quoted(name)}" for name in self._others)
        self._connection.execute(f"CREATE TABLE typed AS SELECT line, file, fault AS reason, {cells}{others} FROM raw")
        self._note("set aside", "the row cannot be split into cells", "SELECT line FROM raw WHERE fault IS NOT NULL")
        for name, _, rule in self._columns(*_READ):
            self._note("typed", f"text read as {rule.kind}", f"SELECT line FROM typed WHERE {name} IS NOT NULL", name)
        for name, _, _ in self._columns(*_TIMES):
            other = f"raw.{name} <> replace(strftime(typed.{name}, '%Y-%m-%dT%H:%M:%SZ'), 'T00:00:00Z', '')"
            self._note("rewritten", "UTC, which the text did not say or said otherwise", _pairs(other), name)
        for name, _, _ in self._columns(Kind.IDENTIFIER, Kind.TEXT, Kind.LEVEL):
            same = f"raw.{name} <> typed.{name}"
            self._note("rewritten", "spaces around it or doubled, or the .0 of a number", _pairs(same), name)

    def _set_aside_bad_rows(self) -> None:
        for name, _, rule in self._columns():
            if rule.missing is Missing.REFUSE:
                self._refuse_where(f"SELECT line FROM raw WHERE fault IS NULL AND {name} IS NULL", name)
            if rule.missing is Missing.DROP:
                self._set_aside(f"SELECT line, file FROM raw WHERE {name} IS NULL", name, "missing")
        for name, _, rule in self._columns():
            unread = _pairs(f"raw.{name} IS NOT NULL AND typed.{name} IS NULL AND fault IS NULL")
            self._set_aside(unread, name, f"not readable as {rule.kind}")
            if rule.kind in _TIMES:
                late = f"SELECT line, file FROM typed WHERE {name} > {literal(self._now.isoformat())}::TIMESTAMPTZ"
                self._set_aside(late, name, "in the future")
                early = f"SELECT line, file FROM typed WHERE {name} < DATE '{EARLIEST}'"
                self._set_aside(early, name, f"before {EARLIEST}")
            for outside, why in _out_of_bounds(name, rule):
                self._set_aside(f"SELECT line, file FROM typed WHERE {outside}", name, why)

    def _set_aside(self, query: str, name: str, why: str) -> None:
        reason = literal(f"{_bare(name)}: {why}")
        self._changes += self._counted(
            "set aside",
            why,
            f"UPDATE typed SET reason = {reason} WHERE reason IS NULL AND (line, file) IN ({query}) RETURNING line",
            name,
        )

    def _refuse_where(self, query: str, name: str) -> None:
        lines = [line for (line,) in self._connection.execute(f"{query} ORDER BY line LIMIT {LINES_NAMED}").fetchall()]
        if lines:
            raise RefusedFile(
                f"{self._name}: column {_bare(name)} must not be missing, but is in lines {', '.join(map(str, lines))}"
            )

    def _set_aside_repetitions(self) -> None:
        if self._format_name in EQUAL_ROWS_ARE_SEVERAL:
            return
        columns = ", ".join([*(name for name, _, _ in self._columns()), *map(quoted, self._others)])
        self._changes += self._counted(
            "set aside",
            "equal to an earlier row",
            "UPDATE typed SET reason = 'equal to line ' || again.earlier FROM ("
            f"SELECT line, file, first_value(line) OVER same AS earlier, row_number() OVER same AS number FROM typed "
            f"WHERE reason IS NULL WINDOW same AS (PARTITION BY {columns} ORDER BY file, line)"
            ") AS again WHERE again.number > 1 AND typed.line = again.line AND typed.file = again.file "
            "RETURNING typed.line",
        )

    def _make_levels_equal(self) -> None:
        """The most frequent spelling of a level, of equally frequent ones the first by alphabet, stands for all."""
        for name, _, _ in self._columns(Kind.LEVEL):
            self._changes += self._counted(
                "rewritten",
                "the most frequent spelling of the same level",
                f"UPDATE typed SET {name} = best.level FROM (SELECT lower({name}) AS folded, {name} AS level "
                f"FROM typed WHERE reason IS NULL AND {name} IS NOT NULL GROUP BY {name} QUALIFY row_number() OVER "
                f"(PARTITION BY lower({name}) ORDER BY count(*) DESC, {name}) = 1) AS best "
                f"WHERE reason IS NULL AND lower({name}) = best.folded AND {name} <> best.level RETURNING line",
                name,
            )

    def _impute(self) -> None:
        for name, _, rule in self._columns(*_NUMBERS):
            if rule.missing is not Missing.IMPUTE:
                continue
            (median,) = one_row(self._connection, f"SELECT median({name}) FROM typed WHERE reason IS NULL")
            if median is None:
                continue
            value = round(median) if rule.kind is Kind.WHOLE else median
            self._changes += self._counted(
                "imputed",
                f"missing; {value:g} is the median",
                f"UPDATE typed SET {name} = {value} WHERE reason IS NULL AND {name} IS NULL RETURNING line",
                name,
            )

    def _mark_outliers(self) -> None:
        self._connection.execute("ALTER TABLE typed ADD COLUMN outlier_in VARCHAR")
        for name, _, _ in self._columns(*_NUMBERS):
            low, high = one_row(self._connection, fences(name, "typed WHERE reason IS NULL"))
            if low is None or low == high:
                continue
            self._changes += self._counted(
                "marked",
                f"outlier: not within {low:g} to {high:g}, {FENCE:g} interquartile ranges beyond the quartiles",
                f"UPDATE typed SET outlier_in = concat_ws(' ', outlier_in, {literal(_bare(name))}) "
                f"WHERE reason IS NULL AND {name} NOT BETWEEN {low} AND {high} RETURNING line",
                name,
            )

    def _note(self, action: str, why: str, query: str, name: str | None = None) -> None:
        self._changes += self._counted(action, why, query, name)

    def _counted(self, action: str, why: str, query: str, name: str | None = None) -> list[Change]:
        """The change, or nothing where no line comes out of the query."""
        answer = self._connection.execute(query)
        count, first = 0, list[int]()
        while batch := answer.fetchmany(_LINES_AT_ONCE):
            count += len(batch)
            first = nsmallest(LINES_NAMED, [*first, *(line for (line, *_) in batch)])
        return [Change(action, why, count, _bare(name) if name else None, tuple(first))] if count else []

    def _write(self, output: Path, cleaned: Cleaned) -> None:
        columns = [quoted(name) for name in (*self._found.values(), *self._others)]
        time = next(name for name, _, _ in self._columns(Kind.TIME))
        if not output.name.endswith(_PARQUET):
            times = {name for name, _, _ in self._columns(Kind.TIME)}
            columns = [f"strftime({each}, '{_ISO}') AS {each}" if each in times else each for each in columns]
        chosen = f"SELECT {', '.join(columns)}, outlier_in FROM typed WHERE reason IS NULL"
        self._copy(f"{chosen} ORDER BY typed.{time}, file, line", output)
        raw = ", ".join(f"raw.{quoted(name)}" for name in (*self._found.values(), *self._others))
        aside = f"SELECT file, line, reason, {raw} FROM typed JOIN raw USING (file, line) WHERE reason IS NOT NULL"
        self._copy(f"{aside} ORDER BY file, line", beside(output, "set-aside.csv"))
        rules = {name: rule._asdict() for name, rule in self._rules.items()}
        log = {"file": self._name, "format": self._format_name, "rules": rules, **cleaned._asdict()}
        beside(output, "log.json").write_bytes(msgspec.json.format(msgspec.json.encode(log), indent=2))

    def _copy(self, query: str, output: Path) -> None:
        kind = "PARQUET" if output.name.endswith(_PARQUET) else "CSV, HEADER"
        self._connection.execute(f"COPY ({query}) TO {literal(str(output))} (FORMAT {kind})")


def beside(output: Path, ending: str) -> Path:
    """The file beside the copy with this ending."""
    return output.with_name(f"{output.name.split('.')[0]}.{ending}")


def fences(name: str, rows: str) -> str:
    """SQL for the lower and the upper fence of a column (quoted): beyond them lie its outliers."""
    return (
        f"SELECT q[1] - {FENCE} * (q[2] - q[1]), q[2] + {FENCE} * (q[2] - q[1]) "
        f"FROM (SELECT quantile_cont({name}::DOUBLE, [0.25, 0.75]) AS q FROM {rows})"
    )


def parsed_missing(said: list[str], format_names: list[str]) -> dict[str, Missing]:
    """`COLUMN=RULE` by column; raises `BadRule`."""
    rules: dict[str, Missing] = {}
    for each in said:
        name, _, rule = each.partition("=")
        if name not in format_names:
            raise BadRule(f"--missing {each}: the columns are {', '.join(format_names)}")
        if rule not in list(Missing):
            raise BadRule(f"--missing {each}: a rule is one of {', '.join(Missing)}")
        rules[name] = Missing(rule)
    return rules


def _with_missing(rules: dict[str, Rule], missing: Mapping[str, Missing]) -> dict[str, Rule]:
    for name, asked in missing.items():
        if asked is Missing.IMPUTE and name in rules and rules[name].kind not in _NUMBERS:
            raise BadRule(f"--missing {name}=impute: there is a median of numbers only, this is a {rules[name].kind}")
    return {name: rule._replace(missing=missing.get(name, rule.missing)) for name, rule in rules.items()}


def _pairs(condition: str) -> str:
    """SQL for the rows whose text and value fulfil a condition."""
    return f"SELECT line, file FROM raw JOIN typed USING (line, file) WHERE {condition}"


def _out_of_bounds(name: str, rule: Rule) -> list[tuple[str, str]]:
    found = []
    if rule.low is not None:
        sign, words = ("<=", "not above") if rule.is_open else ("<", "below")
        found.append((f"{name} {sign} {rule.low}", f"{words} {rule.low:g}"))
    if rule.high is not None:
        found.append((f"{name} > {rule.high}", f"above {rule.high:g}"))
    return found


def _bare(name: str) -> str:
    return name[1:-1].replace('""', '"')
