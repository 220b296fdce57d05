"""Board "Products": what sells, what is looked at and not bought, and what is bought together."""

from typing import Final

from churn.analysis_tables import FUNNEL_PRODUCTS, PRODUCT_PAIRS, SALES_DAILY
from kibana.data_views import of_table
from kibana.shapes import (
    FAINT,
    NEUTRAL,
    XY,
    Board,
    Computed,
    Control,
    Heatmap,
    Metric,
    OverTime,
    Row,
    Table,
    Terms,
    count,
    highest,
    ratio,
    share,
    total,
)

NOTE: Final = """\
Numbers by product are over the whole history, as of the last run of the analysis, which runs once a day; those by \
category and month follow the time range. Revenue is net: less discounts and refunds. **Conversion** is the share of \
journeys (one customer and one product, from the first view) that end with a purchase within 30 days.

**Bought together** counts net orders that hold both products. *Lift* says how many times more often that happens \
than it would if they had nothing to do with each other (1: chance); only pairs are listed that chance alone does not \
explain. Pairs always show all categories."""

_PRODUCTS: Final = of_table(FUNNEL_PRODUCTS)
_SALES: Final = of_table(SALES_DAILY)
_PAIRS: Final = of_table(PRODUCT_PAIRS)
_viewed = total("viewed", "Viewed", format="whole", colour=FAINT)
_purchased = Computed(
    "add",
    (total("purchased", ""), total("purchased_without_cart", "")),
    "Bought after a view",
    "whole",
    NEUTRAL,
)
_revenue = total("revenue", "Net revenue", format="amount")
_conversion = ratio("Conversion", _purchased, _viewed)
ENOUGH_VIEWS: Final = 50

PRODUCTS: Final = Board(
    id="products",
    title="Products",
    description="What sells, what is looked at and not bought, and what is bought together.",
    time_from="now-1y/d",
    controls=(Control(_PRODUCTS, "category", "Category"),),
    note=NOTE,
    rows=(
        Row(
            5,
            (
                Metric(
                    "Products",
                    _PRODUCTS,
                    count("Products"),
                    subtitle="seen or sold",
                    about="products that were seen or sold.",
                ),
                Metric(
                    "Units sold",
                    _PRODUCTS,
                    total("units", "Units sold", format="whole"),
                    subtitle="over the whole history",
                    about="units bought.",
                ),
                Metric(
                    "Net revenue of products",
                    _PRODUCTS,
                    total("revenue", "Net revenue of products", format="amount"),
                    subtitle="over the whole history",
                    about="less discounts and refunds.",
                ),
                Metric(
                    "Conversion",
                    _PRODUCTS,
                    _conversion,
                    subtitle="of journeys viewed",
                    about="journeys bought / journeys viewed.",
                ),
            ),
        ),
        Row(
            18,
            (
                Table(
                    "Top products by revenue",
                    _PRODUCTS,
                    (Terms("product_name", "Product", size=100), Terms("category", "Category", size=1, by=None)),
                    (
                        _revenue,
                        share(total("revenue", "Net revenue"), "Share"),
                        total("units", "Units", format="whole"),
                        _conversion,
                    ),
                    widths={"Product": 180, "Net revenue": 110, "Share": 75, "Units": 75, "Conversion": 110},
                    about="net revenue, its share among the products listed, units and conversion.",
                ),
                Table(
                    "Top products by conversion",
                    _PRODUCTS,
                    (Terms("product_name", "Product", size=100, by=2), Terms("category", "Category", size=1, by=None)),
                    (
                        highest("conversion", "Conversion", format="percent"),
                        _purchased,
                        _viewed,
                        highest("conversion_low", "At least", format="percent"),
                    ),
                    where=f"viewed >= {ENOUGH_VIEWS}",
                    widths={
                        "Product": 180,
                        "Conversion": 130,
                        "Bought after a view": 110,
                        "Viewed": 85,
                        "At least": 85,
                    },
                    about=f"products viewed in at least {ENOUGH_VIEWS} journeys; *At least* is the lower end of the "
                    "95 % interval.",
                ),
            ),
        ),
        Row(
            12,
            (
                Heatmap(
                    "Net revenue by category and month",
                    _SALES,
                    OverTime("1M", "Month"),
                    Terms("category", "Category", size=15),
                    _revenue,
                    about="net revenue of the time range by the month of the order.",
                ),
                XY(
                    "Journeys by category",
                    _PRODUCTS,
                    "bar_horizontal",
                    (_viewed, _purchased),
                    over=Terms("category", "Category", size=15),
                    about="journeys viewed and bought.",
                ),
            ),
        ),
        Row(
            18,
            (
                Table(
                    "Bought together",
                    _PAIRS,
                    (Terms("name_a", "Who buys", size=50), Terms("name_b", "also buys", size=5)),
                    (
                        highest("lift", "Lift"),
                        highest("confidence", "How often", format="percent"),
                        total("orders", "Orders with both", format="whole"),
                        highest("support", "Of all orders", format="percent"),
                    ),
                    ignores_controls=True,
                    about="pairs by lift; *How often* is the share of orders with the first product that also hold "
                    "the second.",
                ),
            ),
        ),
    ),
)
