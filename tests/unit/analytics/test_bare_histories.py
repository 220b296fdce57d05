"""Every predictive section says why it cannot answer where the history does not hold what it needs."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from analytics import (
    big_spenders,
    churn_hypothesis,
    early_value,
    lifetime_value,
    model_quality,
    next_engagement,
    next_order,
    sales_forecast,
    views,
    who_churns,
    win_back,
)
from analytics.finding import Analysis, CannotAnswer
from analytics.shop import Shop
from churn.events import Event
from churn.history import HistoryWriter

END = datetime(2026, 1, 1, tzinfo=UTC)
SECTIONS = (
    big_spenders.BIG_SPENDERS,
    churn_hypothesis.HYPOTHESIS,
    early_value.EARLY_VALUE,
    lifetime_value.LIFETIME_VALUE,
    model_quality.PERFORMANCE,
    model_quality.RETRAINING,
    next_engagement.ENGAGEMENT,
    next_order.NEXT_ORDER,
    sales_forecast.FORECAST,
    who_churns.WHO_CHURNS,
    win_back.WIN_BACK,
)


def looked(customer: int, at: datetime) -> Event:
    return Event(f"v{customer}-{at:%j%H}", "view", at, f"c{customer}", product_id="p")


def bought(customer: int, at: datetime) -> Event:
    return Event(f"p{customer}-{at:%j%H}", "purchase", at, f"c{customer}", product_id="p", price=9.0, quantity=1)


KINDS: dict[str, tuple[int, Callable[[int, datetime], Event]]] = {
    "views alone": (300, looked),
    "few purchases alone": (300, bought),
    "ten days": (10, bought),
}


@pytest.fixture(scope="module", params=KINDS)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    days, event = KINDS[request.param]
    directory = tmp_path_factory.mktemp("bare") / "history"
    with HistoryWriter(directory) as writer:
        for customer, day in product(range(25), range(1, days, 29 if days > 29 else 2)):
            at = END - timedelta(days=day, hours=customer)
            writer.add(event(customer, at), at)
    yield Shop(directory, views.connect(directory, END), END, "EUR", directory / "models")


@pytest.mark.parametrize("section", SECTIONS, ids=[section.id for section in SECTIONS])
def test_the_reason_is_said(shop: Shop, section: Analysis) -> None:
    with pytest.raises(CannotAnswer) as reason:
        section.answer(shop)
    assert len(str(reason.value)) > 10
