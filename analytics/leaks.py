"""Where journeys end and what that costs, against a bar that the shop itself reaches somewhere."""

from typing import Any, Final, NamedTuple

from statsmodels.stats.proportion import proportion_confint

VIEW_TO_CART, CART_TO_PURCHASE = "view → cart", "cart → purchase"
INTERVENTIONS: Final = {
    VIEW_TO_CART: "Check price, pictures, stock and delivery terms on the product page; show reviews and companions.",
    CART_TO_PURCHASE: "Remind within a day, show the cost of delivery early, shorten the checkout.",
}


class Bar(NamedTuple):
    """Step rates that some category reaches for sure: the highest lower ends of their 95 % intervals (Wilson)."""

    view_to_cart: float
    cart_to_purchase: float


class Leak(NamedTuple):
    """The step that costs most: journeys lost there beyond the bar, and what they would have brought."""

    step: str
    lost: float
    money: float


def interval(reached: int, before: int) -> tuple[float, float]:
    """The 95 % interval (Wilson) of a step rate; nothing is known without anybody before the step."""
    if not before:
        return 0.0, 1.0
    low, high = proportion_confint(reached, before, method="wilson")
    return float(low), float(high)


def bar(steps: list[dict[str, Any]]) -> Bar:
    """From rows with `viewed`, `carted` and `purchased`, one per category."""
    return Bar(
        max((interval(row["carted"], row["viewed"])[0] for row in steps), default=0.0),
        max((interval(row["purchased"], row["carted"])[0] for row in steps), default=0.0),
    )


def largest(row: dict[str, Any], bar: Bar, line_value: float) -> Leak | None:
    """The largest leak of a row as in `bar`, None without a view; `line_value` is the mean value of a line bought."""
    viewed, carted, purchased = row["viewed"], row["carted"], row["purchased"]
    if not viewed:
        return None
    buys = purchased / carted if carted else bar.cart_to_purchase
    short = max(0.0, bar.view_to_cart * viewed - carted), max(0.0, bar.cart_to_purchase * carted - purchased)
    found = (
        Leak(VIEW_TO_CART, short[0], short[0] * buys * line_value),
        Leak(CART_TO_PURCHASE, short[1], short[1] * line_value),
    )
    return max(found, key=lambda leak: leak.money)
