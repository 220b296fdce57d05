"""What only the simulator knows, written beside its history: the drawn parameters, lifts and faults, and the oracle."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from churn import truth
from churn.purchase_process import Floats
from churn.truth import Lived, Truth
from producer import season
from producer.customers import Customers
from producer.season import Dated
from producer.simulator import History, Shop, moment
from producer.tables import moments

_LATENT: Final = ("arm", "visit_rate", "leave_chance", "order_chance", "mean_spend", "views_more", "cart_chance")


def write(folder: Path, lived: History, shop: Shop) -> None:
    """All files of the truth."""
    folder.mkdir()
    said = json.dumps(_population(lived, shop), indent=2) + "\n"
    (folder / truth.POPULATION).write_text(said, encoding="utf-8")
    parquet.write_table(_customers(lived), folder / truth.CUSTOMERS)
    parquet.write_table(_visits(lived), folder / truth.VISITS)
    hours = {"hour": moments(shop.clock.edges), **{f"arm_{arm}": days for arm, days in enumerate(shop.clock.days)}}
    parquet.write_table(pa.table(hours), folder / truth.CLOCKS)
    parquet.write_table(lived.record, folder / truth.FAULTS)
    parquet.write_table(_oracles(lived, shop), folder / truth.ORACLE)


def known(lived: History, shop: Shop) -> Truth:
    """The same truth as `churn.truth.read` gives."""
    visits, drawn = lived.visits, shop.population
    ids = np.array(lived.who.ids, dtype=np.str_)
    return Truth(
        drawn.visits,
        drawn.conversion,
        drawn.kept,
        Lived(
            ids,
            lived.who.arm,
            visits.customer,
            visits.at_ms,
            visits.days,
            visits.is_order,
            lived.is_kept,
            shop.clock.edges,
            shop.clock.days,
        ),
    )


def _oracles(lived: History, shop: Shop) -> Any:
    """The oracle at some moments; `has_ordered` is null where the 90 days are not over."""
    told, parts = known(lived, shop), []
    start_ms, _ = shop.plan.span_ms
    for as_of in truth.cut_offs(moment(start_ms), shop.plan.until):
        oracle = told.oracle(as_of)
        is_open = np.full(len(oracle.p_no_order), as_of + truth.HORIZON > shop.plan.until)
        columns = {
            "customer_id": pa.array(oracle.customer_ids.tolist(), pa.string()),
            "as_of": pa.array([as_of] * len(is_open), pa.timestamp("ms", tz="UTC")),
            "p_no_order": oracle.p_no_order,
            "is_buyer": oracle.is_buyer,
            "has_ordered": pa.array(oracle.has_ordered, mask=is_open),
        }
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def _customers(lived: History) -> Any:
    who, visits = lived.who, lived.visits
    count = len(who.number)
    last = np.cumsum(np.bincount(visits.customer, minlength=count)) - 1
    seen = {"visits": visits.customer, "orders": visits.customer[visits.is_order]}
    return pa.table(
        {
            "customer_id": pa.array(who.ids, pa.string()),
            **{name: getattr(who, name) for name in _LATENT},
            "is_held_out": who.arm >= 2,
            "is_treated": who.arm % 2 == 1,
            "signed_up_at": moments(who.signed_up_ms),
            "left_at": moments(visits.at_ms[last], mask=lived.is_alive),
            "is_alive": lived.is_alive,
            **{name: np.bincount(customer, minlength=count) for name, customer in seen.items()},
        }
    )


def _visits(lived: History) -> Any:
    visits = lived.visits
    return pa.table(
        {
            "customer": visits.customer,
            "at": moments(visits.at_ms),
            "operational_days": visits.days,
            "is_order": visits.is_order,
            "is_kept": lived.is_kept,
        }
    )


def _population(lived: History, shop: Shop) -> dict[str, Any]:
    plan, drawn = shop.plan, shop.population
    (start_ms, until_ms), treated_ms = plan.span_ms, season.treated_from(*plan.span_ms)
    return {
        "plan": {**plan._asdict(), "until": _text(plan.until), "faults": plan.faults._asdict()},
        "population": {
            **drawn._asdict(),
            "visits": drawn.visits._asdict(),
            "conversion": drawn.conversion._asdict(),
            "spend": drawn.spend._asdict(),
        },
        "weekdays": season.WEEKDAYS,
        "hours": season.HOURS,
        "yearly": {"swing": season.YEARLY_SWING, "peak_day": season.YEARLY_PEAK_DAY},
        "peaks": [peak._asdict() for peak in season.PEAKS],
        "campaigns": [_campaign(each) for each in season.campaigns_between(start_ms, until_ms)],
        "holdout_share": season.HOLDOUT_SHARE,
        "experiment": {
            "name": season.TREATMENT,
            "from": _text(moment(treated_ms)),
            "until": _text(plan.until),
            "uplift": season.UPLIFT,  # of the rate of visits, and so of orders
            "expected_conversion": _conversions(lived.who, lived, shop, treated_ms),
        },
    }


def _campaign(dated: Dated) -> dict[str, Any]:
    span = {"from": _text(moment(dated.from_ms)), "until": _text(moment(dated.until_ms))}
    return {"name": dated.name, **span, "lift": dated.campaign.lift}


def _conversions(who: Customers, lived: History, shop: Shop, from_ms: int) -> dict[str, Any]:
    """Share of the customers who had signed up by the treatment's begin that are expected to order during it.

    Of these very customers, were all of them in the one arm or the other.
    """
    count = len(who.number)
    last = np.cumsum(np.bincount(lived.visits.customer, minlength=count)) - 1
    is_there = (who.signed_up_ms < from_ms) & (lived.is_alive | (lived.visits.at_ms[last] >= from_ms))
    base = int((who.signed_up_ms < from_ms).sum())

    def share(is_treated: int) -> float | None:
        arm = who.arm - who.arm % 2 + is_treated
        ends = [shop.clock.at(np.full(count, end), arm) for end in (from_ms, shop.plan.span_ms[1])]
        goes_on: Floats = who.order_chance + (1 - who.order_chance) * who.leave_chance
        orders = who.order_chance / goes_on * -np.expm1(-who.visit_rate * goes_on * (ends[1] - ends[0]))
        return float(orders[is_there].sum() / base) if base else None

    return {"customers": base, "control": share(0), "treatment": share(1)}


def _text(when: datetime) -> str:
    return when.isoformat().replace("+00:00", "Z")
