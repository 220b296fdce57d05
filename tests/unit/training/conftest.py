"""A small shop's history: who comes, how often, and who stops, is decided by a seeded chance."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from churn import history
from churn.events import Event
from churn.history import HistoryWriter
from training import choose, dataset, split
from training.dataset import Dataset
from training.split import Split
from training.train import Least, Trained, train

# The quick families: what a test is about is often not which one wins.
REGRESSIONS = (choose.RECENCY, choose.LR_RFM, choose.LR_ALL)

FIRST = datetime(2025, 1, 1, 9, tzinfo=UTC)
CUSTOMERS = 510
DAYS = 400


@pytest.fixture(scope="session")
def history_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Customers who come at their own pace and buy at every third visit; two of five stop for good at some day."""
    directory = tmp_path_factory.mktemp("shop") / "history"
    chance = random.Random(7)
    with HistoryWriter(directory) as writer:
        for number in range(CUSTOMERS):
            visits_per_day = 1 / chance.uniform(5, 40)
            ends = chance.uniform(60, DAYS) if chance.random() < 0.4 else DAYS
            day = chance.uniform(0, 40)
            is_first = True
            while day < ends:
                _visit(writer, f"c{number}", FIRST + timedelta(days=day), chance, is_first or chance.random() < 0.33)
                day += chance.expovariate(visits_per_day) + 0.01
                is_first = False
    return directory


def _visit(writer: HistoryWriter, customer_id: str, at: datetime, chance: random.Random, buys: bool) -> None:
    at = at.replace(microsecond=0)
    name = f"{customer_id}-{at:%Y%m%d%H%M%S}"
    events = [Event(f"{name}-v", "view", at, customer_id, product_id="p")]
    if buys:
        price = round(chance.uniform(5, 90), 2)
        events.append(Event(f"{name}-p", "purchase", at + timedelta(minutes=5), customer_id, price=price))
    for event in events:
        writer.add(event, event.occurred_at + timedelta(seconds=2))


@pytest.fixture(scope="session")
def table(history_dir: Path) -> Any:
    """The history as training reads it."""
    return history.read(history_dir)


@pytest.fixture(scope="session")
def trained(table: Any) -> Trained:
    """What training makes of it."""
    return train(table, Least(500, 180), processes=1)


@pytest.fixture(scope="session")
def chosen(table: Any) -> Split:
    """How the history is split."""
    found = split.choose(*dataset.span(table))
    assert found is not None
    return found


@pytest.fixture(scope="session")
def built(table: Any, chosen: Split) -> Dataset:
    """Its samples."""
    return dataset.build(table, chosen.cut_offs, processes=1)


@pytest.fixture(scope="session")
def regressions() -> tuple[str, ...]:
    """The quick families."""
    return REGRESSIONS
