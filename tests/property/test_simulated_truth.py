"""A simulated history against the truth written beside it: what came out is what was drawn, within sampling error.

Limits are 4 standard errors by the truth's own distribution: a wrong simulator fails, a right one hardly ever.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from pyarrow import dataset, parquet

from churn import history, truth
from churn.events import epoch_ms
from churn.purchase_process import Floats, Histories, expected, fit, p_alive
from producer import history_files
from producer.calibration import TOP
from producer.season import CAMPAIGNS, DAY_MS, HOUR_MS
from producer.simulator import Plan, Simulation

UNTIL = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = Plan(num_customers=8_000, num_events=400_000, days=365, seed=7, until=UNTIL)
SHARDS_OF_HOURS = 1_500
LIMIT = 4.0


class Shop(NamedTuple):
    """A history on disk and what its truth says, with places of customers instead of their ids."""

    directory: Path
    said: dict[str, Any]
    customers: dict[str, NDArray[Any]]
    truth: truth.Truth
    begin_ms: NDArray[np.int64]  # of each customer's life here: the first visit, and the last one or the end
    end_ms: NDArray[np.int64]

    @property
    def visits(self) -> truth.Lived:
        return self.truth.lived


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    directory = tmp_path_factory.mktemp("simulated") / "history"
    simulation = Simulation(PLAN)
    history_files.write(directory, simulation.tables(), simulation.shop, "parquet")
    told = truth.read(directory)
    said = json.loads((directory / truth.FOLDER / truth.POPULATION).read_text())
    table = parquet.read_table(directory / truth.FOLDER / truth.CUSTOMERS)
    customers = {name: np.array(table[name].to_pylist()) for name in table.column_names}
    last = np.cumsum(np.bincount(told.lived.customer)) - 1
    first = np.append(0, last[:-1] + 1)
    end_ms = np.where(customers["is_alive"], epoch_ms(UNTIL), told.lived.at_ms[last])
    return Shop(directory, said, customers, told, told.lived.at_ms[first], end_ms)


def read(shop: Shop, folder: str) -> Any:
    return dataset.dataset(shop.directory / folder, format="parquet", partitioning="hive").to_table()


def ms(moment: str) -> int:
    return epoch_ms(datetime.fromisoformat(moment))


def exposure(
    shop: Shop,
    edges_ms: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    clock_of: Callable[[int], int] = lambda arm: arm,
) -> Floats:
    """Expected visits after the first one between neighbouring edges, of the chosen customers, by their own clocks.

    `clock_of` an arm names another clock instead: what would have been without campaigns, say.
    """
    total = np.zeros(len(edges_ms) - 1)
    for arm in range(len(shop.visits.days)):
        who, days = chosen & (shop.visits.arm == arm), shop.visits.days[clock_of(arm)]
        spans = (edges_ms, shop.begin_ms[who], shop.end_ms[who])
        at, begin, end = (np.interp(moments, shop.visits.edges_ms, days) for moments in spans)
        total += np.diff(np.clip(at[:, None], begin, end), axis=0) @ shop.customers["visit_rate"][who]
    return total


def without_campaigns(arm: int) -> int:
    return arm % 2 + 2


def without_treatment(arm: int) -> int:
    return arm - arm % 2


def histories_of_visits(shop: Shop) -> Histories:
    """Repeat visits by the end, in operational days."""
    count, lived = np.bincount(shop.visits.customer), shop.visits
    last = np.cumsum(count) - 1
    first = np.append(0, last[:-1] + 1)
    now = np.array([np.interp(epoch_ms(UNTIL), lived.edges_ms, days) for days in lived.days])[lived.arm]
    begin = lived.visit_days[first]
    return Histories.of(count - 1, lived.visit_days[last] - begin, now - begin)


def returns(shop: Shop, edges_ms: NDArray[np.int64], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Visits after the first one between neighbouring edges."""
    is_return = np.diff(shop.visits.customer, prepend=-1) == 0
    kept = is_return & chosen[shop.visits.customer]
    return np.histogram(shop.visits.at_ms[kept], edges_ms)[0]


def everybody(shop: Shop) -> NDArray[np.bool_]:
    return np.ones(PLAN.num_customers, dtype=np.bool_)


def assert_near(found: Any, wanted: Any, variance: Any) -> None:
    """All within `LIMIT` standard errors."""
    errors = (np.asarray(found) - wanted) / np.sqrt(variance)
    assert np.all(np.abs(errors) < LIMIT), errors


# --- purchases --------------------------------------------------------------------------------------------------------


def test_there_are_as_many_visits_as_the_process_has_in_the_mean(shop: Shop) -> None:
    seen = histories_of_visits(shop)
    wanted = expected(shop.truth.visits, seen.ages)
    assert_near(seen.counts.sum(), wanted.sum(), len(wanted) * seen.counts.var())


def test_orders_per_customer_and_the_repeat_rate_follow_from_visits_and_conversion(shop: Shop) -> None:
    visits, chance = np.bincount(shop.visits.customer), shop.customers["order_chance"]
    orders = np.bincount(shop.visits.customer, weights=shop.visits.is_order)
    assert_near(orders.sum(), (visits * chance).sum(), (visits * chance * (1 - chance)).sum())
    none = (1 - chance) ** visits
    for least, few in ((1, none), (2, none + visits * chance * (1 - chance) ** (visits - 1))):
        assert_near((orders >= least).sum(), (1 - few).sum(), (few * (1 - few)).sum())


def test_the_orders_table_holds_the_orders_of_the_truth(shop: Shop) -> None:
    orders = read(shop, history_files.ORDERS)
    # A visit just before the end may place its order after it, which then is no part of the history.
    assert shop.visits.is_order.sum() - orders.num_rows in range(10)
    assert len(set(orders["order_id"].to_pylist())) == orders.num_rows
    lines = parquet_events(shop, "purchase")
    assert orders["lines"].to_numpy().sum() == len(lines)
    net = (lines["price"] * lines["quantity"] - lines["discount"].fillna(0)).sum()
    assert orders["net"].to_numpy().sum() == pytest.approx(net, abs=0.01)


def parquet_events(shop: Shop, kind: str) -> Any:
    events = history.read(shop.directory).to_pandas()
    return events[events["event_type"] == kind]


def test_what_an_order_costs_is_gamma_around_the_customers_mean(shop: Shop) -> None:
    orders = read(shop, history_files.ORDERS).to_pandas()
    means = dict(zip(shop.customers["customer_id"], shop.customers["mean_spend"], strict=True))
    relative = orders["net"] / orders["customer_id"].map(means)
    usual = relative[orders["customer_id"].map(means) > 10]  # the least order costs 1
    p = shop.said["population"]["spend"]["p"]
    assert_near(usual.mean(), 1.0, 1 / p / len(usual))
    assert usual.var() == pytest.approx(1 / p, rel=0.05)


@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
def test_the_best_buyers_bring_the_wanted_share_of_revenue(share: float) -> None:
    lived = Simulation(PLAN._replace(num_customers=4_000, num_events=120_000, top_share=share)).tables()
    revenue = np.sort(lived.orders.group_by("customer_id").aggregate([("net", "sum")])["net_sum"].to_numpy())[::-1]
    assert revenue[: round(TOP * len(revenue))].sum() / revenue.sum() == pytest.approx(share, abs=0.06)


def test_a_refitted_process_recovers_the_mean_purchases(shop: Shop) -> None:
    """On all visits in operational time, and on the orders alone as a shop has them: in days, from the first one on."""
    visits, drawn = histories_of_visits(shop), shop.truth.visits
    fitted = fit(visits)
    assert expected(fitted, visits.ages).mean() == pytest.approx(expected(drawn, visits.ages).mean(), rel=0.05)
    assert fitted.r / fitted.alpha == pytest.approx(drawn.r / drawn.alpha, rel=0.1)
    seen = histories_of_orders(shop, UNTIL)
    assert expected(fit(seen), seen.ages).mean() == pytest.approx(seen.counts.mean(), rel=0.05)


def histories_of_orders(shop: Shop, as_of: datetime) -> Histories:
    """Repeat orders of the buyers by `as_of`, in days."""
    chosen = shop.visits.is_order & (shop.visits.at_ms <= epoch_ms(as_of))
    customer, at_days = shop.visits.customer[chosen], shop.visits.at_ms[chosen] / DAY_MS
    count = np.bincount(customer, minlength=PLAN.num_customers)
    last = np.cumsum(count)[count > 0] - 1
    first = last - count[count > 0] + 1
    ages = epoch_ms(as_of) / DAY_MS - at_days[first]
    return Histories.of(count[count > 0] - 1, at_days[last] - at_days[first], ages)


# --- leaving ----------------------------------------------------------------------------------------------------------


def test_who_leaves_more_easily_has_left_more_often(shop: Shop) -> None:
    order = np.argsort(shop.customers["leave_chance"])
    left = [float(np.mean(~shop.customers["is_alive"][part])) for part in np.array_split(order, 10)]
    error = np.sqrt(0.5 / len(order) * 10)
    assert all(later > earlier - error for earlier, later in pairwise(left))
    assert left[-1] > left[0] + 0.4
    assert np.corrcoef(np.arange(10), left)[0, 1] > 0.95


def test_who_is_there_at_the_end_is_as_likely_there_as_the_process_says(shop: Shop) -> None:
    p = p_alive(shop.truth.visits, histories_of_visits(shop))
    assert_calibrated(p, shop.customers["is_alive"])


def assert_calibrated(p: Floats, happened: NDArray[np.bool_]) -> None:
    """In every tenth of the predictions, and in all of them, as many as predicted."""
    for part in (*np.array_split(np.argsort(p), 10), np.arange(len(p))):
        assert_near(happened[part].sum(), p[part].sum(), (p[part] * (1 - p[part])).sum())


def test_who_is_silent_since_an_order_is_less_likely_there(shop: Shop) -> None:
    """The other half of churn: the realised 90 days without an order grow with the chance to leave as well."""
    oracle = shop.truth.oracle(UNTIL - timedelta(days=90))
    places = {name: place for place, name in enumerate(shop.customers["customer_id"])}
    chance = shop.customers["leave_chance"][[places[name] for name in oracle.customer_ids]]
    chosen = oracle.is_buyer
    order = np.argsort(chance[chosen])
    gone = [float(np.mean(~oracle.has_ordered[chosen][part])) for part in np.array_split(order, 10)]
    assert np.corrcoef(np.arange(10), gone)[0, 1] > 0.8
    assert gone[-1] > gone[0]


@pytest.mark.parametrize("days_before", [90, 180])
def test_the_oracle_is_calibrated(shop: Shop, days_before: int) -> None:
    oracle = shop.truth.oracle(UNTIL - timedelta(days=days_before))
    assert_calibrated(oracle.p_no_order[oracle.is_buyer], ~oracle.has_ordered[oracle.is_buyer])


def test_the_written_oracle_is_the_computed_one(shop: Shop) -> None:
    written = parquet.read_table(shop.directory / truth.FOLDER / truth.ORACLE).to_pandas()
    as_of = sorted(written["as_of"].unique())[-2]
    rows = written[written["as_of"] == as_of]
    oracle = shop.truth.oracle(as_of.to_pydatetime())
    assert rows["customer_id"].tolist() == oracle.customer_ids.tolist()
    np.testing.assert_array_equal(rows["p_no_order"], oracle.p_no_order)
    assert rows["has_ordered"].notna().all() == (as_of.to_pydatetime() + truth.HORIZON <= UNTIL)
    assert written[written["as_of"] == UNTIL]["has_ordered"].isna().all()


# --- season, campaigns, treatment -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "part", [lambda day: day.month, lambda day: day.weekday(), lambda day: (day.month, day.day) in PEAK_DAYS]
)
def test_months_weekdays_and_peaks_have_the_visits_of_their_season(shop: Shop, part: Callable[[datetime], Any]) -> None:
    start = epoch_ms(UNTIL) - PLAN.days * DAY_MS
    edges = np.arange(start, epoch_ms(UNTIL) + 1, DAY_MS)
    wanted, found = exposure(shop, edges, everybody(shop)), returns(shop, edges, everybody(shop))
    kinds = [part(datetime.fromtimestamp(edge / 1000, UTC)) for edge in edges[:-1].tolist()]
    for kind in sorted(set(kinds)):
        chosen = np.array([each == kind for each in kinds])
        assert_near(found[chosen].sum(), wanted[chosen].sum(), wanted[chosen].sum())


PEAK_DAYS = {(11, day) for day in range(24, 31)} | {(12, day) for day in range(10, 21)} | {(2, 11), (2, 12), (2, 13)}


def test_hours_have_their_share_of_the_visits(shop: Shop) -> None:
    start = epoch_ms(UNTIL) - PLAN.days * DAY_MS
    edges, chosen = np.arange(start, epoch_ms(UNTIL) + 1, HOUR_MS), everybody(shop)
    chosen[SHARDS_OF_HOURS:] = False
    wanted = exposure(shop, edges, chosen).reshape(-1, 24).sum(axis=0)
    assert_near(returns(shop, edges, chosen).reshape(-1, 24).sum(axis=0), wanted, wanted)
    assert wanted.max() > 5 * wanted.min()


def test_campaigns_lift_the_visits_of_all_but_the_holdout(shop: Shop) -> None:
    is_held_out = shop.customers["is_held_out"]
    lifts = {campaign.name: campaign.lift for campaign in CAMPAIGNS}
    found, without, wanted = 0, 0.0, 0.0
    for campaign in shop.said["campaigns"]:
        assert campaign["lift"] == lifts[campaign["name"].rsplit("-", 1)[0]]
        edges = np.array([ms(campaign["from"]), ms(campaign["until"])])
        unlifted = exposure(shop, edges, is_held_out, without_campaigns)[0]
        assert_near(returns(shop, edges, is_held_out)[0], unlifted, unlifted)
        unlifted = exposure(shop, edges, ~is_held_out, without_campaigns)[0]
        lifted = unlifted * (1 + campaign["lift"])
        assert_near(returns(shop, edges, ~is_held_out)[0], lifted, lifted)
        found, without, wanted = found + returns(shop, edges, ~is_held_out)[0], without + unlifted, wanted + lifted
    assert_near(found, wanted, wanted)
    assert found - without > 2 * LIMIT * np.sqrt(wanted)  # a lift of 0 would be told apart


def test_campaigns_are_named_on_the_visits_that_they_brought(shop: Shop) -> None:
    sessions = read(shop, history_files.SESSIONS).to_pandas()
    for campaign in shop.said["campaigns"]:
        brought = sessions[sessions["campaign"] == campaign["name"]]
        ends = [datetime.fromisoformat(campaign[end]) for end in ("from", "until")]
        assert brought["started_at"].between(ends[0], ends[1] + timedelta(hours=1)).all()
        assert set(brought["channel"]) == {"email"}
        within = sessions[sessions["started_at"].between(*ends)]
        held_out = dict(zip(shop.customers["customer_id"], shop.customers["is_held_out"], strict=True))
        reached = (~within["customer_id"].map(held_out)).sum()
        share = campaign["lift"] / (1 + campaign["lift"])
        assert_near(len(brought), reached * share, reached * share * (1 - share))


def test_the_treatment_brings_back_as_many_more_as_written(shop: Shop) -> None:
    experiment, is_treated = shop.said["experiment"], shop.customers["is_treated"]
    assert_near(is_treated.sum(), PLAN.num_customers / 2, PLAN.num_customers / 4)  # sample ratio
    edges = np.array([ms(experiment["from"]), ms(experiment["until"])])
    found = returns(shop, edges, is_treated)[0]
    without = exposure(shop, edges, is_treated, without_treatment)[0]
    wanted = without * (1 + experiment["uplift"])
    assert_near(found, wanted, wanted)
    assert found - without > LIMIT * np.sqrt(wanted)  # an uplift of 0 would be told apart
    control = exposure(shop, edges, ~is_treated, without_treatment)[0]
    assert_near(returns(shop, edges, ~is_treated)[0], control, control)


def test_both_arms_convert_as_the_truth_expects(shop: Shop) -> None:
    experiment = shop.said["experiment"]
    begin = datetime.fromisoformat(experiment["from"])
    table = parquet.read_table(shop.directory / history_files.CUSTOMERS / "customers.parquet").to_pandas()
    there = table[table["signed_up_at"] < begin]
    orders = read(shop, history_files.ORDERS).to_pandas()
    ordered = set(orders[orders["ordered_at"] >= begin]["customer_id"])
    for arm in ("control", "treatment"):
        ids = there[there["variant"] == arm]["customer_id"]
        wanted = experiment["expected_conversion"][arm]
        assert_near(ids.isin(ordered).mean(), wanted, wanted * (1 - wanted) / len(ids))
    assert experiment["expected_conversion"]["treatment"] > experiment["expected_conversion"]["control"]


def test_the_arm_stands_on_the_profile_and_stays(shop: Shop) -> None:
    profiles = parquet_events(shop, "profile")
    table = parquet.read_table(shop.directory / history_files.CUSTOMERS / "customers.parquet").to_pandas()
    merged = profiles.merge(table, on="customer_id")
    assert len(merged) == PLAN.num_customers
    assert (merged["campaign"] == merged["experiment"] + ":" + merged["variant"]).all()


# --- the funnel -------------------------------------------------------------------------------------------------------


def test_views_carts_and_purchases_come_at_the_customers_own_rates(shop: Shop) -> None:
    sessions = read(shop, history_files.SESSIONS).to_pandas()
    places = {name: place for place, name in enumerate(shop.customers["customer_id"])}
    customer = sessions["customer_id"].map(places).to_numpy()
    not_bought = (sessions["views"] - sessions["lines_bought"]).to_numpy()
    chance = shop.customers["cart_chance"][customer]
    carts = (sessions["carts"] - sessions["lines_bought"]).sum()
    # Some visits are cut off by the end of the history: their last view has no cart any more.
    assert_near(carts, (not_bought * chance).sum(), (not_bought * chance * (1 - chance)).sum() + 100)
    more = shop.customers["views_more"][customer]
    browsing = (sessions["lines_bought"] == 0).to_numpy()
    assert_near(not_bought[browsing].sum(), (1 + more)[browsing].sum(), more[browsing].sum())
    converts = shop.customers["order_chance"][customer]
    assert_near((~browsing).sum(), converts.sum(), (converts * (1 - converts)).sum())


def test_the_share_of_orders_with_a_refund_is_as_asked_for(shop: Shop) -> None:
    orders = read(shop, history_files.ORDERS).to_pandas()
    mature = orders[orders["ordered_at"] < UNTIL - timedelta(days=11)]
    assert_near((mature["refunded"] > 0).mean(), PLAN.refunds, PLAN.refunds * (1 - PLAN.refunds) / len(mature))
    kept = shop.said["population"]["kept"]
    is_back = np.isclose(mature["refunded"], mature["net"])
    assert_near(is_back.mean(), 1 - kept, kept * (1 - kept) / len(mature))


def test_companions_are_bought_together_more_often_than_by_chance(shop: Shop) -> None:
    lines = parquet_events(shop, "purchase")
    pairs = lines.merge(lines, on="order_id")
    pairs = pairs[pairs["product_id_x"] < pairs["product_id_y"]]
    counts = pairs.groupby(["product_id_x", "product_id_y"]).size().sort_values(ascending=False)
    share = lines["product_id"].value_counts(normalize=True)
    (first, second), together = counts.index[0], counts.iloc[0]
    assert together > 3 * share[first] * share[second] * len(pairs)
