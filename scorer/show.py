"""What people and scripts see of a customer's risk: the card in Redis, with its age and values of this moment."""

import json
from datetime import datetime, timedelta
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from churn.feature_store import Customer, FeatureStore
from churn.features import FEATURES, feature_row
from churn.risk_card import Status

STALE_AFTER: Final = timedelta(hours=48)
WRAPPED: Final = frozenset({"because", "action"})
_COLOURS: Final = {"low": "green", "medium": "yellow", "high": "red"}


class UnknownCustomer(LookupError):
    """Nothing is known of the customer."""


def describe(customer_id: str, customer: Customer | None, now: datetime) -> dict[str, Any]:
    """The card of a customer as plain values: the risk as it was scored, its age, and the features aged to `now`.

    Raises `UnknownCustomer`.
    """
    if customer is None:
        raise UnknownCustomer(f"nothing is known of customer {customer_id!r}: no event of theirs has been processed")
    fields = customer.fields
    as_of = datetime.fromisoformat(fields["as_of"]) if fields.get("as_of") else None
    return {
        "customer_id": customer_id,
        "status": str(_status(fields, as_of, now)),
        "risk": float(fields["risk"]) if fields.get("risk") else None,
        "risk_band": fields.get("risk_band") or None,
        "segment": fields.get("segment") or None,
        "action": fields.get("action") or None,
        "drivers": json.loads(fields.get("drivers") or "[]"),
        "model_version": fields.get("model_version") or None,
        "as_of": as_of.isoformat() if as_of else None,
        "age_s": round((now - as_of).total_seconds()) if as_of else None,
        "features_as_of": now.isoformat(timespec="seconds"),
        "features": None if customer.kept is None else feature_row(customer.kept.state, now),
    }


def _status(fields: dict[str, str], as_of: datetime | None, now: datetime) -> Status:
    if as_of is None or fields.get("status") == Status.INSUFFICIENT_DATA:
        return Status.INSUFFICIENT_DATA
    return Status.STALE if now - as_of > STALE_AFTER else Status.FRESH


def card_view(card: dict[str, Any]) -> RenderableType:
    """A card for a terminal."""
    risk, band = card["risk"], card["risk_band"]
    head = Table.grid(padding=(0, 2))
    head.add_row("customer", card["customer_id"])
    head.add_row("risk", _risk_text(risk, band))
    head.add_row("status", f"{card['status']}{_age_text(card['age_s'])}")
    head.add_row("segment", card["segment"] or "not scored yet")
    head.add_row("action", card["action"] or "")
    for place, driver in enumerate(card["drivers"]):
        head.add_row("" if place else "because", driver)
    head.add_row("model", card["model_version"] or "none")
    values = Table(title=f"features as of {card['features_as_of']}", title_justify="left", box=None)
    values.add_column("feature")
    values.add_column("value", justify="right")
    for feature in FEATURES if card["features"] else ():
        values.add_row(feature.name, _value_text(card["features"][feature.name]))
    return Group(head, Text(), values)


def top(store: FeatureStore, count: int, now: datetime) -> Table:
    """The customers with the highest risk, highest first."""
    table = Table(show_lines=True)
    for column in ("customer", "risk", "band", "segment", "because", "action", "as of", "status"):
        table.add_column(column, justify="right" if column == "risk" else "left", no_wrap=column not in WRAPPED)
    for customer_id, risk in store.top(count):
        customer = store.read_customer(customer_id)
        if customer is None:
            continue
        card = describe(customer_id, customer, now)
        table.add_row(
            customer_id,
            f"{risk:.3f}",
            _band_text(card["risk_band"]),
            card["segment"],
            "\n".join(card["drivers"]),
            card["action"],
            (card["as_of"] or "")[:16].replace("T", " "),
            card["status"],
        )
    return table


def _risk_text(risk: float | None, band: str | None) -> Text:
    return Text("no number") if risk is None else Text.assemble(f"{risk:.3f} ", _band_text(band))


def _band_text(band: str | None) -> Text:
    return Text(band or "", style=_COLOURS.get(band or "", ""))


def _age_text(age_s: int | None) -> str:
    return "" if age_s is None else f", scored {timedelta(seconds=max(0, age_s))} ago"


def _value_text(value: Any) -> str:
    return "" if value is None else f"{value:,.2f}" if isinstance(value, float) else str(value)
