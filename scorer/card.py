"""From states to risk cards. Scoring again as of the same moment says the same, so a batch may be done twice."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from churn.events import epoch_ms
from churn.feature_store import CardWrite
from churn.features import FeatureRow, feature_row
from churn.model import RiskModel, band, score
from churn.risk_card import Driver, RiskCard, Status, readable
from churn.segments import UNKNOWN, segment
from churn.state import State
from scorer.actions import Actions
from scorer.drivers import drivers

RESCORE_AFTER: Final = timedelta(hours=24)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def build_cards(
    customers: Sequence[tuple[str, State]], model: RiskModel | None, actions: Actions, now: datetime
) -> list[RiskCard]:
    """One card per customer, in order, as of `now` (aware).

    A card has no risk while there is no model, while the model has seen too few customers, and for a customer who never
    ordered: churn is defined for buyers only.
    """
    moments = [_as_of(state, now) for _, state in customers]
    rows = [feature_row(state, as_of) for (_, state), as_of in zip(customers, moments, strict=True)]
    verdicts = _verdicts(rows, model)
    cuts = None if model is None else model.about.rfm
    cards = []
    for place, ((customer_id, _), as_of, row) in enumerate(zip(customers, moments, rows, strict=True)):
        risk, base, reasons = verdicts.get(place, (None, None, []))
        risk_band = None if risk is None else band(risk)
        segment_name = segment(row, cuts)
        cards.append(
            RiskCard(
                customer_id=customer_id,
                as_of=as_of,
                scored_at=now,
                status=Status.INSUFFICIENT_DATA if risk is None else Status.FRESH,
                risk=risk,
                risk_band=risk_band,
                base=base,
                drivers=reasons,
                segment=segment_name,
                action=actions[segment_name, risk_band or UNKNOWN],
                model_version=None if risk is None or model is None else model.model_version,
                features=row,
            )
        )
    return cards


def card_write(card: RiskCard) -> CardWrite:
    """The card as the feature store keeps it, to be scored again a day later if nothing happens before."""
    return CardWrite(card.customer_id, readable(card), card.risk, epoch_ms(card.as_of + RESCORE_AFTER))


def _as_of(state: State, now: datetime) -> datetime:
    """Now; or the last settled event, where the clock that stamped it runs ahead of ours."""
    return max(now, _EPOCH + timedelta(milliseconds=state.summary.last_at_ms))


def _verdicts(
    rows: Sequence[FeatureRow], model: RiskModel | None
) -> dict[int, tuple[float | None, float | None, list[Driver]]]:
    """Risk, base and drivers by the place of the row, for those rows that can be scored."""
    if model is None or not model.about.population.is_sufficient:
        return {}
    places = [place for place, row in enumerate(rows) if row["recency_days"] is not None]
    scores = score(model, [rows[place] for place in places])
    names = model.about.feature_names
    return {
        place: (risk, scores.base, drivers(rows[place], names, contributions))
        for place, risk, contributions in zip(places, scores.risk.tolist(), scores.contributions, strict=True)
    }
