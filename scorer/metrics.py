"""What Prometheus is told of a scorer; every metric has its name, its meaning and its place here."""

from datetime import timedelta
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from churn.model import RiskModel

_PREFIX: Final = "ebb_scorer_"


class Metrics:
    """All figures of one scorer."""

    def __init__(self) -> None:
        here = self.registry = CollectorRegistry()
        ProcessCollector(registry=here)
        self.cards = Counter(
            f"{_PREFIX}cards", "Cards written, of customers who changed and of silent ones.", ["why"], registry=here
        )
        self.no_cards = Counter(f"{_PREFIX}no_cards", "Customers of whom no card was made.", ["reason"], registry=here)
        self.lag_notices = Gauge(f"{_PREFIX}lag_notices", "Changed customers that are not scored yet.", registry=here)
        self.last_turn = Gauge(
            f"{_PREFIX}last_turn_timestamp_seconds",
            "When the scorer last looked at what is to be scored.",
            registry=here,
        )
        self.batch_s = Histogram(
            f"{_PREFIX}batch_seconds",
            "Time to read, score, write and tell a batch of cards.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=here,
        )
        self.model_loaded = Gauge(f"{_PREFIX}model_loaded", "1 for the model in use.", ["version"], registry=here)
        self.model_data_until = Gauge(
            f"{_PREFIX}model_data_until_timestamp_seconds", "End of the latest outcomes the model knows.", registry=here
        )

    def count_no_cards(self, counts: dict[str, int]) -> None:
        """Add the counts of an interval, by reason."""
        for reason, number in counts.items():
            self.no_cards.labels(reason).inc(number)

    def use(self, model: RiskModel) -> None:
        """This model is in use from now on."""
        self.model_loaded.clear()
        self.model_loaded.labels(model.model_version).set(1)
        cut_offs = [moment for each in model.about.cut_offs.values() for moment in each]
        if cut_offs:
            self.model_data_until.set((max(cut_offs) + timedelta(days=model.about.horizon_days)).timestamp())
