"""The panels of segments, fifths, leaks and products against a recount: collected by `test_kibana_panels`."""

from collections.abc import Callable

import pandas as pd
import pytest

from . import value_in_pandas
from .panels import NOW, Rows, by, moment, money, number
from .seeded_shop import SeededShop

YEAR_AGO = NOW - pd.DateOffset(years=1)
Months = list[tuple[pd.Timestamp, pd.DataFrame]]


def segments(shop: SeededShop, events: pd.DataFrame) -> Months:
    """By month, as known at the end of the history: the full hour after its last event arrived."""
    arrived = shop.events["ingested_at"].max().tz_localize(None)
    return list(value_in_pandas.segments(events, arrived.floor("h") + pd.Timedelta(hours=1)))


def names(events: pd.DataFrame) -> pd.Series:
    """The latest name of each product that has one."""
    return events.dropna(subset=["product_name"]).sort_values("at").groupby("product_id")["product_name"].last()


class ValuePanels:
    """Segments by month, moves, fifths of buyers, leaks, and what products bring and convert."""

    def test_segments_of_each_month_hold_their_customers_and_revenue(
        self, shop: SeededShop, events: pd.DataFrame, shown: Callable[[str, str], Rows]
    ) -> None:
        months = {month: people for month, people in segments(shop, events) if month >= YEAR_AGO}
        assert len(months) >= 11
        found = by(shown("Segments", "Customers by segment and month"), "Month")
        assert {
            (moment(month), name): value for month, row in found.items() for name, value in row.items() if value
        } == {
            (month, name): customers
            for month, people in months.items()
            for name, customers in people["segment"].value_counts().items()
        }
        found = by(shown("Segments", "Revenue by tier and month"), "Month")
        assert {
            (moment(month), tier): value for month, row in found.items() for tier, value in row.items() if value
        } == {
            (month, tier): money(value)
            for month, people in months.items()
            for tier, value in people.groupby("tier")["money"].sum().items()
            if value
        }

    def test_moves_are_those_of_customers_whose_segment_changed(
        self, shop: SeededShop, events: pd.DataFrame, shown: Callable[[str, str], Rows]
    ) -> None:
        expected = value_in_pandas.moves(segments(shop, events), YEAR_AGO)
        assert expected
        rows = by(shown("Segments", "Moves between segments"), "From", "To")
        assert {key: row["Customers"] for key, row in rows.items() if row["Customers"]} == expected

    def test_fifths_of_buyers_share_out_customers_and_revenue(
        self, events: pd.DataFrame, shown: Callable[[str, str], Rows]
    ) -> None:
        fifths = value_in_pandas.fifths(events)
        whole = sum(net for _, _, net in fifths.values())
        assert by(shown("Segments", "Top fifths of buyers"), "Buyers by revenue") == {
            name: {
                "Net revenue": money(net),
                "Share": pytest.approx(net / whole),
                "Customers": customers,
                "Orders each": pytest.approx(orders / customers),
                "Average order": pytest.approx(net / orders / 100),
                "Revenue each": pytest.approx(net / customers / 100),
            }
            for name, (customers, orders, net) in fifths.items()
        }

    def test_leaks_are_measured_at_what_the_best_category_reaches(
        self, events: pd.DataFrame, journeys: pd.DataFrame, shown: Callable[[str, str], Rows]
    ) -> None:
        rows = by(shown("Funnel and carts", "Largest leaks by category, and what to do"), "Category")
        for row in rows.values():
            assert row.pop("What to do")
        assert rows == {
            category: {**row, "Could bring": pytest.approx(row["Could bring"], abs=0.0051)}
            for category, row in value_in_pandas.leaks(events, journeys).items()
        }

    def test_products_bring_their_lines_less_refunds(
        self, events: pd.DataFrame, shown: Callable[[str, str], Rows]
    ) -> None:
        revenue = value_in_pandas.product_revenue(events)
        assert number(shown("Products", "Net revenue of products")) == money(revenue.sum())
        rows = by(shown("Products", "Top products by revenue"), "Product", "Category")
        by_name = revenue.rename(index=names(events).to_dict())
        assert len(rows) == min(100, len(by_name))
        assert {name: row["Net revenue"] for (name, _), row in rows.items()} == {
            name: money(by_name[name]) for name, _ in rows
        }
        best = sorted(by_name / 100, reverse=True)[: len(rows)]
        assert [row["Net revenue"] for row in rows.values()] == pytest.approx(best, abs=0.0051)

    def test_conversion_counts_every_purchase_within_30_days_of_the_view(
        self, events: pd.DataFrame, journeys: pd.DataFrame, shown: Callable[[str, str], Rows]
    ) -> None:
        steps = value_in_pandas.steps(journeys, "product_id").rename(index=names(events).to_dict())
        bought = steps["bought"] + steps["direct"]
        assert steps["direct"].sum()
        assert number(shown("Products", "Conversion")) == pytest.approx(bought.sum() / steps["viewed"].sum())
        for (name, _), row in by(shown("Products", "Top products by revenue"), "Product", "Category").items():
            viewed = steps["viewed"].get(name, 0)
            assert row["Conversion"] == (pytest.approx(bought[name] / viewed) if viewed else None)
        for (name, _), row in by(shown("Products", "Top products by conversion"), "Product", "Category").items():
            viewed = steps["viewed"][name]
            assert (row["Viewed"], row["Bought after a view"]) == (viewed, bought[name])
            assert row["Conversion"] == pytest.approx(bought[name] / viewed)
            assert row["At least"] == pytest.approx(value_in_pandas.at_least(bought[name], viewed))
