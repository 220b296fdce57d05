"""Whether habits of visiting go with revenue, and groups of customers who visit alike."""

from typing import Any, Final

import numpy as np
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler

from analytics import plots
from analytics.finding import Analysis, CannotAnswer, Finding, Rows
from analytics.shop import Shop
from analytics.words import counted, listed, money, percent
from churn.features import FEATURES
from churn.report_page import Table

LEAST_CUSTOMERS: Final = 30
RATIOS: Final = (
    "carts_per_view",
    "purchases_per_cart",
    "sessions_with_purchase_share",
    "engaged_sessions_share",
    "views_per_session",
    "session_duration_mean_s",
    "sessions_total",
    "cart_abandonment_rate",
    "discount_share",
    "rating_mean",
    "engagement_score",
)
HABITS: Final = {
    "sessions_total": "sessions",
    "views_per_session": "views_per_session",
    "session_duration_mean_s": "session_s",
    "carts_per_view": "carts_per_view",
    "sessions_with_purchase_share": "purchase_share",
    "idle_days": "idle_days",
}
_SPOKEN: Final = {
    "sessions_total": "sessions",
    "views_per_session": "views per session",
    "session_duration_mean_s": "time per session",
    "carts_per_view": "carts per view",
    "sessions_with_purchase_share": "sessions with a purchase",
    "idle_days": "days of silence",
}
_MEANINGS: Final = {feature.name: feature.meaning for feature in FEATURES}
MOST_CLUSTERS: Final = 6
SAMPLE: Final = 2_000
SEED: Final = 7


def correlations(shop: Shop) -> Rows:
    """Rows of `engagement`, the strongest first; ratios that nobody has or that are the same for all are left out."""
    people = shop.features.to_pandas()
    rows = []
    for name in RATIOS:
        known = people[[name, "net_revenue_total"]].astype(float).dropna()
        if len(known) < LEAST_CUSTOMERS or known.nunique().min() < 2:
            continue
        rho = float(stats.spearmanr(known[name], known["net_revenue_total"]).statistic)
        # Fisher's z with the variance of Bonett and Wright (2000) for rank correlations.
        reach = 1.96 * np.sqrt((1 + rho**2 / 2) / (len(known) - 3))
        low, high = (float(np.tanh(np.arctanh(min(max(rho, -0.9999), 0.9999)) + side * reach)) for side in (-1, 1))
        said = {"ratio": name, "meaning": _MEANINGS[name], "customers": len(known)}
        rows.append({"@timestamp": shop.moment, **said, "correlation": rho, "low": low, "high": high})
    return sorted(rows, key=lambda row: -abs(row["correlation"]))


def _ratios(shop: Shop) -> Finding:
    rows = correlations(shop)
    if not rows:
        raise CannotAnswer(f"no engagement ratio is known for {LEAST_CUSTOMERS} customers or more")
    sure = [row for row in rows if row["low"] > 0 or row["high"] < 0]
    first = rows[0]
    up = [_said(row) for row in sure if row["correlation"] > 0][:3]
    down = [_said(row) for row in sure if row["correlation"] < 0][:3]
    words = []
    if up:
        words.append(f"More of it goes with more revenue: {listed(up)}.")
    if down:
        words.append(f"More of it goes with less revenue: {listed(down)}.")
    words.append("A correlation is no cause: whoever buys more also visits more. Only an experiment tells what helps.")
    return Finding(
        headline=f"{counted(len(sure), 'ratio')} of {len(rows)} go with revenue for sure; the strongest is "
        f"{_said(first)} ({first['low']:.2f} to {first['high']:.2f}).",
        action=f"Test by experiment what moves {first['ratio'].replace('_', ' ')}, since it goes with revenue most."
        if sure
        else "None of the ratios tells who brings more: do not steer by them.",
        words=words,
        figures=[
            plots.ranges(
                "Rank correlation with net revenue",
                [row["ratio"].replace("_", " ") for row in rows],
                [(row["correlation"], row["low"], row["high"]) for row in rows],
                at=0,
            )
        ],
        shown=[
            Table(
                ("ratio", "what it is", "customers", "correlation", "95 % interval"),
                [
                    (
                        row["ratio"].replace("_", " "),
                        row["meaning"],
                        f"{row['customers']:,}",
                        f"{row['correlation']:.2f}",
                        f"{row['low']:.2f} to {row['high']:.2f}",
                    )
                    for row in rows
                ],
            )
        ],
        rows={"engagement": rows},
    )


def _said(row: Any) -> str:
    return f"{row['ratio'].replace('_', ' ')} ({row['correlation']:+.2f})"


def clusters(shop: Shop) -> tuple[Rows, float]:
    """Rows of `clusters`, the largest first, and the silhouette of the best number of them (1 is perfect, 0 is none).

    Raises `CannotAnswer` with too few customers or where all visit alike.
    """
    people = shop.features.to_pandas()
    habits = people[list(HABITS)].astype(float)
    habits = habits.loc[:, habits.notna().mean() > 0.5]
    known = people[habits.notna().all(axis=1)].copy()
    habits = habits.loc[known.index]
    if len(known) < 10 * MOST_CLUSTERS or (habits.nunique() > 2).sum() < 2:
        raise CannotAnswer("too few customers with different habits of visiting are known")
    scaled: Any = StandardScaler().fit_transform(np.log1p(habits))
    known["cluster"], quality = _best(scaled)
    order = known["cluster"].value_counts().index.tolist()
    return [_cluster(shop, known, habits, scaled, name, place + 1) for place, name in enumerate(order)], quality


def _best(scaled: Any) -> tuple[Any, float]:
    """The labels of the number of clusters with the highest silhouette, and that."""
    few = np.random.default_rng(SEED).permutation(len(scaled))[:SAMPLE]
    tried = []
    for count in range(2, MOST_CLUSTERS + 1):
        labels = KMeans(count, n_init=4, random_state=SEED).fit_predict(scaled)
        if len(np.unique(labels[few])) > 1:
            tried.append((float(silhouette_score(scaled[few], labels[few])), -count, labels))
    quality, _, labels = max(tried, key=lambda found: found[:2])
    return labels, quality


def _cluster(shop: Shop, known: Any, habits: Any, scaled: Any, name: int, place: int) -> dict[str, Any]:
    chosen = (known["cluster"] == name).to_numpy()
    centre = scaled[chosen].mean(axis=0)
    far = np.argsort(-np.abs(centre))[:2]
    character = ", ".join(f"{'more' if centre[at] > 0 else 'fewer'} {_SPOKEN[habits.columns[at]]}" for at in far)
    return {
        "@timestamp": shop.moment,
        "cluster": str(place),
        "character": character.replace("fewer time", "less time"),
        "customers": int(chosen.sum()),
        "share": float(chosen.mean()),
        **{HABITS[column]: float(habits.loc[chosen, column].mean()) for column in habits},
        "revenue_per_customer": round(float(known.loc[chosen, "net_revenue_total"].mean()), 2),
    }


def _groups(shop: Shop) -> Finding:
    rows, quality = clusters(shop)
    richest = max(rows, key=lambda row: row["revenue_per_customer"])
    apart = "well apart" if quality > 0.5 else "somewhat apart" if quality > 0.25 else "hardly apart"
    return Finding(
        headline=f"{len(rows)} groups visit differently; {percent(richest['share'])} of customers "
        f"({richest['character']}) bring most, {money(richest['revenue_per_customer'], shop.currency)} each.",
        action=f"Lead the others towards what sets that group apart: {richest['character']}.",
        words=[(f"The groups stand {apart} (silhouette {quality:.2f}; 1 would be perfect, 0 none).")],
        shown=[
            Table(
                (
                    "group",
                    "character",
                    "customers",
                    "share",
                    "sessions",
                    "views each",
                    "carts per view",
                    "revenue each",
                ),
                [
                    (
                        row["cluster"],
                        row["character"],
                        f"{row['customers']:,}",
                        percent(row["share"]),
                        *(
                            f"{row[name]:.2f}" if name in row else "—"
                            for name in ("sessions", "views_per_session", "carts_per_view")
                        ),
                        f"{row['revenue_per_customer']:,.2f}",
                    )
                    for row in rows
                ],
            )
        ],
        rows={"clusters": rows},
    )


RATIO: Final = Analysis(
    "engagement",
    "Engagement and revenue",
    "Do engagement ratios go with revenue?",
    _ratios,
    ("engagement",),
)
GROUPS: Final = Analysis(
    "clusters",
    "Groups by session pattern",
    "Which groups of customers visit alike, and what does each bring?",
    _groups,
    ("clusters",),
)
