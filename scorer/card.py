"""From customers to risk cards. Scoring again as of the same moment says the same, so a batch may be done twice."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import numpy as np

from churn.actions import Actions
from churn.customer_value import LOOKS_AT, predict_value
from churn.events import Event, epoch_ms
from churn.feature_store import CardWrite
from churn.features import FEATURE_VERSION, FeatureRow, Look
from churn.model import RiskModel, risk_matrix, rows_to_matrix, score_matrix
from churn.risk_card import (
    CONTRIBUTION_DIGITS,
    DRIVERS_SHOWN,
    BandChange,
    Counterfactual,
    Driver,
    RiskCard,
    Status,
    decode_change,
    moment_text,
    readable,
)
from churn.segments import UNKNOWN, rfm, segment, tier
from churn.segments import lifecycle as lifecycle_of
from churn.state import State
from scorer import trend
from scorer.bands import DWELL, is_held, settled_band
from scorer.drivers import changes, driver, heaviest

RESCORE_AFTER: Final = timedelta(hours=24)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_encode_json: Final = msgspec.json.Encoder().encode


class Known(NamedTuple):
    """A customer as the feature store has them: the state, and the fields of the card before (empty: none)."""

    customer_id: str
    state: State
    fields: Mapping[str, str]


class Scored(NamedTuple):
    """A new card, the fields that differ from those of the card before, and when to score again."""

    card: RiskCard
    write: CardWrite
    due_ms: int


class _Verdict(NamedTuple):
    """What the model says of one customer."""

    risk: float
    band: str
    base: float
    drivers: list[Driver]
    contributions: list[float]
    after_an_order: float | None
    value: float | None


def score_customers(
    customers: Sequence[Known], model: RiskModel | None, actions: Actions, now: datetime
) -> list[Scored]:
    """One card per customer, in order, as of `now` (aware).

    A card has no risk while there is no model, while the model has seen too few customers, and for a customer who never
    ordered: churn is defined for buyers only.
    """
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    moments = [_as_of(known.state, now) for known in customers]
    looks = [Look(known.state, as_of) for known, as_of in zip(customers, moments, strict=True)]
    rows = [look.row for look in looks]
    steps = [look.next_step_ms() for look in looks]
    verdicts = _verdicts(customers, looks, rows, moments, model)
    return [
        _scored(known, row, verdicts.get(place), model, actions, as_of, now, step_ms)
        for place, (known, row, as_of, step_ms) in enumerate(zip(customers, rows, moments, steps, strict=True))
    ]


def build_cards(customers: Sequence[Known], model: RiskModel | None, actions: Actions, now: datetime) -> list[RiskCard]:
    """The cards alone."""
    return [scored.card for scored in score_customers(customers, model, actions, now)]


def told(card: RiskCard) -> CardWrite:
    """What to keep when the change of band on this card was told on topic `risk`."""
    fields = {"band_change_told": moment_text(card.band_change.at if card.band_change else None)}
    return CardWrite(card.customer_id, fields, card.risk, moment_text(card.as_of))


def _as_of(state: State, now: datetime) -> datetime:
    """Now; or the last settled event, where the clock that stamped it runs ahead of ours."""
    return max(now, _EPOCH + timedelta(milliseconds=state.settled_ms))


# What the model says.


def _verdicts(
    customers: Sequence[Known],
    looks: Sequence[Look],
    rows: Sequence[FeatureRow],
    moments: Sequence[datetime],
    model: RiskModel | None,
) -> dict[int, _Verdict]:
    """By the place of the row, for those rows that can be scored. Takes the looks to their end."""
    if model is None or not model.about.population.is_sufficient:
        return {}
    places = [place for place, row in enumerate(rows) if row["recency_days"] is not None]
    names = model.about.feature_names
    matrix = rows_to_matrix([rows[place] for place in places], names)
    scores = score_matrix(model, matrix)
    reasons = heaviest(matrix, scores.contributions, DRIVERS_SHOWN)
    contributions = np.round(scores.contributions, CONTRIBUTION_DIGITS).tolist()
    risks = scores.risk.tolist()
    shown = [
        settled_band(risk, *_band_of(customers[place].fields), moments[place])
        for place, risk in zip(places, risks, strict=True)
    ]
    to_win = [place for place, risk_band in zip(places, shown, strict=True) if risk_band != "low"]
    orders = [looks[place].row_after(_order(rows[place], moments[place])) for place in to_win]
    values = _values(model, [rows[place] for place in places])
    after = dict(zip(to_win, risk_matrix(model, rows_to_matrix(orders, names)).tolist(), strict=True))
    return {
        place: _Verdict(
            risk,
            risk_band,
            scores.base,
            [driver(rows[place], names[column], parts[column]) for column in columns],
            parts,
            after.get(place),
            value,
        )
        for place, risk, risk_band, columns, parts, value in zip(
            places, risks, shown, reasons, contributions, values, strict=True
        )
    }


def _values(model: RiskModel, rows: Sequence[FeatureRow]) -> list[float | None]:
    """What each of these customers will bring in a year."""
    if model.about.value is None:
        return [None] * len(rows)
    predicted: list[float | None] = predict_value(model.about.value, rows_to_matrix(rows, LOOKS_AT)).tolist()
    return predicted


def _order(row: FeatureRow, as_of: datetime) -> Event:
    """An order like this customer's others: one line worth what they spend on average."""
    price = max(0.0, float(row["average_order_value"] or 0.0))
    return Event(event_id="order", event_type="purchase", occurred_at=as_of, customer_id="nobody", price=price)


# What the card says.


def _band_of(fields: Mapping[str, str]) -> tuple[str | None, datetime | None]:
    return fields.get("risk_band") or None, _moment(fields.get("band_changed_at"))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _scored(
    known: Known,
    row: FeatureRow,
    verdict: _Verdict | None,
    model: RiskModel | None,
    actions: Actions,
    as_of: datetime,
    now: datetime,
    step_ms: int | None,
) -> Scored:
    card = _card_without_risk(known, row, model, actions, as_of, now)
    kept = {name: known.fields.get(name, "") for name in ("risk_by_day", "band_change", "band_change_told")}
    if verdict is not None and model is not None:
        kept["risk_by_day"] = trend.remember(kept["risk_by_day"], _day(as_of), verdict.risk)
        card, change = _with_risk(card, known, verdict, model, actions, kept["risk_by_day"])
        if change is not None:
            kept["band_change"] = _encode_json(change).decode()
    fields = readable(card) | kept
    before = known.fields
    changed = {name: value for name, value in fields.items() if before.get(name) != value}
    write = CardWrite(known.customer_id, changed, card.risk, before.get("as_of", ""))
    return Scored(card, write, _due_ms(card, step_ms))


def _card_without_risk(
    known: Known, row: FeatureRow, model: RiskModel | None, actions: Actions, as_of: datetime, now: datetime
) -> RiskCard:
    cuts = None if model is None else model.about.rfm
    scores = None if cuts is None else rfm(row, cuts)
    segment_name = segment(row, cuts)
    return RiskCard(
        customer_id=known.customer_id,
        as_of=as_of,
        scored_at=now,
        status=Status.INSUFFICIENT_DATA,
        risk=None,
        risk_band=None,
        base=None,
        drivers=[],
        segment=segment_name,
        tier=None if scores is None else tier(scores),
        lifecycle=lifecycle_of(row, scores, None, epoch_ms(as_of)),
        action=actions[segment_name, UNKNOWN],
        model_version=None,
        feature_version=FEATURE_VERSION,
        features=row,
    )


def _with_risk(
    card: RiskCard, known: Known, verdict: _Verdict, model: RiskModel, actions: Actions, history: str
) -> tuple[RiskCard, BandChange | None]:
    """The card with everything that rests on a risk, and the last change of band where there was one."""
    before, since = _band_of(known.fields)
    risk_band = verdict.band
    has_changed = before is not None and before != risk_band
    today = _day(card.as_of)
    scores = rfm(card.features, model.about.rfm)
    card = msgspec.structs.replace(
        card,
        status=Status.FRESH,
        risk=verdict.risk,
        risk_band=risk_band,
        base=verdict.base,
        drivers=verdict.drivers,
        contributions=verdict.contributions,
        band_before=before if has_changed else known.fields.get("band_before") or None,
        band_changed_at=card.as_of if has_changed or since is None else since,
        trend_7d=_trend(history, today, 7, verdict.risk),
        trend_28d=_trend(history, today, 28, verdict.risk),
        counterfactual=_counterfactual(verdict),
        lifecycle=lifecycle_of(
            card.features, scores, risk_band, epoch_ms(card.as_of), is_top_value=_is_top(verdict.value, model)
        ),
        predicted_value=None if verdict.value is None else round(verdict.value, 2),
        action=actions[card.segment, risk_band],
        model_version=model.model_version,
    )
    change = _change(card, known, before or "", verdict, model) if has_changed else _untold(known.fields)
    return (card if change is None else msgspec.structs.replace(card, band_change=change)), change


def _is_top(value: float | None, model: RiskModel) -> bool:
    return value is not None and model.about.value is not None and value >= model.about.value.top_from


def _day(moment: datetime) -> date:
    return moment.astimezone(UTC).date()


def _trend(history: str, today: date, days: int, risk: float) -> float | None:
    then = trend.risk_before(history, today, days)
    return None if then is None else round(risk - then, 4)


def _counterfactual(verdict: _Verdict) -> Counterfactual | None:
    after = verdict.after_an_order
    if after is None:
        return None
    return Counterfactual(after, f"an order today: {verdict.risk:.2f} → {after:.2f}")


def _change(card: RiskCard, known: Known, before: str, verdict: _Verdict, model: RiskModel) -> BandChange:
    why = []
    names, then = model.about.feature_names, known.fields.get("contributions")
    if known.fields.get("model_version") != model.model_version:
        why.append(f"another model: {known.fields.get('model_version') or 'none'} before, {model.model_version} now")
    if then and known.fields.get("feature_version") == FEATURE_VERSION:
        parts = np.array(msgspec.json.decode(then, type=list[float]))
        why += changes(card.features, names, parts, np.array(verdict.contributions), DRIVERS_SHOWN)
    return BandChange(before, card.risk_band or "", card.as_of, why, card.money_at_stake)


def _untold(fields: Mapping[str, str]) -> BandChange | None:
    """The last change, where a stop came between keeping and telling it."""
    text, told_at = fields.get("band_change"), fields.get("band_change_told")
    if not text or told_at == fields.get("band_changed_at"):
        return None
    change = decode_change(text)
    return None if moment_text(change.at) == told_at else change


def _due_ms(card: RiskCard, step_ms: int | None) -> int:
    """A day later, or as soon as silence alone may change the band: at the next step, at the end of a dwell."""
    due_ms = epoch_ms(card.as_of + RESCORE_AFTER)
    if card.risk is None or card.risk_band is None:
        return due_ms
    if is_held(card.risk, card.risk_band) and card.band_changed_at is not None:
        due_ms = min(due_ms, max(epoch_ms(card.band_changed_at + DWELL), epoch_ms(card.as_of + _MS)))
    return due_ms if step_ms is None else min(due_ms, step_ms)
