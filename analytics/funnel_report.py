"""What the funnel says: where journeys end, which products bring and convert most, how long customers take."""

from typing import Any, Final

from analytics import leaks, plots
from analytics.finding import Analysis, CannotAnswer, Finding, Number
from analytics.funnel import by_category, funnel_daily, funnel_leaks, funnel_products, funnel_times, funnel_units
from analytics.shop import Shop
from analytics.words import counted, duration, listed, money, percent
from churn.report_page import Table

TOP: Final = 10
LEAST_VIEWS: Final = 50


def _need_views(shop: Shop) -> None:
    if not shop.value("SELECT count(*) FROM events WHERE event_type = 'view'"):
        raise CannotAnswer("it has no product views, and a funnel begins with one")


def _overall(shop: Shop) -> Finding:
    _need_views(shop)
    units = {row["unit"]: row for row in funnel_units(shop)}
    journey, session = units["journey"], units["session"]
    to_cart, to_buy = _rate(journey["carted"], journey["viewed"]), _rate(journey["purchased"], journey["carted"])
    numbers = [number for unit, row in units.items() for number in _step_numbers(unit, row)]
    words = [
        (
            f"Of {journey['viewed']:,} journeys (a customer and a product) {journey['carted']:,} led to the cart and "
            f"{journey['purchased']:,} of those to a purchase, within 30 days of the first view."
        ),
        (
            f"{journey['purchased_without_cart']:,} journeys were bought with no cart seen in between, "
            f"{journey['purchased_without_view']:,} with no view seen before: they stand beside the funnel, not in it."
        ),
    ]
    weak = "from view to cart" if to_cart < to_buy else "from cart to purchase"
    figure, drawn = plots.axes("Reached, by unit", "", "share of those with a view")
    for unit, row in units.items():
        if row["viewed"]:
            reached = [row[step] / row["viewed"] for step in ("viewed", "carted", "purchased")]
            drawn.plot(["view", "cart", "purchase"], reached, marker="o", label=unit)
    drawn.legend(fontsize=8)
    rows = [
        (unit, *(f"{row[name]:,}" for name in _STEP_NAMES), percent(_rate(row["purchased"], row["viewed"])))
        for unit, row in units.items()
    ]
    return Finding(
        headline=f"{percent(to_cart)} of viewed products go into the cart and {percent(to_buy)} of those are bought; "
        f"{percent(_rate(session['purchased'], session['viewed']))} of sessions with a view pass all three steps.",
        action=f"More are lost {weak} than at the other step: begin there, with the categories named below.",
        words=words,
        numbers=numbers,
        figures=[figure],
        shown=[Table(("unit", "view", "cart", "purchase", "bought without cart", "without view", "all steps"), rows)],
        rows={"funnel-daily": funnel_daily(shop)},
    )


_STEP_NAMES: Final = ("viewed", "carted", "purchased", "purchased_without_cart", "purchased_without_view")


def _rate(reached: int, before: int) -> float:
    return reached / before if before else 0.0


def _step_numbers(unit: str, row: dict[str, Any]) -> list[Number]:
    found = []
    for name, reached, before in (("view to cart", "carted", "viewed"), ("cart to purchase", "purchased", "carted")):
        low, high = leaks.interval(row[reached], row[before])
        found.append(Number(f"{name}, {unit}", _rate(row[reached], row[before]), "share", low, high))
    return found


def _leaks(shop: Shop) -> Finding:
    _need_views(shop)
    rows = funnel_leaks(shop)
    categories = [row for row in rows if row["category"] != "all"]
    if len(categories) < 2:
        raise CannotAnswer("all products are of one category, and a leak is found by comparing categories")
    worst, total = categories[0], sum(row["money_lost"] for row in categories)
    shown = [
        (
            row["category"],
            f"{row['viewed']:,}",
            percent(_rate(row["carted"], row["viewed"])),
            percent(_rate(row["purchased"], row["carted"])),
            row["largest_leak"],
            f"{row['lost']:,}",
            f"{row['money_lost']:,.0f}",
        )
        for row in rows[:15]
    ]
    bar = leaks.bar(by_category(shop))
    return Finding(
        headline=f"The largest leak is {worst['category']}, {worst['largest_leak']}: {worst['lost']:,} journeys short "
        f"of what the best category reaches, worth about {money(worst['money_lost'], shop.currency)}.",
        action=f"{worst['category']}: {worst['intervention']}",
        words=[
            (
                f"The bar is what some category reaches for sure: {percent(bar.view_to_cart)} from view to cart, "
                f"{percent(bar.cart_to_purchase)} from cart to purchase. Reaching it everywhere would bring about "
                f"{money(total, shop.currency)} more over this history."
            ),
            "Categories differ in what they sell, so the bar is a direction, not a forecast.",
        ],
        numbers=[Number("Money at the largest leak", worst["money_lost"], "money"), Number("At all", total, "money")],
        figures=[
            plots.bars(
                "Money lost at the largest leak of each category",
                [row["category"] for row in categories[:12]],
                [row["money_lost"] for row in categories[:12]],
                shop.currency,
            )
        ],
        shown=[Table(("category", "views", "to cart", "to purchase", "largest leak", "lost", shop.currency), shown)],
        rows={"funnel-leaks": rows},
    )


def _products(shop: Shop) -> Finding:
    rows = [row for row in funnel_products(shop) if row["orders"] or row["viewed"]]
    if not any(row["orders"] for row in rows):
        raise CannotAnswer("no order names a product")
    net = sum(row["revenue"] for row in rows)
    by_revenue = sorted(rows, key=lambda row: (-row["revenue"], row["product_id"]))[:TOP]
    seen = [row for row in rows if row["viewed"] >= LEAST_VIEWS]
    by_conversion = sorted(seen, key=lambda row: -row["conversion_low"])[:TOP]
    weak = [
        row
        for row in seen
        if row["conversion_high"] < _rate(sum(each["purchased"] for each in seen), sum(each["viewed"] for each in seen))
    ]
    weak.sort(key=lambda row: -row["viewed"])
    best = by_revenue[0]
    share = sum(row["revenue"] for row in by_revenue) / net if net else 0.0
    words = []
    if by_conversion:
        first = by_conversion[0]
        words.append(
            f"The surest converter is {first['product_name']}: {percent(first['conversion'])} of those who look at it "
            f"buy it (95 % interval {percent(first['conversion_low'])} to {percent(first['conversion_high'])})."
        )
    else:
        words.append(f"No product has {LEAST_VIEWS} viewers, so that conversion is not ranked.")
    if weak:
        words.append(
            f"{counted(len(weak), 'product')} with {LEAST_VIEWS} viewers or more convert below the mean for sure; most "
            f"looked at: {listed([row['product_name'] for row in weak[:3]])}."
        )
    return Finding(
        headline=f"{best['product_name']} brings most, {money(best['revenue'], shop.currency)}; the first "
        f"{len(by_revenue)} products bring {percent(share)} of net revenue.",
        action=f"Rework the pages of {listed([row['product_name'] for row in weak[:3]])}."
        if weak
        else f"Keep {best['product_name']} in stock: it is the first in revenue.",
        words=words,
        figures=[
            plots.bars(
                "Products by net revenue",
                [row["product_name"] for row in by_revenue],
                [row["revenue"] for row in by_revenue],
                shop.currency,
            )
        ],
        shown=[
            Table(
                ("product", "category", "orders", "units", "gross", "net revenue"),
                [
                    (
                        row["product_name"],
                        row["category"],
                        f"{row['orders']:,}",
                        f"{row['units']:,}",
                        f"{row['gross']:,.2f}",
                        f"{row['revenue']:,.2f}",
                    )
                    for row in by_revenue
                ],
                f"By net revenue, in {shop.currency}",
            ),
            Table(
                ("product", "viewers", "bought", "conversion", "95 % interval"),
                [
                    (
                        row["product_name"],
                        f"{row['viewed']:,}",
                        f"{row['purchased'] + row['purchased_without_cart']:,}",
                        percent(row["conversion"]),
                        f"{percent(row['conversion_low'])} to {percent(row['conversion_high'])}",
                    )
                    for row in by_conversion
                ],
                f"By conversion (lower end of the interval), {LEAST_VIEWS} viewers or more",
            ),
        ][: 2 if by_conversion else 1],
        rows={"funnel-products": rows},
    )


def _times(shop: Shop) -> Finding:
    _need_views(shop)
    rows = funnel_times(shop)
    everywhere = {row["step"]: row for row in rows if row["category"] == "all"}
    if len(everywhere) < 2:
        raise CannotAnswer("no journey goes from a view through the cart to a purchase")
    to_cart, to_buy = everywhere["view_to_cart"], everywhere["cart_to_purchase"]
    slow = sorted(
        (
            row
            for row in rows
            if row["category"] != "all" and row["journeys"] >= 30 and row["step"] == "cart_to_purchase"
        ),
        key=lambda row: -row["median_s"],
    )
    remind_s = to_buy["p90_s"]
    return Finding(
        headline=f"Half of those who put a product into the cart do so within {duration(to_cart['median_s'])} of the "
        f"first view, and half of those who buy do so within {duration(to_buy['median_s'])} of that.",
        action=f"Nine of ten who buy have done so {duration(remind_s)} after the cart: a reminder before that reaches "
        "many who would have come by themselves.",
        words=[
            f"The means are {duration(to_cart['mean_s'])} and {duration(to_buy['mean_s'])}: "
            + ("a few take very long." if to_cart["mean_s"] > 2 * to_cart["median_s"] else "close to the medians."),
            *(
                [f"Slowest from cart to purchase: {slow[0]['category']} ({duration(slow[0]['median_s'])})."]
                if slow
                else []
            ),
        ],
        numbers=[
            Number("View to cart, median", to_cart["median_s"], "seconds"),
            Number("Cart to purchase, median", to_buy["median_s"], "seconds"),
            Number("Cart to purchase, 90th percentile", to_buy["p90_s"], "seconds"),
        ],
        shown=[
            Table(
                ("category", "step", "journeys", "median", "mean", "90th percentile"),
                [
                    (
                        row["category"],
                        row["step"].replace("_", " "),
                        f"{row['journeys']:,}",
                        duration(row["median_s"]),
                        duration(row["mean_s"]),
                        duration(row["p90_s"]),
                    )
                    for row in sorted(rows, key=lambda row: (row["category"] != "all", -row["journeys"]))[:20]
                ],
            )
        ],
        rows={"funnel-times": rows},
    )


ANALYSES: Final = (
    Analysis(
        "funnel",
        "From view to purchase",
        "How many get from looking to the cart and from the cart to a purchase? Steps are ordered; other "
        "events may lie between.",
        _overall,
        ("funnel-daily",),
    ),
    Analysis(
        "funnel-leaks",
        "Leaks by category",
        "Where is the largest leak between view and purchase, and what would closing it bring?",
        _leaks,
        ("funnel-leaks",),
    ),
    Analysis(
        "products",
        "Products",
        "Which products bring most, and which convert best?",
        _products,
        ("funnel-products",),
    ),
    Analysis(
        "time-to-act",
        "Time to act",
        "How long do customers take from the view to the cart and from the cart to the purchase?",
        _times,
        ("funnel-times",),
    ),
)
