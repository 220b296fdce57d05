"""The data views: which indices people look at, and how a field of them is written."""

import re
from typing import Final

from churn import analysis_tables
from churn.analysis_tables import Table
from churn.features import FEATURES
from kibana.shapes import DataView, Format

_BY_UNIT: Final[dict[str, Format]] = {
    "money": "money",
    "days": "decimal",
    "seconds": "decimal",
    "ratio": "decimal",
    "count": "whole",
}
_CARD: Final[dict[str, Format]] = {
    "risk": "percent",
    "scored_at": "moment",
    "money_at_stake": "money",
    **{feature.name: _BY_UNIT[feature.unit] for feature in FEATURES if feature.unit in _BY_UNIT},
}
# What stands before the first comma or bracket is enough for a row of a table.
_DRIVERS: Final = {"top_driver": {each.name: re.split(r"[,;.]| \(", each.meaning)[0] for each in FEATURES}}

CUSTOMERS: Final = DataView("customers", "customers", "Customers: the latest risk card of each", _CARD, _DRIVERS)
RISK: Final = DataView("risk", "risk-*", "Risk: every card over time", _CARD, _DRIVERS)
EVENTS: Final = DataView(
    "events", "events-*", "Events: what customers did", {"price": "money", "discount": "money", "revenue": "money"}
)
ARRIVALS: Final = DataView(
    "arrivals",
    "events-*",
    "Arrivals: events by when they came",
    {"delay_s": "duration", "ingested_at": "moment"},
    time_field="ingested_at",
)
DEAD_LETTERS: Final = DataView(
    "dead-letters", "dead-letters-*", "Dead letters: what could not be read", {"@timestamp": "moment"}
)
PIPELINE: Final = DataView("pipeline", "pipeline-*", "Pipeline: what was indexed, and how soon")

_BY_KIND: Final[dict[str, Format]] = {"count": "whole", "money": "money", "number": "number"}
_PERCENT: Final = frozenset({"risk_from", "risk_to", "predicted", "observed", "conversion", "revenue_share"})
_WORDS: Final = {"step": {"view_to_cart": "View → cart", "cart_to_purchase": "Cart → purchase"}}


def _analysis(table: Table) -> DataView:
    formats = {column.name: _BY_KIND[column.kind] for column in table.columns if column.kind in _BY_KIND}
    durations: dict[str, Format] = {name: "duration" for name in formats if name.endswith("_s")}
    shares: dict[str, Format] = {name: "percent" for name in formats if name in _PERCENT}
    words = {name: _WORDS[name] for name in table.names if name in _WORDS}
    return DataView(
        table.index, table.index, f"Analysis: {table.name.replace('-', ' ')}", formats | durations | shares, words
    )


_ANALYSES: Final = {table.name: _analysis(table) for table in analysis_tables.ALL}


def of_table(table: Table) -> DataView:
    """The view of an analysis."""
    return _ANALYSES[table.name]


ALL: Final = (CUSTOMERS, RISK, EVENTS, ARRIVALS, DEAD_LETTERS, PIPELINE, *_ANALYSES.values())
DEFAULT: Final = CUSTOMERS
