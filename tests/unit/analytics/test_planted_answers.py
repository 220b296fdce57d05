"""What was planted in a history comes out of the analyses of it."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from analytics import big_spenders, engagement, quality, recommend, risky, views
from analytics.finding import CannotAnswer
from analytics.shop import Shop
from churn.events import Event
from churn.history import HistoryWriter

END = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)

Open = Callable[[Iterable[Event]], Shop]


@pytest.fixture
def open_shop(tmp_path: Path) -> Open:
    """The shop in which these events happened, and arrived at once."""

    def opened(events: Iterable[Event]) -> Shop:
        with HistoryWriter(tmp_path / "history") as writer:
            for event in events:
                writer.add(event, event.occurred_at)
        return Shop(tmp_path / "history", views.connect(tmp_path / "history", END), END, "EUR")

    return opened


def bought(order: str, customer: str, product: str, at: datetime, price: float = 10.0, **more: Any) -> Event:
    return Event(
        f"{order} {product}", "purchase", at, customer, product_id=product, price=price, order_id=order, **more
    )


def returned(order: str, customer: str, product: str, at: datetime, price: float = 10.0) -> Event:
    return Event(f"back {order}", "refund", at, customer, product_id=product, price=price, order_id=order)  # type: ignore[call-arg]


# --- risky groups -----------------------------------------------------------------------------------------------------


def orders_of(country: str, orders: int, back: int) -> Iterator[Event]:
    for number in range(orders):
        name, at = f"{country}{number}", END - DAY * (2 + number % 20)
        yield bought(name, name, "p", at, country=country, category="shoes", discount=1.0)
        if number < back:
            yield returned(name, name, "p", at + DAY, price=9.0)


def test_a_country_that_sends_back_more_is_risky_and_its_figures_are_right(open_shop: Open) -> None:
    shop = open_shop([*orders_of("AT", 60, 20), *orders_of("BE", 80, 4)])
    found = {(row["dimension"], row["group"]): row for row in risky.groups(shop)}
    first, second, all_shoes = found["country", "AT"], found["country", "BE"], found["category", "shoes"]
    assert (first["orders"], first["refunded"], first["gross"], first["refunds"]) == (60, 20, 600.0, 180.0)
    assert (second["orders"], second["refunded"], second["discounts"]) == (80, 4, 80.0)
    assert (all_shoes["orders"], all_shoes["refunded"]) == (140, 24)
    assert first["given_share"] == pytest.approx((180 + 60) / 600)
    assert first["refund_rate_low"] < 1 / 3 == first["refund_rate"] < first["refund_rate_high"]
    assert [key for key, row in found.items() if row["is_risky"]] == [("country", "AT")]


def test_nobody_is_risky_where_all_send_back_alike(open_shop: Open) -> None:
    shop = open_shop([*orders_of("AT", 60, 10), *orders_of("BE", 60, 11)])
    assert not any(row["is_risky"] for row in risky.groups(shop))


# --- recommendations --------------------------------------------------------------------------------------------------


def test_a_buyer_is_shown_what_others_bought_with_it_and_not_what_they_have_or_sent_back(open_shop: Open) -> None:
    def pairs(other: str, count: int) -> Iterator[Event]:
        for number in range(count):
            name = f"{other}{number}"
            for product in ("a", other):
                yield bought(name, name, product, END - DAY * 9)

    sent_back = [
        each
        for number in range(9)
        for each in (
            bought(f"s{number}", f"s{number}", "a", END - DAY * 9),
            bought(f"s{number}", f"s{number}", "never", END - DAY * 9),
            returned(f"s{number}", f"s{number}", "a", END - DAY * 8, price=20.0),
        )
    ]
    alone = bought("mine", "me", "a", END - DAY)
    shop = open_shop([*pairs("b", 6), *pairs("c", 4), *pairs("d", 3), *sent_back, alone])
    rows = recommend.recommendations(shop)
    mine = [row for row in rows if row["customer_id"] == "me"]
    assert [(row["rank"], row["product_id"], row["because_of"]) for row in mine] == [(1, "b", "a"), (2, "c", "a")]
    assert [row["score"] for row in mine] == pytest.approx([6 / 14, 4 / 14])
    of_b = [row["product_id"] for row in rows if row["customer_id"] == "b0"]
    assert of_b == ["c"]


def test_confidences_are_those_of_a_plain_count_and_see_nothing_later(simulated: Path) -> None:
    shop = Shop(simulated, views.connect(simulated, END), END, "EUR")
    until = END.replace(tzinfo=None) - DAY * 60
    baskets: dict[tuple[str, str], set[str]] = {}
    query = """SELECT customer_id, order_key, product_id, ordered_at FROM order_lines
        JOIN orders USING (customer_id, order_key) WHERE is_net AND product_id IS NOT NULL"""
    for row in shop.rows(query):
        if row["ordered_at"] < until:
            baskets.setdefault((row["customer_id"], row["order_key"]), set()).add(row["product_id"])
    singles: dict[str, int] = {}
    together: dict[tuple[str, str], int] = {}
    for basket in baskets.values():
        for product in basket:
            singles[product] = singles.get(product, 0) + 1
        for pair in combinations(sorted(basket), 2):
            for one, other in (pair, pair[::-1]):
                together[one, other] = together.get((one, other), 0) + 1
    found = {
        (one, other): share for one, others in recommend.rules_until(shop, until).items() for other, share in others
    }
    assert len(found) > 10
    assert found == pytest.approx({pair: together[pair] / singles[pair[0]] for pair in found})
    missed = {pair for pair, count in together.items() if count >= recommend.LEAST_TOGETHER} - found.keys()
    assert all(sum(one == pair[0] for one, _ in found) == recommend.COMPANIONS for pair in missed)


# --- engagement -------------------------------------------------------------------------------------------------------


def visits(customer: int, sessions: int, views_each: int, price: float) -> Iterator[Event]:
    """Sessions a day apart, the last of which ends with a purchase."""
    name = f"c{customer:02}"
    for session in range(sessions):
        at = END - DAY * (1 + session) - MINUTE * customer
        for view in range(views_each):
            yield Event(f"{name} {session} {view}", "view", at + MINUTE * view, name, product_id=f"p{view}")  # type: ignore[call-arg]
    yield bought(name, name, "p0", END - DAY + MINUTE * (views_each - customer), price=price)


def test_a_ratio_that_rises_with_revenue_correlates_fully_and_one_that_never_changes_is_left_out(
    open_shop: Open,
) -> None:
    shop = open_shop(each for number in range(40) for each in visits(number, 2 + number, 2, 10.0 + number))
    found = {row["ratio"]: row for row in engagement.correlations(shop)}
    assert found["sessions_total"]["correlation"] == pytest.approx(1.0)
    assert found["sessions_with_purchase_share"]["correlation"] == pytest.approx(-1.0)
    assert found["sessions_total"]["customers"] == 40
    assert found["sessions_total"]["low"] > 0.99
    assert not {"engaged_sessions_share", "discount_share", "rating_mean"} & found.keys()


def test_two_ways_of_visiting_are_two_groups_with_their_own_figures(open_shop: Open) -> None:
    few = [each for number in range(30) for each in visits(number, 1 + number % 3, 1, 10.0)]
    many = [each for number in range(30, 70) for each in visits(number, 10 + number % 3, 12, 50.0)]
    rows, silhouette = engagement.clusters(open_shop([*few, *many]))
    assert [(row["customers"], row["revenue_per_customer"]) for row in rows] == [(40, 50.0), (30, 10.0)]
    assert [row["sessions"] for row in rows] == pytest.approx([10 + 39 / 40, 2.0])
    assert "more" in rows[0]["character"]
    assert silhouette > 0.5


def test_customers_who_all_visit_alike_are_no_groups(open_shop: Open) -> None:
    shop = open_shop(each for number in range(70) for each in visits(number, 2, 2, 10.0))
    with pytest.raises(CannotAnswer, match="different habits"):
        engagement.clusters(shop)


# --- big spenders -----------------------------------------------------------------------------------------------------


def test_the_tenth_that_always_spends_most_is_found_and_its_share_is_right(open_shop: Open) -> None:
    def year(customer: int) -> Iterator[Event]:
        price = 90.0 if customer % 10 == 0 else 10.0
        for month in range(13):
            at = END - DAY * (30 * month + 1) - MINUTE * customer
            yield bought(f"{customer} {month}", f"c{customer}", "p", at, price=price)

    found = big_spenders.BIG_SPENDERS.answer(open_shop(each for customer in range(250) for each in year(customer)))
    share = next(number for number in found.numbers if number.name.startswith("Share of revenue"))
    assert share.value == pytest.approx(25 * 90 / (25 * 90 + 225 * 10))
    assert share.low is not None
    assert share.low < share.value < (share.high or 0)
    assert "100" in found.headline


# --- data quality -----------------------------------------------------------------------------------------------------


def test_missing_and_odd_values_are_counted_where_they_belong(open_shop: Open) -> None:
    events = [bought(f"o{number}", f"c{number}", "p", END - DAY, price=10.0 + number % 4) for number in range(40)]
    events += [bought(f"x{number}", "c", "p", END - DAY, price=5_000.0, category="shoes") for number in range(2)]
    events.append(Event("v", "view", END - DAY, "c", product_id="q"))  # type: ignore[call-arg]
    found = {row["field"]: row for row in quality.fields(open_shop(events))}
    price, category = found["price"], found["category"]
    assert (price["events"], price["missing"], price["outliers"]) == (43, 1, 2)
    assert (float(price["low"]), float(price["high"])) == (10.0, 5_000.0)
    assert (category["missing"], category["distinct"], category["missing_share"]) == (41, 1, pytest.approx(41 / 43))
    assert found["product_id"]["distinct"] == 2
    assert (found["rating"]["events"], found["rating"]["missing_share"]) == (0, None)
