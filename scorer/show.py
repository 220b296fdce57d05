"""What people and scripts see of a customer's risk: the card in Redis, with its age and values of this moment."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from churn.feature_store import Customer, FeatureStore
from churn.features import FEATURE_VERSION, FEATURES, MODEL_FEATURES
from churn.risk_card import moment_text

PAGE: Final = 200
WRAPPED: Final = frozenset({"because", "action"})
_NUMBERS: Final = ("risk", "base", "trend_7d", "trend_28d", "counterfactual_risk", "money_at_stake")
_TEXTS: Final = (
    "risk_band",
    "band_before",
    "band_changed_at",
    "counterfactual",
    "segment",
    "tier",
    "lifecycle",
    "action",
    "model_version",
    "feature_version",
    "as_of",
    "fresh_until",
)
_COLOURS: Final = {"low": "green", "medium": "yellow", "high": "red"}
_DAY_S: Final = 86_400


class UnknownCustomer(LookupError):
    """Nothing is known of the customer."""


def describe(customer_id: str, customer: Customer | None, now: datetime) -> dict[str, Any]:
    """The card of a customer as plain values: the risk as it was scored, its age, and the features aged to `now`.

    `contributions` are by feature, or None where another version of the features was scored. Raises `UnknownCustomer`.
    """
    if customer is None:
        raise UnknownCustomer(f"nothing is known of customer {customer_id!r}: no event of theirs has been processed")
    fields = customer.fields
    as_of = datetime.fromisoformat(fields["as_of"]) if fields.get("as_of") else None
    features = customer.features(now)
    expected_ms = features["next_order_at"] if features else None
    return {
        "customer_id": customer_id,
        "status": str(customer.status(now)),
        **{name: float(fields[name]) if fields.get(name) else None for name in _NUMBERS},
        **{name: fields.get(name) or None for name in _TEXTS},
        "age_s": round((now - as_of).total_seconds()) if as_of else None,
        "drivers": msgspec.json.decode(fields.get("drivers") or "[]"),
        "contributions": _contributions(fields),
        "band_change": msgspec.json.decode(fields["band_change"]) if fields.get("band_change") else None,
        "days_late": None if expected_ms is None else max(0.0, (now.timestamp() - float(expected_ms) / 1000) / _DAY_S),
        "features_as_of": moment_text(now),
        "features": features,
    }


def _contributions(fields: dict[str, str]) -> dict[str, float] | None:
    parts = msgspec.json.decode(fields.get("contributions") or "[]")
    if not parts or fields.get("feature_version") != FEATURE_VERSION:
        return None
    return dict(zip(MODEL_FEATURES, parts, strict=True))


def card_view(card: dict[str, Any]) -> RenderableType:
    """A card for a terminal."""
    head = Table.grid(padding=(0, 2))
    head.add_row("customer", card["customer_id"])
    head.add_row("risk", _risk_text(card["risk"], card["risk_band"]))
    head.add_row("status", f"{card['status']}{_age_text(card['age_s'])}")
    if card["risk"] is not None:
        head.add_row("band", _band_story(card))
        head.add_row("trend", f"7 days {_signed(card['trend_7d'])}, 28 days {_signed(card['trend_28d'])}")
        head.add_row("at stake", f"{card['money_at_stake']:,.2f}")
    head.add_row("segment", _joined(card["segment"] or "not scored yet", card["tier"], card["lifecycle"]))
    head.add_row("action", card["action"] or "")
    for place, driver in enumerate(card["drivers"]):
        head.add_row("" if place else "because", driver)
    if card["counterfactual"]:
        head.add_row("what if", card["counterfactual"])
    if card["features"] and card["features"]["next_order_at"] is not None:
        head.add_row("next order", _next_order(card))
    head.add_row("model", _joined(card["model_version"] or "none", card["feature_version"]))
    values = Table(title=f"features as of {card['features_as_of']}", title_justify="left", box=None)
    values.add_column("feature")
    values.add_column("value", justify="right")
    for feature in FEATURES if card["features"] else ():
        values.add_row(feature.name, _value_text(card["features"][feature.name]))
    return Group(head, Text(), values)


def top(store: FeatureStore, count: int, now: datetime, segment: str | None = None) -> Table:
    """The customers with the highest risk, highest first, of one segment where it is named."""
    table = Table(show_lines=True)
    for column in ("customer", "risk", "7 days", "band", "segment", "because", "action", "as of", "status"):
        table.add_column(column, justify="right" if column == "risk" else "left", no_wrap=column not in WRAPPED)
    for customer_id, risk, customer in islice(_ranked(store, segment), count):
        card = describe(customer_id, customer, now)
        table.add_row(
            customer_id,
            f"{risk:.3f}",
            _signed(card["trend_7d"]),
            _band_text(card["risk_band"]),
            card["segment"],
            "\n".join(card["drivers"]),
            card["action"],
            (card["as_of"] or "")[:16].replace("T", " "),
            card["status"],
        )
    return table


def _ranked(store: FeatureStore, segment: str | None) -> Iterator[tuple[str, float, Customer]]:
    """Customers by risk, read page by page."""
    start = 0
    while page := store.top(PAGE, start):
        customers = store.read_customers([customer_id for customer_id, _ in page])
        for customer_id, risk in page:
            customer = customers.get(customer_id)
            if customer is not None and segment in (None, customer.fields.get("segment")):
                yield customer_id, risk, customer
        start += PAGE


def _band_story(card: dict[str, Any]) -> str:
    since = (card["band_changed_at"] or "")[:16].replace("T", " ")
    before = f", {card['band_before']} before" if card["band_before"] else ""
    return f"{card['risk_band']} since {since}{before}"


def _next_order(card: dict[str, Any]) -> str:
    late = card["days_late"]
    moment = datetime.fromtimestamp(card["features"]["next_order_at"] / 1000, UTC).date().isoformat()
    return f"expected {moment}" + (f", {late:.0f} days late" if late >= 1 else "")


def _joined(*parts: str | None) -> str:
    return " · ".join(part for part in parts if part)


def _signed(value: float | None) -> str:
    return "not known" if value is None else f"{value:+.3f}"


def _risk_text(risk: float | None, band: str | None) -> Text:
    return Text("no number") if risk is None else Text.assemble(f"{risk:.3f} ", _band_text(band))


def _band_text(band: str | None) -> Text:
    return Text(band or "", style=_COLOURS.get(band or "", ""))


def _age_text(age_s: int | None) -> str:
    return "" if age_s is None else f", scored {timedelta(seconds=max(0, age_s))} ago"


def _value_text(value: Any) -> str:
    return "" if value is None else f"{value:,.2f}" if isinstance(value, float) else str(value)
