"""The tables of the analyses, each declared once: Parquet, Elasticsearch (`analytics-<name>`) and boards read this.

Every row has an `@timestamp`, the time that the row is about, so that a time picker works on every table. Rows are
named by their key, so that the same analysis again gives the same documents.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from xxhash import xxh3_128_hexdigest

Kind = Literal["time", "keyword", "count", "money", "number", "flag", "text"]
AT: Final = "@timestamp"


class Column(NamedTuple):
    """One column; money in major units, shares from 0 to 1, durations in the unit of the name."""

    name: str
    kind: Kind
    meaning: str


class Table(NamedTuple):
    """Rows of one analysis. `columns` are those beside `@timestamp`, whose meaning is `at`.

    `key` names the columns that name a row; what stands in them is never missing. A table of one analysis is replaced
    whole; with `part_by` only the rows that share those columns' values with a written one are (a model's, a day's).
    """

    name: str
    what: str
    at: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    part_by: tuple[str, ...] = ()

    @property
    def index(self) -> str:  # type: ignore[override] # nobody looks for a place in this tuple
        """The index of Elasticsearch."""
        return f"analytics-{self.name}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns, `@timestamp` first."""
        return (AT, *(column.name for column in self.columns))


class RowDoesNotFit(ValueError):
    """A row has a column that its table does not declare, or lacks one of its key."""


def row_id(table: Table, row: Mapping[str, Any]) -> str:
    """The id of a row: a hash of its key, the same on every run. Raises `RowDoesNotFit`."""
    unknown = row.keys() - set(table.names)
    missing = [name for name in table.key if row.get(name) is None]
    if unknown or missing:
        said = f"unknown columns {sorted(unknown)}" if unknown else f"nothing in {missing}"
        raise RowDoesNotFit(f"{table.index}: {said} in {dict(row)}")
    return xxh3_128_hexdigest(json.dumps([str(row[name]) for name in table.key]).encode())


def _keywords(**meanings: str) -> tuple[Column, ...]:
    return tuple(Column(name, "keyword", meaning) for name, meaning in meanings.items())


def _counts(**meanings: str) -> tuple[Column, ...]:
    return tuple(Column(name, "count", meaning) for name, meaning in meanings.items())


def _money(**meanings: str) -> tuple[Column, ...]:
    return tuple(Column(name, "money", meaning) for name, meaning in meanings.items())


def _numbers(**meanings: str) -> tuple[Column, ...]:
    return tuple(Column(name, "number", meaning) for name, meaning in meanings.items())


def _flags(**meanings: str) -> tuple[Column, ...]:
    return tuple(Column(name, "flag", meaning) for name, meaning in meanings.items())


def _times(**meanings: str) -> tuple[Column, ...]:
    return tuple(Column(name, "time", meaning) for name, meaning in meanings.items())


def _texts(**meanings: str) -> tuple[Column, ...]:
    return tuple(Column(name, "text", meaning) for name, meaning in meanings.items())


_DAY: Final = "The day (UTC)."
_MONTH: Final = "The first day of the month (UTC)."
_AS_OF: Final = "The moment that the analysis is about."
_UNKNOWN: Final = "`unknown` where none was given"

_JOURNEY_STEPS: Final = _counts(
    viewed="Journeys (a customer and a product) with a view.",
    carted="Of these, put into the cart after the view, within 30 days of it.",
    purchased="Of those in the cart, bought after it, within 30 days of the view.",
    purchased_without_cart="Of those viewed, bought within 30 days with no cart in between.",
    purchased_without_view="Journeys bought with no view seen before, on the day of the purchase; none of the viewed.",
)

FUNNEL_DAILY: Final = Table(
    "funnel-daily",
    "From view to purchase; unit: journey, a customer and a product, on the day of its first view.",
    _DAY,
    (
        *_keywords(
            category=f"Category of the product, {_UNKNOWN}.",
            country=f"Country of the customer, {_UNKNOWN}.",
            channel=f"Channel of the first view, {_UNKNOWN}.",
        ),
        *_JOURNEY_STEPS,
        *_numbers(
            view_to_cart_s_sum="Seconds from view to cart, summed over `carted`.",
            cart_to_purchase_s_sum="Seconds from cart to purchase, summed over `purchased`.",
        ),
        *_flags(is_mature="Whether the 30 days after the day are over."),
    ),
    (AT, "category", "country", "channel"),
)
FUNNEL_PRODUCTS: Final = Table(
    "funnel-products",
    "The same journeys by product, over the whole history.",
    _AS_OF,
    (
        *_keywords(
            product_id="The product.",
            product_name="Its latest name; its id where it has none.",
            category=f"Its category, {_UNKNOWN}.",
        ),
        *_JOURNEY_STEPS,
        *_counts(
            orders="Net orders with the product.",
            units="Units bought.",
            customers="Customers with a net order of it.",
            lost="Journeys lost at the largest leak, beyond the bar of `funnel-leaks`.",
        ),
        *_money(gross="Price x quantity of its lines.", revenue="Net revenue: its lines less discounts and refunds."),
        *_keywords(
            largest_leak="The step that costs most: `view → cart` or `cart → purchase`; missing without a view.",
            intervention="What to do about the leak.",
        ),
        *_numbers(
            conversion="Journeys bought after a view / journeys viewed; none without a view.",
            conversion_low="Lower end of its 95 % interval (Wilson).",
            conversion_high="Upper end.",
        ),
    ),
    ("product_id",),
)
FUNNEL_TIMES: Final = Table(
    "funnel-times",
    "Time to act by category: from view to cart and from cart to purchase, of journeys.",
    _AS_OF,
    (
        *_keywords(category="Category, or `all`.", step="view_to_cart or cart_to_purchase."),
        *_counts(journeys="Journeys that took the step."),
        *_numbers(median_s="Median seconds.", mean_s="Mean seconds.", p90_s="90th percentile, seconds."),
    ),
    ("category", "step"),
)
CARTS_DAILY: Final = Table(
    "carts-daily",
    "Carts by the day on which they began.",
    _DAY,
    (
        *_keywords(
            category=f"Category of the cart's line of most value, {_UNKNOWN}.",
            country=f"Country of the customer, {_UNKNOWN}.",
            channel=f"Channel of the cart's first event, {_UNKNOWN}.",
        ),
        *_counts(
            started="Carts begun.",
            abandoned="Of these, left alone for 24 hours without a purchase.",
            recovered="Of the abandoned, bought later, within 30 days.",
            bought="Of those begun, bought, recovered ones too.",
            emptied="Of those begun, emptied by the customer.",
            open="Of those begun, still open.",
        ),
        *_money(
            value_left="Price x quantity left in carts that were abandoned and not recovered.",
            value_recovered="Price x quantity in abandoned carts that were bought later.",
        ),
        *_numbers(recovery_s_sum="Seconds from the last cart event to the purchase, summed over `recovered`."),
        *_flags(is_mature="Whether every cart of the day has had 24 hours: rates use only such days."),
    ),
    (AT, "category", "country", "channel"),
)
COHORTS: Final = Table(
    "cohorts",
    "Retention by month of the first net order and country; counts and money add up over countries. Months that are "
    "not over are left out.",
    "The first day of the cohort's month.",
    (
        *_keywords(cohort="The cohort's month, YYYY-MM.", country=f"Country of the customer, {_UNKNOWN}."),
        *_counts(
            month_number="Months since that of the first order: 0, 1, 2 ...",
            customers="Customers of the cohort.",
            active="Of these, with a net order in this month.",
            rolling="Of these, with a net order in this month or later.",
            orders="Their net orders in this month.",
        ),
        *_money(revenue="Net value of these orders; refunds that name no order are left out.", aov="Revenue / orders."),
        *_numbers(retention="active / customers.", rolling_retention="rolling / customers."),
        *_flags(is_mature="Whether the month is over; always, because other cells are not written."),
    ),
    ("cohort", "country", "month_number"),
)
LIFECYCLE_MONTHLY: Final = Table(
    "lifecycle-monthly",
    "Buyers by month: new, returning (bought the month before, too), resurrecting (bought earlier), dormant (bought "
    "only the month before).",
    _MONTH,
    (
        *_keywords(state="new, returning, resurrecting or dormant.", country=f"Country of the customer, {_UNKNOWN}."),
        *_counts(customers="Customers in this state.", orders="Their net orders in the month."),
        *_money(revenue="Net value of these orders."),
        *_flags(is_mature="Whether the month is over."),
    ),
    (AT, "state", "country"),
)
SEGMENTS_MONTHLY: Final = Table(
    "segments-monthly",
    "Customers by RFM segment and tier at the end of each month, by cut points frozen at the moment of the analysis.",
    _MONTH,
    (
        *_keywords(segment="Named segment (R, F).", tier="One of five tiers (R, F, M)."),
        *_counts(customers="Customers."),
        *_money(revenue="Their net revenue of the 365 days before."),
        *_numbers(revenue_share="Its share of that of all customers at this moment."),
        *_times(as_of="The moment: the end of the month, or of the history."),
    ),
    (AT, "segment", "tier"),
)
SEGMENT_MOVES: Final = Table(
    "segment-moves",
    "Customers who moved between RFM segments from the end of one month to the end of the next.",
    _MONTH,
    (
        *_keywords(from_segment="Segment at the end of the month before.", to_segment="Segment at the end of this."),
        *_counts(customers="Customers."),
    ),
    (AT, "from_segment", "to_segment"),
)
PRODUCT_PAIRS: Final = Table(
    "product-pairs",
    "Products bought together: association rules on net orders, the best by lift; one row per rule.",
    _AS_OF,
    (
        *_keywords(
            product_a="Who buys this ...",
            product_b="... also buys that, in the same order.",
            name_a="Name of the first.",
            name_b="Name of the second.",
        ),
        *_counts(orders="Net orders with both.", rank="1 is the strongest pair by lift."),
        *_numbers(
            support="Share of net orders with both.",
            confidence="Of the orders with the first, the share with the second.",
            lift="Confidence / share of orders with the second; 1 is chance.",
            p_value="Chance of so many orders together if the two were independent (Fisher, Bonferroni).",
        ),
    ),
    ("product_a", "product_b"),
)
CUSTOMERS_DAILY: Final = Table(
    "customers-daily",
    "Active customers by day; each counted once a day, so that days do not add up to weeks.",
    _DAY,
    (
        *_keywords(
            country=f"Country of the customer, {_UNKNOWN}.",
            channel=f"Channel of the customer's first session of the day, {_UNKNOWN}.",
        ),
        *_counts(
            active="Customers with a visit.",
            new="Of these, on the day of their first.",
            returning="Of these, who had visited before.",
            visits="Visits begun: sessions with a view, a cart or a purchase, by the 30-minute rule.",
        ),
    ),
    (AT, "country", "channel"),
)
ORDERS_DAILY: Final = Table(
    "orders-daily",
    "Orders and net revenue by the day of the order; all columns but `customers` add up over every key.",
    _DAY,
    (
        *_keywords(
            country=f"Country of the customer, {_UNKNOWN}.",
            channel=f"Channel of the order, {_UNKNOWN}.",
            customer_kind="new: the customer's first net order; else returning.",
        ),
        *_counts(
            orders="Net orders: fully refunded ones do not count.",
            units="Units bought in all orders.",
            customers="Customers with a net order on this day, in this cell.",
        ),
        *_money(
            gross="Price x quantity of all orders.",
            discounts="Discounts.",
            refunds="Refunds, at most the order's value; with those that name no order, on their own day.",
            revenue="Net revenue: gross - discounts - refunds.",
        ),
    ),
    (AT, "country", "channel", "customer_kind"),
)
SALES_DAILY: Final = Table(
    "sales-daily",
    "The same money by line: which categories it comes from.",
    _DAY,
    (
        *_keywords(
            category=f"Category of the product, {_UNKNOWN}.",
            country=f"Country of the customer, {_UNKNOWN}.",
            channel=f"Channel of the order, {_UNKNOWN}.",
        ),
        *_counts(units="Units bought."),
        *_money(
            gross="Price x quantity.",
            discounts="Discounts.",
            refunds="Refunds, by the refund's category; with those that name no order, on their own day.",
            revenue="Net revenue: gross - discounts - refunds.",
        ),
    ),
    (AT, "category", "country", "channel"),
)
FUNNEL_LEAKS: Final = Table(
    "funnel-leaks",
    "Where journeys end, by category, and what that costs.",
    _AS_OF,
    (
        *_keywords(category="The category, or `all`."),
        *_JOURNEY_STEPS,
        *_keywords(
            largest_leak="The step that costs most: `view → cart` or `cart → purchase`.",
            intervention="What to do about it.",
        ),
        *_counts(
            lost="Journeys lost at that step beyond the bar: the step rate that the best category reaches for sure "
            "(highest lower end of a 95 % interval)."
        ),
        *_money(money_lost="These x the chance of a purchase from there x the mean value of a line bought."),
    ),
    ("category",),
)
VALUE_TIERS: Final = Table(
    "value-tiers",
    "Buyers by what they brought: a tier is a fifth of them, the first brought most.",
    _AS_OF,
    (
        *_keywords(tier="top 20 %, 20-40 %, ... of buyers by the net value of their orders."),
        *_counts(rank="1 is the top.", customers="Buyers.", orders="Net orders.", visits="Visits."),
        *_money(
            revenue="Net value of their orders; refunds that name no order are left out.",
            aov="Revenue / orders.",
            revenue_per_customer="Revenue / customers.",
        ),
        *_numbers(
            revenue_share="Its share of that of all buyers.",
            orders_per_customer="Orders / customers.",
            visits_per_customer="Visits / customers.",
            conversion="Visits with a purchase / visits.",
            refund_share="Refunds / revenue before refunds.",
            discount_share="Discounts / gross revenue.",
            recency_median_days="Median days since the last net order.",
        ),
    ),
    ("tier",),
)

REVENUE_COUNTRIES: Final = Table(
    "revenue-countries",
    "Revenue by country over the whole history.",
    _AS_OF,
    (
        *_keywords(country=f"Country of the customer, {_UNKNOWN}."),
        *_counts(customers="Customers.", buyers="Of these, with a net order.", orders="Net orders."),
        *_money(gross="Price x quantity.", revenue="Net revenue.", aov="Net value of orders / orders."),
        *_numbers(revenue_share="Share of all net revenue."),
    ),
    ("country",),
)
KPIS_MONTHLY: Final = Table(
    "kpis-monthly",
    "Visits, orders, revenue, churn and retention by month.",
    _MONTH,
    (
        *_counts(
            visits="Visits.",
            orders="Net orders.",
            buyers="Customers with a net order.",
            repeat_buyers="Of these, who had ordered before.",
            base="Customers with a net order in the 90 days before the month.",
            retained="Of these, with a net order in the 90 days from its first day.",
        ),
        *_money(gross="Price x quantity.", revenue="Net revenue.", aov="Net value of orders / orders."),
        *_numbers(
            conversion="Visits with a purchase / visits.",
            retention_rate="retained / base; missing while the 90 days are not over.",
            churn_rate="1 - retention rate.",
        ),
        *_flags(is_mature="Whether the month is over."),
    ),
    (AT,),
)
ENGAGEMENT: Final = Table(
    "engagement",
    "Do engagement ratios go with revenue? Rank correlation over customers.",
    _AS_OF,
    (
        *_keywords(ratio="The ratio or habit.", meaning="What it is."),
        *_counts(customers="Customers for whom it is known."),
        *_numbers(
            correlation="Spearman's rank correlation with net revenue.",
            low="Lower end of its 95 % interval (Fisher's z).",
            high="Upper end.",
        ),
    ),
    ("ratio",),
)
CLUSTERS: Final = Table(
    "clusters",
    "Customers grouped by how they visit (k-means on standardised habits).",
    _AS_OF,
    (
        *_keywords(cluster="Its number, 1 is the largest.", character="What sets it apart."),
        *_counts(customers="Customers."),
        *_numbers(
            share="Of all customers.",
            sessions="Sessions, mean.",
            views_per_session="Views per session, mean.",
            session_s="Seconds per session, mean.",
            carts_per_view="Carts / views, mean.",
            purchase_share="Sessions with a purchase / sessions, mean.",
            idle_days="Days since the last event, mean.",
        ),
        *_money(revenue_per_customer="Net revenue / customers."),
    ),
    ("cluster",),
)
RISKY_GROUPS: Final = Table(
    "risky-groups",
    "How much of what is sold is sent back or given away, by group.",
    _AS_OF,
    (
        *_keywords(dimension="country, channel, category or price.", group="The group."),
        *_counts(orders="Orders (lines for categories and prices).", refunded="Of these, with a refund."),
        *_money(gross="Price x quantity.", refunds="Refunds.", discounts="Discounts."),
        *_numbers(
            refund_rate="refunded / orders.",
            refund_rate_low="Lower end of its 95 % interval (Wilson).",
            refund_rate_high="Upper end.",
            given_share="(Refunds + discounts) / gross.",
        ),
        *_flags(is_risky="Whether its refund rate is above the rate of all others for sure (Bonferroni, p < 0.05)."),
    ),
    ("dimension", "group"),
)
COHORT_VALUES: Final = Table(
    "cohort-values",
    "What customers bring, by the month in which they were first seen, by first channel and by first category.",
    _AS_OF,
    (
        *_keywords(dimension="signup month, first channel or first category.", cohort="The group."),
        *_counts(customers="Customers.", buyers="Of these, with a net order.", orders="Net orders."),
        *_money(
            revenue="Net value of their orders.",
            aov="Revenue / orders.",
            aov_low="Lower end of its 95 % interval (bootstrap over customers).",
            aov_high="Upper end.",
            revenue_per_customer="Revenue / customers.",
        ),
    ),
    ("dimension", "cohort"),
)
PRODUCT_VIEWS: Final = Table(
    "product-views",
    "Products looked at in the same session more than by chance.",
    _AS_OF,
    (
        *_keywords(
            product_a="One product.", product_b="The other.", name_a="Name of the first.", name_b="Name of the second."
        ),
        *_counts(sessions="Sessions with both.", rank="1 is the strongest pair by lift."),
        *_numbers(lift="Sessions with both / expected by chance.", p_value="Fisher, Bonferroni."),
    ),
    ("product_a", "product_b"),
)
SEQUENCES: Final = Table(
    "sequences",
    "What the next order is of, by the category of this one.",
    _AS_OF,
    (
        *_keywords(from_category="Category of most value in an order.", to_category="That of the customer's next."),
        *_counts(orders="Orders followed by such a next one."),
        *_numbers(
            share="Of all next orders after the first category.",
            lift="Share / share of the second category among all next orders.",
            days_median="Median days between the two.",
        ),
    ),
    ("from_category", "to_category"),
)
RECOMMENDATIONS: Final = Table(
    "recommendations",
    "Products for each buyer: bought together with what they have, and not yet theirs.",
    _AS_OF,
    (
        *_keywords(
            customer_id="The buyer.",
            product_id="The product.",
            product_name="Its name.",
            because_of="What they have that speaks for it most.",
        ),
        *_counts(rank="1 is the best."),
        *_numbers(score="Sum of the confidences of the rules that lead to it."),
    ),
    ("customer_id", "rank"),
)
SEASONALITY: Final = Table(
    "seasonality",
    "Visits, orders and conversion by hour, weekday and month.",
    _AS_OF,
    (
        *_keywords(cycle="hour, weekday or month.", slot="The hour (UTC), the weekday or the month."),
        *_counts(place="Place of the slot in its cycle, from 0.", visits="Visits.", orders="Net orders."),
        *_money(revenue="Net value of orders."),
        *_numbers(
            visits_index="Visits a day in this slot / mean of the cycle.",
            conversion="Visits with a purchase / visits.",
            conversion_low="Lower end of its 95 % interval (Wilson).",
            conversion_high="Upper end.",
        ),
    ),
    ("cycle", "slot"),
)
PEAKS: Final = Table(
    "peaks",
    "Days with far more visits than the weeks around them, no campaign running.",
    "The first day of the peak.",
    (
        *_times(until="Its last day."),
        *_counts(days="Days.", visits="Visits."),
        *_numbers(factor="Visits / expected from the weeks around."),
    ),
    (AT,),
)
CAMPAIGNS: Final = Table(
    "campaigns",
    "Campaigns of limited time: how many more visits there were in their days.",
    "The first day of the campaign.",
    (
        *_keywords(campaign="The campaign."),
        *_times(until="Its last day."),
        *_counts(visits="Visits in these days.", brought="Of these, that carry its name.", orders="Net orders."),
        *_money(revenue="Net value of these orders.", revenue_more="Of this, by the lift."),
        *_numbers(
            lift="More visits than expected from the weeks around, as a share.",
            lift_low="Lower end of its 95 % interval (quasi-Poisson).",
            lift_high="Upper end.",
            conversion_brought="Conversion of visits that carry its name.",
            conversion_others="Conversion of the others in these days.",
        ),
    ),
    ("campaign",),
)
ATTRIBUTION: Final = Table(
    "attribution",
    "Orders and revenue by the channel of the first and of the last visit in the 30 days until the order.",
    _AS_OF,
    (
        *_keywords(dimension="channel or campaign.", source=f"The channel or campaign, {_UNKNOWN}."),
        *_counts(first_orders="Net orders by first touch.", last_orders="Net orders by last touch."),
        *_money(first_revenue="Their net value by first touch.", last_revenue="By last touch."),
        *_numbers(first_share="Share of revenue by first touch.", last_share="By last touch."),
    ),
    ("dimension", "source"),
)
DATA_QUALITY: Final = Table(
    "data-quality",
    "Every field of the events: how often it is missing where it matters, and what is in it.",
    _AS_OF,
    (
        *_keywords(field="The field.", low="Smallest value, or the most frequent.", high="Largest value."),
        *_counts(events="Events to which the field applies.", missing="Of these, without it.", distinct="Values."),
        *_numbers(missing_share="missing / events.", outliers="Events beyond 3 interquartile ranges (numbers only)."),
    ),
    ("field",),
)

MODELS: Final = Table(
    "models",
    "The models compared by a training run on its test.",
    "The test's cut-off.",
    (
        *_keywords(model_version="The run's version.", model="The model."),
        *_flags(is_champion="Whether it was chosen.", went_live="Whether it passed the gate."),
        *_texts(reasons="Why the champion did not go live."),
        *_counts(customers="Customers of the test."),
        *_numbers(
            base_rate="Share of churners.",
            roc_auc="Area under the ROC curve.",
            roc_auc_low="Lower end of its 95 % interval.",
            roc_auc_high="Upper end.",
            pr_auc="Area under the precision-recall curve.",
            pr_auc_low="Lower end of its 95 % interval.",
            pr_auc_high="Upper end.",
            lift_at_10="Share of churners in the top 10 % / base rate.",
            lift_at_10_low="Lower end of its 95 % interval.",
            lift_at_10_high="Upper end.",
            brier="Mean squared error of the probability.",
            brier_low="Lower end of its 95 % interval.",
            brier_high="Upper end.",
            brier_skill="1 - Brier / Brier of the base rate.",
            ece="Expected calibration error on 10 bins.",
        ),
    ),
    ("model_version", "model"),
    ("model_version",),
)
MODEL_CALIBRATION: Final = Table(
    "model-calibration",
    "Predicted risk beside what came, on the test of a training run, in bins of equal count.",
    "The test's cut-off.",
    (
        *_keywords(model_version="The run's version."),
        *_counts(bin="Number of the bin, 1 is the lowest risk.", customers="Customers in it."),
        *_numbers(
            predicted="Mean predicted risk.",
            observed="Share of churners.",
            observed_low="Lower end of its 95 % interval (Wilson).",
            observed_high="Upper end.",
        ),
    ),
    ("model_version", "bin"),
    ("model_version",),
)
MODEL_DRIFT: Final = Table(
    "model-drift",
    "How far customers have moved from those that the live model was tested on, by feature.",
    "The moment of the look.",
    (
        *_keywords(model_version="The live model.", feature="The feature, or `risk` for the score itself."),
        *_numbers(psi="Population stability index.", limit="What chance alone reaches once in a thousand looks."),
        *_flags(
            has_moved="Whether it is above 0.1 and above the limit.",
            alert="Whether it has moved now and at the look before.",
        ),
    ),
    (AT, "model_version", "feature"),
    (AT, "model_version"),
)
MODEL_SCORES: Final = Table(
    "model-scores",
    "Histogram of predicted risks on the test of a training run.",
    "The test's cut-off.",
    (
        *_keywords(model_version="The run's version."),
        *_counts(bin="Number of the bin, from 1.", customers="Customers in it.", churners="Of these, churned."),
        *_numbers(risk_from="Lower edge.", risk_to="Upper edge."),
    ),
    ("model_version", "bin"),
    ("model_version",),
)
SALES_FORECAST: Final = Table(
    "sales-forecast",
    "Net revenue by day: what was, and what is expected.",
    _DAY,
    (
        *_money(
            actual="Net revenue; none for days to come.",
            forecast="Expected net revenue; none before the test.",
            low="Lower end of its 95 % interval.",
            high="Upper end.",
            naive="The same by the seasonal-naive rule: last week's.",
        ),
        *_flags(is_future="Whether the day lies after the history."),
    ),
    (AT,),
)

BOARD_TABLES: Final = (
    FUNNEL_DAILY,
    FUNNEL_PRODUCTS,
    FUNNEL_TIMES,
    CARTS_DAILY,
    COHORTS,
    LIFECYCLE_MONTHLY,
    SEGMENTS_MONTHLY,
    SEGMENT_MOVES,
    PRODUCT_PAIRS,
    FUNNEL_LEAKS,
    CUSTOMERS_DAILY,
    ORDERS_DAILY,
    SALES_DAILY,
    VALUE_TIERS,
)
REPORT_TABLES: Final = (
    REVENUE_COUNTRIES,
    KPIS_MONTHLY,
    ENGAGEMENT,
    CLUSTERS,
    RISKY_GROUPS,
    COHORT_VALUES,
    PRODUCT_VIEWS,
    SEQUENCES,
    RECOMMENDATIONS,
    SEASONALITY,
    PEAKS,
    CAMPAIGNS,
    ATTRIBUTION,
    DATA_QUALITY,
)
MODEL_TABLES: Final = (MODELS, MODEL_CALIBRATION, MODEL_DRIFT, MODEL_SCORES, SALES_FORECAST)
ALL: Final[tuple[Table, ...]] = (*BOARD_TABLES, *REPORT_TABLES, *MODEL_TABLES)
BY_NAME: Final = {table.name: table for table in ALL}
