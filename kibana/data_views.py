"""The data views: which indices people look at, and how a field of them is written."""

from typing import Final

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
    "money_at_stake": "money",
    **{feature.name: _BY_UNIT[feature.unit] for feature in FEATURES if feature.unit in _BY_UNIT},
}

CUSTOMERS: Final = DataView("customers", "customers", "Customers: the latest risk card of each", _CARD)
RISK: Final = DataView("risk", "risk-*", "Risk: every card over time", _CARD)
EVENTS: Final = DataView(
    "events", "events-*", "Events: what customers did", {"price": "money", "discount": "money", "revenue": "money"}
)
DEAD_LETTERS: Final = DataView("dead-letters", "dead-letters-*", "Dead letters: what could not be read", {})

ALL: Final = (CUSTOMERS, RISK, EVENTS, DEAD_LETTERS)
DEFAULT: Final = CUSTOMERS
