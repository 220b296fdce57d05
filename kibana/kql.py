"""The part of KQL that our boards use, as Elasticsearch queries: what Kibana does in the browser, done for the proof.

field: value   field: "some words"   field: *   field: (one or "another")   field >= 0.5   and   or   not   ( )
"""

import re
from typing import Any, Final

Query = dict[str, Any]

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<sign><=|>=|[:<>()])|(?P<word>[^\s:<>()"]+))""",
)
_RANGES: Final = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
_END: Final = ""


class InvalidKql(ValueError):
    """This text is not KQL as it is used here; says where it goes wrong."""


def parse(text: str) -> Query:
    """The query of a KQL text; an empty one matches everything. Raises `InvalidKql`."""
    if not text.strip():
        return {"match_all": {}}
    parser = _Parser(text)
    query = parser.any_of()
    parser.expect(_END)
    return query


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._place = 0

    def any_of(self) -> Query:
        return self._joined("or", self._all_of, lambda queries: {"should": queries, "minimum_should_match": 1})

    def expect(self, token: str) -> None:
        if self._next() != token:
            raise InvalidKql(
                f"{self._text!r}: expected {token or 'the end'!r}, found {self._tokens[self._place - 1]!r}"
            )

    def _all_of(self) -> Query:
        return self._joined("and", self._one, lambda queries: {"filter": queries})

    def _joined(self, word: str, part: Any, clause: Any) -> Query:
        queries = [part()]
        while self._peek().lower() == word:
            self._next()
            queries.append(part())
        return queries[0] if len(queries) == 1 else {"bool": clause(queries)}

    def _one(self) -> Query:
        if self._peek().lower() == "not":
            self._next()
            return {"bool": {"must_not": [self._one()]}}
        if self._peek() == "(":
            self._next()
            query = self.any_of()
            self.expect(")")
            return query
        return self._comparison()

    def _comparison(self) -> Query:
        field, sign = self._word(), self._next()
        if sign in _RANGES:
            return {"range": {field: {_RANGES[sign]: self._value()}}}
        if sign != ":":
            raise InvalidKql(f"{self._text!r}: expected ':' or a comparison after {field!r}, found {sign!r}")
        if self._peek() != "(":
            return self._match(field)
        self._next()
        query = self._joined(
            "or", lambda: self._match(field), lambda queries: {"should": queries, "minimum_should_match": 1}
        )
        self.expect(")")
        return query

    def _match(self, field: str) -> Query:
        is_quoted = self._peek().startswith('"')
        value = self._value()
        if value == "*" and not is_quoted:
            return {"exists": {"field": field}}
        if "*" in value and not is_quoted:
            raise InvalidKql(f"{self._text!r}: wildcards inside a value are not used on our boards")
        return {"match_phrase" if is_quoted else "match": {field: value}}

    def _value(self) -> str:
        if self._peek().startswith('"'):
            return re.sub(r"\\(.)", r"\1", self._next()[1:-1])
        return self._word()

    def _word(self) -> str:
        token = self._next()
        if token in ("", ":", "(", ")", *_RANGES) or token.lower() in ("and", "or", "not"):
            raise InvalidKql(f"{self._text!r}: expected a name or a value, found {token or 'the end'!r}")
        return token

    def _peek(self) -> str:
        return self._tokens[self._place]

    def _next(self) -> str:
        token = self._tokens[self._place]
        self._place = min(self._place + 1, len(self._tokens) - 1)
        return token


def _tokens(text: str) -> list[str]:
    tokens = []
    place = 0
    text = text.rstrip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise InvalidKql(f"{text!r}: cannot be read from {text[place:]!r} on")
        tokens.append(found.group().strip())
        place = found.end()
    return [*tokens, _END]


def fields(query: Any) -> set[str]:
    """The names of the fields that a parsed query asks about."""
    if isinstance(query, list):
        return set().union(*map(fields, query)) if query else set()
    if not isinstance(query, dict):
        return set()
    named = [set(query[kind]) for kind in ("match", "match_phrase", "range") if kind in query]
    named += [{query["exists"]["field"]}] if "exists" in query else []
    return set().union(*named, *(fields(part) for part in query.get("bool", {}).values()))
