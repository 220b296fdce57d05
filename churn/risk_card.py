"""The risk card: what the scorer says of one customer, as it lies in Redis, on topic `risk` and in Elasticsearch."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import msgspec

from churn.features import FEATURES, FeatureRow


class Status(StrEnum):
    """Whether the number on a card can be relied on."""

    FRESH = "fresh"
    STALE = "stale"
    INSUFFICIENT_DATA = "insufficient_data"


class Driver(msgspec.Struct, frozen=True):
    """One reason: `contribution` in log-odds (positive raises the risk), the value it rests on, and a sentence."""

    feature: str
    value: float | None
    contribution: float
    sentence: str


class RiskCard(msgspec.Struct, frozen=True):
    """Everything said of one customer at `as_of`.

    `base` plus all contributions is the log-odds of `risk`; `drivers` are sorted by weight. `risk`, `risk_band`, `base`
    and `model_version` are None, and `drivers` empty, when the status is `insufficient_data`.
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


DRIVERS_SHOWN: Final = 3
_TIMES: Final = frozenset(feature.name for feature in FEATURES if feature.unit == "time")
_MONEY: Final = frozenset(feature.name for feature in FEATURES if feature.unit == "money")
_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(RiskCard)


def encode(card: RiskCard) -> bytes:
    """The bytes of a card on topic `risk`."""
    return _encoder.encode(card)


def decode(payload: bytes) -> RiskCard:
    """The card in these bytes; raises `msgspec.DecodeError` when they are none."""
    return _decoder.decode(payload)


def readable(card: RiskCard) -> dict[str, str]:
    """The card as fields of `customer:<id>`: text for people, times in ISO 8601 UTC; what is unknown is empty."""
    fields = {
        "status": str(card.status),
        "risk": "" if card.risk is None else f"{card.risk:.6f}",
        "risk_band": card.risk_band or "",
        "drivers": json.dumps([driver.sentence for driver in card.drivers[:DRIVERS_SHOWN]], ensure_ascii=False),
        "segment": card.segment,
        "action": card.action,
        "as_of": card.as_of.isoformat(timespec="seconds"),
        "scored_at": card.scored_at.isoformat(timespec="milliseconds"),
        "model_version": card.model_version or "",
    }
    for name, value in card.features.items():
        fields[name] = _readable_value(name, value)
    return fields


def _readable_value(name: str, value: float | int | str | None) -> str:
    if value is None:
        return ""
    if name in _TIMES:
        return datetime.fromtimestamp(float(value) / 1000, UTC).isoformat(timespec="milliseconds")
    if name in _MONEY:
        return f"{value:.2f}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
