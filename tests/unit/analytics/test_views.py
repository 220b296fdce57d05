"""The SQL layer says what the fold says: both look at the same events."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from analytics import views
from churn import history, offline
from churn.events import Event
from churn.history import HistoryMissing, HistoryWriter

END, MIDDLE = datetime(2026, 1, 1, tzinfo=UTC), datetime(2025, 9, 10, 11, 30, tzinfo=UTC)

BY_CUSTOMER = """
SELECT customer_id, sessions AS sessions_total, orders AS orders_total, net_minor / 100 AS net_revenue_total,
    gross_minor / 100 AS gross_revenue_total, coalesce(carts_begun, 0) AS shopping_carts_total,
    coalesce(abandoned, 0) AS carts_abandoned_total, coalesce(recovered, 0) AS carts_recovered_total,
    first_order_at AS first_purchase_at, last_order_at AS last_purchase_at, duration_s AS session_duration_mean_s,
    engaged AS engaged_sessions_share, with_purchase AS sessions_with_purchase_share
FROM customers LEFT JOIN (
    SELECT customer_id, count(*) AS carts_begun, count(*) FILTER (is_abandoned) AS abandoned,
        count(*) FILTER (is_abandoned AND became = 'bought') AS recovered
    FROM carts GROUP BY customer_id
) USING (customer_id) JOIN (
    SELECT customer_id, avg(duration_s) AS duration_s, avg(is_engaged::INT) AS engaged,
        avg((purchases > 0)::INT) AS with_purchase FROM sessions GROUP BY customer_id
) USING (customer_id) ORDER BY customer_id
"""


@pytest.mark.parametrize("as_of", [END, MIDDLE])
def test_sessions_carts_and_orders_are_those_of_the_fold(simulated: Path, as_of: datetime) -> None:
    ours = views.connect(simulated, as_of).sql(BY_CUSTOMER).to_arrow_table().to_pandas().set_index("customer_id")
    fold = offline.feature_table(simulated, as_of).to_pandas().set_index("customer_id")
    assert list(ours.index) == list(fold.index)
    assert ours["carts_recovered_total"].sum() > 10
    for name in ours.columns:
        theirs = fold[name]
        if isinstance(theirs.dtype, pd.DatetimeTZDtype):
            theirs = theirs.dt.tz_localize(None)
        pd.testing.assert_series_equal(ours[name], theirs, check_dtype=False, rtol=1e-12)


def test_events_are_counted_once_and_only_when_they_had_arrived(simulated: Path) -> None:
    stored = history.read(simulated).to_pandas()
    under_way = stored[stored["ingested_at"] > stored["occurred_at"]].iloc[0]
    as_of = under_way["occurred_at"].to_pydatetime()
    known = stored[(stored["occurred_at"] <= as_of) & (stored["ingested_at"] <= as_of)]
    assert len(known) > known["event_id"].nunique() > 10
    sql = views.connect(simulated, as_of)
    found = {event_id for (event_id,) in sql.execute("SELECT event_id FROM events").fetchall()}
    assert found == set(known["event_id"])
    assert under_way["event_id"] not in found


@pytest.mark.parametrize("hours_ago", [0, 30])
def test_a_history_is_about_the_hour_after_its_last_event_but_never_about_a_moment_to_come(
    tmp_path: Path, hours_ago: int
) -> None:
    began = datetime.now(UTC)
    arrived = (began - timedelta(hours=hours_ago)).replace(microsecond=0)
    with HistoryWriter(tmp_path / "history") as writer:
        writer.add(Event("e", "view", arrived, "c", product_id="p"), arrived)  # type: ignore[call-arg]
    end = views.end_of(tmp_path / "history")
    full_hour = arrived.replace(minute=0, second=0) + timedelta(hours=1)
    assert end == full_hour if hours_ago else began <= end <= min(full_hour, datetime.now(UTC))


def test_days_orders_and_lines_add_up_to_the_same_money(simulated: Path) -> None:
    sql = views.connect(simulated, END)
    by_day, by_order, by_customer = (
        sql.execute(f"SELECT sum(net_minor) FROM {name}").fetchall() for name in ("days", "orders", "customers")
    )
    assert by_day == by_order == by_customer


def test_a_directory_without_events_is_told(tmp_path: Path) -> None:
    with pytest.raises(HistoryMissing, match="producer simulate"):
        views.connect(tmp_path, END)
