"""The panels of risk cards against the cards: collected by `test_kibana_panels`, which fills the shop once for all."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from statistics import fmean
from typing import Any

import pytest

from churn import model
from churn.risk_card import RiskCard

from .panels import Rows, by, moment, number
from .seeded_shop import SeededShop


def scored(cards: Iterable[RiskCard]) -> list[RiskCard]:
    return [card for card in cards if card.risk is not None]


def in_band(cards: Iterable[RiskCard], band: str) -> list[RiskCard]:
    return [card for card in cards if card.risk_band == band]


def stake(cards: Iterable[RiskCard]) -> float:
    return sum(card.money_at_stake or 0 for card in cards)


def mean_risk(cards: Iterable[RiskCard]) -> Any:
    return pytest.approx(fmean(card.risk for card in cards if card.risk is not None))


def groups(cards: Iterable[RiskCard], key: Callable[[RiskCard], Any]) -> dict[Any, list[RiskCard]]:
    found = defaultdict(list)
    for card in cards:
        if key(card) is not None:
            found[key(card)].append(card)
    return found


def bands(cards: Iterable[RiskCard]) -> dict[str, int]:
    found = Counter(card.risk_band for card in cards)
    return {band.capitalize(): found[band] for band in model.BANDS}


class RiskPanels:
    """The board of risk and the live segments."""

    def test_the_tiles_of_risk_hold_the_numbers_of_the_latest_cards(
        self, shop: SeededShop, shown: Callable[..., Rows]
    ) -> None:
        latest = shop.latest
        assert number(shown("Churn risk", "Customers scored")) == len(scored(latest))
        assert number(shown("Churn risk", "At high risk")) == len(in_band(latest, "high")) > 0
        assert number(shown("Churn risk", "Money at stake")) == pytest.approx(stake(latest))
        assert number(shown("Churn risk", "At stake at high risk")) == pytest.approx(stake(in_band(latest, "high")))
        assert number(shown("Churn risk", "Average risk")) == mean_risk(scored(latest))
        assert shown("Churn risk", "Customers by risk band") == [bands(latest)]

    def test_the_days_count_each_customer_once_a_band(self, shop: SeededShop, shown: Callable[..., Rows]) -> None:
        expected = {
            card_day: bands(cards) for card_day, cards in groups(shop.cards, lambda card: card.as_of.date()).items()
        }
        found = by(shown("Churn risk", "Risk bands by day"), "Day")
        assert {moment(day).date(): row for day, row in found.items() if any(row.values())} == expected

    def test_moves_into_high_risk_are_counted_with_what_weighs_most(
        self, shop: SeededShop, shown: Callable[..., Rows]
    ) -> None:
        moved = [card for card in shop.cards if card.risk_band == "high" and card.band_change is not None]
        assert moved
        found = by(shown("Churn risk", "Moved into high risk"), "Day")
        days = Counter(card.as_of.date() for card in moved)
        assert {moment(day).date(): row["Customers"] for day, row in found.items() if row["Customers"]} == days
        why = by(shown("Churn risk", "Why they moved into high risk"), "What weighs most")
        assert why == {
            feature: {"Customers": len({card.customer_id for card in cards}), "At stake": pytest.approx(stake(cards))}
            for feature, cards in groups(moved, lambda card: card.drivers[0].feature).items()
        }

    def test_segments_and_countries_hold_their_customers(self, shop: SeededShop, shown: Callable[..., Rows]) -> None:
        expected = {name: bands(cards) for name, cards in groups(shop.latest, lambda card: card.segment).items()}
        assert by(shown("Churn risk", "Risk by segment"), "Segment") == expected
        countries = groups(shop.latest, lambda card: card.features["country"])
        assert by(shown("Churn risk", "Risk by country"), "Country") == {
            country: {
                "Customers": len(scored(cards)),
                "At high risk": len(in_band(cards, "high")),
                "Average risk": mean_risk(scored(cards)),
                "At stake": pytest.approx(stake(cards)),
            }
            for country, cards in countries.items()
        }

    def test_time_as_a_customer_is_cut_where_the_labels_say(self, shop: SeededShop, shown: Callable[..., Rows]) -> None:
        limits = {"up to 90 days": 90, "90 to 180 days": 180, "180 to 270 days": 270, "270 to 365 days": 365}

        def case(card: RiskCard) -> str:
            return next(
                (label for label, limit in limits.items() if card.features["tenure_days"] < limit), "more than a year"
            )

        expected = {label: bands(cards) for label, cards in groups(shop.latest, case).items()}
        found = by(shown("Churn risk", "Risk by time as a customer"), "Customer for")
        assert {label: row for label, row in found.items() if any(row.values())} == expected

    def test_the_list_names_the_riskiest_with_what_to_do(self, shop: SeededShop, shown: Callable[..., Rows]) -> None:
        riskiest = sorted(scored(shop.latest), key=lambda card: -(card.risk or 0))[:100]
        rows = shown("Churn risk", "Customers at highest risk")
        assert [row["Risk"] for row in rows] == pytest.approx([card.risk for card in riskiest])
        cards = {card.customer_id: card for card in shop.latest}
        for row in rows:
            card = cards[row["Customer"]]
            assert (row["Segment"], row["What to do"]) == (card.segment, card.action)
            assert row["Main reason"] == card.drivers[0].sentence
            assert row["At stake"] == pytest.approx(card.money_at_stake)
            assert row["Revenue of a year"] == pytest.approx(card.features["monetary"])
            assert row["Days since order"] == pytest.approx(card.features["recency_days"])

    def test_segments_now_share_out_customers_and_revenue(self, shop: SeededShop, shown: Callable[..., Rows]) -> None:
        buyers = [card for card in shop.latest if card.segment not in ("Prospect", "unknown")]
        revenue = sum(float(card.features["monetary"]) for card in buyers)
        found = by(shown("Segments", "Segments now"), "Segment")
        for name, cards in groups(buyers, lambda card: card.segment).items():
            own = sum(float(card.features["monetary"]) for card in cards)
            assert found[name]["Customers"] == len(cards)
            assert found[name]["Share"] == pytest.approx(len(cards) / len(buyers))
            assert found[name]["Share of revenue"] == pytest.approx(own / revenue)
