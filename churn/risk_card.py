"""The risk card: what the scorer says of one customer, as it lies in Redis, on topic `risk` and in Elasticsearch.

`FIELDS` says what each readable field of `customer:<customer_id>` means; docs/customer-success.md is made of it.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from churn.features import FEATURES, FeatureRow

DRIVERS_SHOWN: Final = 3
STALE_AFTER: Final = timedelta(hours=48)
# Enough digits for the contributions to add up to the log-odds within 1e-6.
CONTRIBUTION_DIGITS: Final = 8


class Status(StrEnum):
    """Whether the number on a card can be relied on."""

    FRESH = "fresh"
    STALE = "stale"
    INSUFFICIENT_DATA = "insufficient_data"


class Driver(msgspec.Struct, frozen=True, gc=False):
    """One reason: `contribution` in log-odds (positive raises the risk), the value it rests on, and a sentence."""

    feature: str
    value: float | str | None
    contribution: float
    sentence: str


class BandChange(msgspec.Struct, frozen=True, rename={"before": "from", "after": "to"}):
    """A customer has gone from one band to another; `customer_id` and `at` name the change, however often it is told.

    `why` are the largest changes of contributions since the card before, as sentences; money in major units.
    """

    before: str
    after: str
    at: datetime
    why: list[str]
    money_at_stake: float | None


class Counterfactual(msgspec.Struct, frozen=True, gc=False):
    """What the risk would be after something that a person can bring about."""

    risk: float
    sentence: str


class RiskCard(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything said of one customer at `as_of`.

    `base` plus all `contributions` is the log-odds of `risk`; they are in the order of the features of the model, and
    `drivers` are the heaviest of those with a known value; `predicted_value` is in major units. When the status is
    `insufficient_data`, everything that rests on a risk is None or empty. `band_change` stands only on the card that
    tells of it.
    """

    customer_id: str
    as_of: datetime
    scored_at: datetime
    status: Status
    risk: float | None
    risk_band: str | None
    base: float | None
    drivers: list[Driver]
    segment: str
    action: str
    model_version: str | None
    features: FeatureRow
    contributions: list[float] = []
    band_before: str | None = None
    band_changed_at: datetime | None = None
    band_change: BandChange | None = None
    trend_7d: float | None = None
    trend_28d: float | None = None
    counterfactual: Counterfactual | None = None
    tier: str | None = None
    lifecycle: str | None = None
    predicted_value: float | None = None
    feature_version: str | None = None

    @property
    def fresh_until(self) -> datetime:
        """When this card is too old to be relied on."""
        return self.as_of + STALE_AFTER

    @property
    def money_at_stake(self) -> float | None:
        """Net revenue of the last 365 days x risk, in major units; None where the risk is not known."""
        monetary = self.features.get("monetary")
        return None if self.risk is None or monetary is None else round(float(monetary) * self.risk, 2)

    @property
    def days_late(self) -> float | None:
        """Days since the expected next order; 0 while it is not due, None without an order."""
        expected_ms = self.features.get("next_order_at")
        if expected_ms is None:
            return None
        return max(0.0, (self.as_of.timestamp() * 1000 - float(expected_ms)) / 86_400_000)


FIELDS: Final[dict[str, str]] = {
    "status": "`fresh`: the numbers hold; `insufficient_data`: there is no risk, because there is no model, the model "
    "has seen too few customers, or the customer never ordered. After `fresh_until` read `fresh` as `stale`.",
    "as_of": "The moment that everything on the card is about.",
    "fresh_until": "After this moment nobody has scored the customer for 48 hours: do not rely on the card.",
    "scored_at": "When the card was made; the same as `as_of` but for clocks that differ.",
    "risk": "Probability of no order in the next 90 days, 0 to 1.",
    "risk_band": "`low` (below 1/3), `medium` or `high` (from 2/3). A band is left only when the risk is 0.04 beyond "
    "its limit, and to the next band not sooner than 6 hours after the last change.",
    "band_before": "The band before this one; empty while there was none.",
    "band_changed_at": "Since when the customer is in this band.",
    "band_change": "The last change of the band as JSON: `from`, `to`, `at`, `why`, `money_at_stake`.",
    "band_change_told": "The `at` of the last change that was told on topic `risk`.",
    "trend_7d": "Risk now less the risk 7 days ago: positive is worse. Empty where it was not known then.",
    "trend_28d": "The same for 28 days.",
    "risk_by_day": "The day of the last risk, then the last risk of it and of each day before, in 1/10,000; `----` is "
    "a day without one.",
    "drivers": "The three heaviest reasons as sentences, a JSON list.",
    "base": "Log-odds of the risk before any reason. `base` + all `contributions` = log-odds of `risk`.",
    "contributions": "What each feature adds, in log-odds: a JSON list in the order of the features of the model.",
    "counterfactual": "What an order today would do to the risk; empty in the band `low`.",
    "counterfactual_risk": "The risk after it, as a number.",
    "money_at_stake": "Net revenue of the last 365 days x risk.",
    "predicted_value": "Expected net revenue of the next 365 days, by how often and how lately the customer ordered "
    "and what they spent (MBG/NBD and Gamma-Gamma). Empty where it could not be fitted.",
    "segment": "The RFM segment: Champions, Loyal, ..., Lost; Prospect without an order, `unknown` without a model.",
    "tier": "VIP, Loyal, Regular, At Risk or Low Value; empty without an order.",
    "lifecycle": "The group for actions: `new` (first order at most 30 days ago), `high-ltv` (among the 5 % with the "
    "highest predicted value), `at-risk` (band high), `loyal` (F of 4 or more) or `other`; empty without an order.",
    "action": "What to do about them, by segment and band: the table churn/actions.csv.",
    "days_late": "Days since `next_order_at`; 0 while it is not due.",
    "model_version": "The model that gave the risk.",
    "feature_version": "The fold and the features that the model looked at.",
}
"""The readable fields of `customer:<customer_id>` that are no features, and what they mean."""

FEATURES_SHOWN: Final = (
    "recency_days",
    "idle_days",
    "frequency",
    "monetary",
    "orders_30d",
    "orders_total",
    "net_revenue_total",
    "average_order_value",
    "order_gap_median_days",
    "next_order_at",
    "engagement_score",
    "value_score",
    "cart_items",
    "favourite_category",
    "country",
    "last_event_at",
    "last_purchase_at",
)
"""The features that lie readable in Redis, as of the card's `as_of`; all of them are on topic `risk`."""

_UNITS: Final = {feature.name: feature.unit for feature in FEATURES}
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(RiskCard)
_change_decoder: Final = msgspec.json.Decoder(BandChange)


def encode(card: RiskCard) -> bytes:
    """The bytes of a card on topic `risk`."""
    return _encoder.encode(card)


def decode(payload: bytes) -> RiskCard:
    """The card in these bytes; raises `msgspec.DecodeError` when they are none."""
    try:
        return _decoder.decode(payload)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from None


def decode_change(text: str) -> BandChange:
    """The change in the field `band_change`; raises `msgspec.DecodeError` when it holds none."""
    return _change_decoder.decode(text)


def readable(card: RiskCard) -> dict[str, str]:
    """The card as fields of `customer:<id>`: text for people, times in ISO 8601 UTC; what is unknown is empty.

    `risk_by_day`, `band_change` and `band_change_told`, which the scorer itself keeps there, are not among them.
    """
    counterfactual, days_late = card.counterfactual, card.days_late
    fields = {
        "status": card.status.value,
        "as_of": moment_text(card.as_of),
        "fresh_until": moment_text(card.fresh_until),
        "scored_at": moment_text(card.scored_at),
        "risk": _text(card.risk),
        "risk_band": card.risk_band or "",
        "band_before": card.band_before or "",
        "band_changed_at": moment_text(card.band_changed_at),
        "trend_7d": _signed(card.trend_7d),
        "trend_28d": _signed(card.trend_28d),
        "drivers": _encoder.encode([driver.sentence for driver in card.drivers]).decode(),
        "base": _text(card.base),
        "contributions": _encoder.encode(card.contributions).decode(),
        "counterfactual": counterfactual.sentence if counterfactual else "",
        "counterfactual_risk": f"{counterfactual.risk:.4f}" if counterfactual else "",
        "money_at_stake": _money(card.money_at_stake),
        "predicted_value": _money(card.predicted_value),
        "segment": card.segment,
        "tier": card.tier or "",
        "lifecycle": card.lifecycle or "",
        "action": card.action,
        "days_late": "" if days_late is None else f"{days_late:.1f}",
        "model_version": card.model_version or "",
        "feature_version": card.feature_version or "",
    }
    for name in FEATURES_SHOWN:
        fields[name] = _readable_value(_UNITS[name], card.features[name])
    if card.features["recency_days"] is None:
        fields["value_score"] = ""
    return fields


def moment_text(moment: datetime | None) -> str:
    """A moment as it is written in Redis, to the millisecond; empty for none."""
    return "" if moment is None else moment.isoformat(timespec="milliseconds")


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4f}"


def _money(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _readable_value(unit: str, value: float | int | str | None) -> str:
    if value is None:
        return ""
    if unit == "time":
        return moment_text(datetime.fromtimestamp(float(value) / 1000, UTC))
    if unit == "money":
        return f"{value:.2f}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
