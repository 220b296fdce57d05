"""Who will not order within 90 days (Q1): the live model's risks now, how good it is, and what moves the high ones."""

from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from analytics import live_model, plots
from analytics.finding import Analysis, Finding, Number
from analytics.live_model import Asked
from analytics.shop import Shop
from analytics.words import listed, money, percent
from churn import segments
from churn.model import BANDS, HORIZON_DAYS, Floats, band, score_matrix
from churn.report_page import Table

RECENCY: Final = "recency alone"
LEAST_IN_SEGMENT: Final = 30
DRIVERS: Final = 5
NORMAL: Final = 1.959964


def answer(shop: Shop) -> Finding:
    """The section."""
    asked = live_model.ask(shop)
    bands = np.array([band(each) for each in asked.risk.tolist()])
    monetary = np.nan_to_num(asked.now.feature("monetary"))
    expected, spread = float(asked.risk.sum()), float(np.sqrt((asked.risk * (1 - asked.risk)).sum()))
    at_stake = float((asked.risk * monetary).sum())
    is_high = bands == BANDS[-1]
    drivers = _drivers(asked, is_high)
    return Finding(
        headline=f"{expected:,.0f} of {len(asked.risk):,} buyers ({percent(expected / len(asked.risk))}) are "
        "expected not "
        f"to order within {HORIZON_DAYS} days; {int(is_high.sum()):,} have a high risk.",
        action=_action(asked, bands, monetary, shop.currency),
        words=(
            _test_words(asked),
            f"Risk x revenue of the last year is {money(at_stake, shop.currency)}: what is at stake.",
            *([f"What raises the high risks most: {listed([name for name, _ in drivers])}."] if drivers else []),
        ),
        numbers=[
            Number("Expected churners", expected, "count", expected - NORMAL * spread, expected + NORMAL * spread),
            *_of_test(asked),
            Number("At stake", at_stake, "money"),
        ],
        figures=[_histogram(asked.risk)],
        shown=[_by_band(bands, asked.risk, monetary), _by_segment(asked, monetary)],
    )


def _compared(asked: Asked) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = asked.model.about.metrics.get("compared", {})
    return found


def _of_test(asked: Asked) -> list[Number]:
    """What the model reached on its own later-in-time test, and the recency rule on the same customers."""
    champion = asked.model.about.metrics.get("champion", "")
    titles = (("lift_at_10", "Lift in the top 10 %"), ("roc_auc", "ROC-AUC"), ("pr_auc", "PR-AUC"))
    return [
        Number(
            f"{title}{' of recency alone' if name == RECENCY else ''} (test)", *_ordered(_compared(asked)[name][metric])
        )
        for name in (champion, RECENCY)
        if name in _compared(asked)
        for metric, title in titles
    ]


def _ordered(values: list[float]) -> tuple[float, Any, float, float]:
    point, low, high = values
    return point, "number", low, high


def _test_words(asked: Asked) -> str:
    about = asked.model.about
    tested = about.metrics.get("test", {}).get("model")
    if not tested:
        return f"Model {asked.model.model_version} says nothing of its test."
    return (
        f"Model {asked.model.model_version} ({about.metrics.get('champion', about.algorithm)}) was tested on "
        f"{tested['n']:,.0f} customers of {about.cut_offs['test'][0]:%Y-%m-%d}, {percent(tested['base_rate'])} of whom "
        f"churned: the riskiest tenth churned {tested['lift_at_10']:.2f} times as often as all."
    )


def _action(asked: Asked, bands: Any, monetary: Floats, currency: str) -> str:
    """Whom an offer pays for, and what they brought."""
    pays = asked.risk >= asked.model.about.threshold
    worth = monetary >= np.quantile(monetary, 0.8)
    both = pays & worth
    return (
        f"Write first to the {int(both.sum()):,} customers with a risk of {asked.model.about.threshold:.2f} or more "
        f"who are in the top fifth by revenue: they brought {money(float(monetary[both].sum()), currency)} last year. "
        f"{int((bands == BANDS[-1]).sum()):,} with a high risk stand first in the live list (`python -m scorer top`)."
    )


def _drivers(asked: Asked, chosen: Any) -> list[tuple[str, float]]:
    if not chosen.any():
        return []
    parts = score_matrix(asked.model, asked.now.matrix[chosen]).contributions.mean(axis=0)
    heaviest = np.argsort(-parts, kind="stable")[:DRIVERS].tolist()
    return [(asked.model.about.feature_names[place], float(parts[place])) for place in heaviest if parts[place] > 0]


def _by_band(bands: Any, risk: Floats, monetary: Floats) -> Table:
    rows = []
    for name in BANDS[::-1]:
        chosen = bands == name
        mean = percent(float(risk[chosen].mean())) if chosen.any() else "—"
        rows.append((name, f"{int(chosen.sum()):,}", mean, f"{monetary[chosen].sum():,.0f}"))
    return Table(("risk", "customers", "mean risk", "revenue of the last year"), rows, "By band")


def _by_segment(asked: Asked, monetary: Floats) -> Table:
    names = ("recency_days", "frequency", "monetary")
    columns = zip(*(asked.now.feature(name).tolist() for name in names), strict=True)
    named = np.array([segments.segment(dict(zip(names, row, strict=True)), asked.model.about.rfm) for row in columns])
    found = []
    for name in np.unique(named).tolist():
        chosen = named == name
        if chosen.sum() >= LEAST_IN_SEGMENT:
            found.append((float(asked.risk[chosen].mean()), name, int(chosen.sum()), float(monetary[chosen].sum())))
    rows = [(name, f"{count:,}", percent(mean), f"{value:,.0f}") for mean, name, count, value in sorted(found)[::-1]]
    return Table(("segment", "customers", "mean risk", "revenue of the last year"), rows, "Who they are")


def _histogram(risk: Floats) -> Figure:
    figure, axes = plots.axes("Risks now", f"risk of no order in {HORIZON_DAYS} days", "customers", (5.4, 3.4))
    axes.hist(risk, bins=np.linspace(0, 1, 21), color=plots.COLOUR)
    return figure


WHO_CHURNS: Final = Analysis(
    "who-churns",
    "Who churns in 90 days",
    "Who will not order within 90 days, and how sure is that?",
    answer,
)
