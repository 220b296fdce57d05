"""The analyses of real shops give the figures that others computed independently."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analytics import cohorts, contents, funnel, funnel_report, rates, sales, value_tiers, views
from analytics.finding import CannotAnswer
from analytics.shop import Shop

pytestmark = pytest.mark.real_data


def shop_of(history: Path, as_of: datetime) -> Shop:
    return Shop(history, views.connect(history, as_of), as_of, "GBP")


@pytest.fixture(scope="module")
def retail(replayed: Callable[[str, str], Path]) -> Shop:
    return shop_of(replayed("online_retail.parquet", "online-retail"), datetime(2011, 12, 10, tzinfo=UTC))


@pytest.fixture(scope="module")
def rees46(replayed: Callable[[str, str], Path]) -> Shop:
    return shop_of(replayed("rees46_oct_even_dev.parquet", "rees46"), datetime(2019, 10, 2, tzinfo=UTC))


@pytest.fixture(scope="module")
def facts(real_data: Path) -> dict[str, Any]:
    known: dict[str, Any] = json.loads((real_data / "facts.json").read_text())
    return known


@pytest.fixture(scope="module")
def known(facts: dict[str, Any]) -> dict[str, Any]:
    """Online Retail without repeated rows."""
    rows: dict[str, Any] = facts["online_retail"]["B"]
    return rows


def test_revenue_orders_and_order_value(retail: Shop, known: dict[str, Any]) -> None:
    months = sales.by_month(retail)
    assert {f"{row['month']:%Y-%m}": (round(row["gross"], 2), row["orders"]) for row in months} == {
        month: (of_month["revenue"], of_month["orders"]) for month, of_month in known["monthly"].items()
    }
    orders, gross = sum(row["orders"] for row in months), sum(row["gross"] for row in months)
    assert (orders, round(gross, 2)) == (known["invoices"], known["revenue"])
    assert round(sum(row["kept"] for row in months) / orders, 4) == known["aov"]
    # The README of the data: gross less the cancellations of known customers, repeated rows dropped.
    assert round(sum(row["revenue"] for row in months), 2) == 8_278_519.42
    assert [row["buyers"] for row in rates.kpis(retail)] == [row["customers"] for row in known["monthly"].values()]


def test_products_and_countries(retail: Shop, known: dict[str, Any]) -> None:
    products = sorted(funnel.funnel_products(retail), key=lambda row: (-row["gross"], row["product_id"]))[:10]
    assert [(row["product_id"], round(row["gross"], 2)) for row in products] == [
        (code, revenue) for code, revenue, _ in known["top10_stockcode_by_revenue"]
    ]
    by_units = sorted(funnel.funnel_products(retail), key=lambda row: -row["units"])[:10]
    assert [(row["product_id"], row["units"]) for row in by_units] == [
        (code, units) for code, units, _ in known["top10_stockcode_by_quantity"]
    ]
    countries = sorted(rates.countries(retail), key=lambda row: -row["gross"])[:5]
    assert [[row["country"], round(row["gross"], 2)] for row in countries] == known["top5_country_by_revenue"]


def test_tiers_and_repeat_rate(retail: Shop, known: dict[str, Any]) -> None:
    tiers = value_tiers.value_tiers(retail)
    assert tiers[0]["customers"] == known["top20pct_customers"]
    assert round(tiers[0]["revenue_share"], 6) == known["top20pct_share"]
    buyers, once = retail.sql.execute(
        "SELECT count(*) FILTER (orders > 0), count(*) FILTER (orders = 1) FROM customers"
    ).fetchall()[0]
    assert (buyers, once, round(1 - once / buyers, 6)) == (
        known["customers"],
        known["one_time_buyers"],
        known["repeat_rate"],
    )


def test_cohorts(retail: Shop, known: dict[str, Any]) -> None:
    # The facts count December 2011, too, which is not over: as if the month were.
    later = Shop(retail.history, retail.sql, datetime(2012, 1, 1, tzinfo=UTC), "GBP")
    ours = cohorts.matrix(cohorts.cohorts(later), "active")
    theirs = pd.DataFrame(known["cohort_active_customers"]).T
    assert list(ours.index) == list(theirs.index)
    np.testing.assert_array_equal(ours.to_numpy(dtype=float), theirs.to_numpy(dtype=float))
    assert "2011-12" not in cohorts.matrix(cohorts.cohorts(retail), "active").index


def test_segments_by_the_rule_of_the_facts(retail: Shop, known: dict[str, Any]) -> None:
    people = retail.table(
        "SELECT customer_id, date_diff('day', last_order_at::DATE, DATE '2011-12-10') AS r, orders AS f, "
        "gross_minor / 100 AS m FROM customers WHERE orders > 0 ORDER BY customer_id"
    ).to_pandas()
    scores = {
        name: 1 + (5 * (values.rank(method="first") - 1) // len(people))
        for name, values in {"r": -people["r"], "f": people["f"], "m": people["m"]}.items()
    }
    r, f, m = scores["r"], scores["f"], scores["m"]
    tier = np.select(
        [(r >= 4) & (f >= 4) & (m >= 4), (f >= 4) & (r >= 3), (r <= 2) & ((f >= 3) | (m >= 3)), r <= 2],
        ["VIP", "Loyal", "At Risk", "Low Value"],
        "Regular",
    )
    found = people.groupby(tier)["m"].agg(["size", "sum"]).round(2)
    assert {name: {"customers": int(row["size"]), "revenue": row["sum"]} for name, row in found.iterrows()} == known[
        "rfm_segments"
    ]


def test_without_views_the_funnel_says_why_and_the_rest_is_answered(retail: Shop) -> None:
    for analysis in funnel_report.ANALYSES:
        if analysis.id != "products":
            with pytest.raises(CannotAnswer, match="view"):
                analysis.answer(retail)
    quick = {
        "products",
        "revenue",
        "countries",
        "repeat",
        "value-tiers",
        "retention",
        "lifecycle",
        "peaks",
        "seasonality",
    }
    for analysis in contents.analyses():
        if analysis.id in quick:
            assert analysis.answer(retail).headline


def test_the_funnel_of_rees46(rees46: Shop, facts: dict[str, Any]) -> None:
    units = {row["unit"]: row for row in funnel.funnel_units(rees46)}
    person, known = units["person"], facts["rees46_even"]["funnel_user"]
    assert (person["viewed"], person["carted"], person["purchased"]) == (
        known["with_view"],
        known["view_and_cart"],
        known["view_cart_purchase"],
    )
    assert person["purchased_without_cart"] + person["purchased_without_view"] == known["purchase_without_cart"]
    sessions = rees46.value("SELECT count(*) FROM sessions")
    assert sessions == facts["rees46_even"]["sessions_by_30min_gap_per_user"]
    money = rees46.value("SELECT sum(gross_minor) / 100 FROM orders")
    assert round(money, 2) == facts["rees46_even"]["purchase_revenue"]
    assert timedelta(0) < timedelta(seconds=funnel.funnel_times(rees46)[0]["median_s"])
