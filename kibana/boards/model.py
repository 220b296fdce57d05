"""Board "Model": how good the churn model is, whether its probabilities hold, and whether customers have moved."""

from typing import Final

from churn.analysis_tables import MODEL_CALIBRATION, MODEL_DRIFT, MODEL_SCORES, MODELS
from kibana.data_views import CUSTOMERS, of_table
from kibana.shapes import (
    FAINT,
    NEUTRAL,
    SECOND,
    THIRD,
    XY,
    Board,
    Cases,
    Control,
    Heatmap,
    Metric,
    OverTime,
    Row,
    Table,
    Terms,
    average,
    by_band,
    count,
    highest,
    total,
)

NOTE: Final = """\
Every training run compares several models on customers and months that none of them has seen; one is chosen, and goes \
live only when it passes the gate. Numbers of a run stand on the day of its test. **Choose one version above** to see \
one run alone; otherwise calibration and scores are those of all runs of the time range together.

*ROC-AUC*: how often a lost customer has a higher risk than a kept one (0.5: chance, 1: always). *Lift*: how many \
times more lost customers are among the riskiest tenth than among all. *Brier skill*: how much closer the \
probabilities come to the truth than the share of lost customers alone (0: no closer, 1: perfect). *ECE*: how far \
predicted and observed shares lie apart on average."""

_MODELS: Final = of_table(MODELS)
_CALIBRATION: Final = of_table(MODEL_CALIBRATION)
_SCORES: Final = of_table(MODEL_SCORES)
_DRIFT: Final = of_table(MODEL_DRIFT)
_CHAMPION: Final = "is_champion: true"
_RUNS: Final = OverTime("1w", "Week of the test")
_TENTHS: Final = Cases(
    "Risk",
    (
        *(
            (f"{tenth * 10}-{tenth * 10 + 10} %", f"risk >= {tenth / 10} and risk < {tenth / 10 + 0.1:.1f}")
            for tenth in range(9)
        ),
        ("90-100 %", "risk >= 0.9"),
    ),
)

MODEL: Final = Board(
    id="model",
    title="Model",
    description="How good the churn model is, whether its probabilities can be believed, and whether customers moved.",
    time_from="now-1y/d",
    controls=(Control(_MODELS, "model_version", "Model version"),),
    note=NOTE,
    rows=(
        Row(
            5,
            (
                Metric(
                    "ROC-AUC",
                    _MODELS,
                    highest("roc_auc", "ROC-AUC", _CHAMPION, format="number"),
                    subtitle="best chosen model",
                    about="the best of the chosen models of the time range.",
                ),
                Metric(
                    "Lift of the top tenth",
                    _MODELS,
                    highest("lift_at_10", "Lift of the top tenth", _CHAMPION, format="decimal"),
                    subtitle="times more lost than by chance",
                    about="likewise.",
                ),
                Metric(
                    "Brier skill",
                    _MODELS,
                    highest("brier_skill", "Brier skill", _CHAMPION, format="percent"),
                    subtitle="against the base rate alone",
                    about="likewise.",
                ),
                Metric(
                    "Lost customers",
                    _MODELS,
                    average("base_rate", "Lost customers", _CHAMPION, format="percent"),
                    subtitle="of the test: the base rate",
                    about="the share of customers of the test who made no order in 90 days.",
                ),
                Metric(
                    "Features that moved",
                    _DRIFT,
                    count("Features that moved", "alert: true"),
                    subtitle="alerts in the time range",
                    about="alerts of drift: the feature had moved at two looks in a row.",
                ),
            ),
            widths=(9, 10, 10, 9, 10),
        ),
        Row(
            12,
            (
                XY(
                    "Quality over time",
                    _MODELS,
                    "line",
                    (
                        highest("roc_auc", "ROC-AUC", format="number", colour=NEUTRAL),
                        highest("pr_auc", "PR-AUC", format="number", colour=SECOND),
                        highest("brier_skill", "Brier skill", format="number", colour=THIRD),
                    ),
                    over=_RUNS,
                    bridges_gaps=True,
                    where=_CHAMPION,
                    about="the chosen model of each run, at the week of its test.",
                ),
                XY(
                    "Predicted and observed risk",
                    _CALIBRATION,
                    "line",
                    (
                        average("predicted", "Predicted", format="percent", colour=NEUTRAL),
                        average("observed", "Observed", format="percent", colour=SECOND),
                    ),
                    over=Terms("bin", "Tenth of the customers, by risk", size=20, by=None, is_number=True),
                    about="customers of the test in ten groups of equal size from the lowest risk to the highest: the "
                    "mean predicted risk, and the share that was lost. The nearer the lines, the better.",
                ),
            ),
        ),
        Row(
            12,
            (
                Table(
                    "Models compared",
                    _MODELS,
                    (Terms("model_version", "Version", size=20), Terms("model", "Model", size=10)),
                    (
                        highest("roc_auc", "ROC-AUC", format="number"),
                        highest("roc_auc_low", "from", format="number"),
                        highest("roc_auc_high", "to", format="number"),
                        highest("pr_auc", "PR-AUC", format="number"),
                        highest("lift_at_10", "Lift"),
                        highest("brier_skill", "Brier skill", format="percent"),
                        highest("ece", "ECE", format="number"),
                        count("Chosen", _CHAMPION),
                        count("Went live", "went_live: true"),
                    ),
                    widths={"Version": 130, "Model": 210},
                    about="every model of every run with the 95 % interval of its ROC-AUC; 1 below *Chosen* is the "
                    "run's best, 1 below *Went live* the one that passed the gate.",
                ),
            ),
        ),
        Row(
            11,
            (
                XY(
                    "Scores of the test",
                    _SCORES,
                    "bar",
                    (
                        total("customers", "Customers", format="whole", colour=FAINT),
                        total("churners", "Of these, lost", format="whole", colour=SECOND),
                    ),
                    over=Terms("risk_from", "Risk from", size=50, by=None, is_number=True),
                    about="customers of the test by predicted risk, and how many of them were lost.",
                ),
                XY(
                    "Scores now",
                    CUSTOMERS,
                    "bar_stacked",
                    by_band(count("Customers")),
                    over=_TENTHS,
                    about="live; customers by the risk on their latest card, in the colours of their bands.",
                ),
            ),
        ),
        Row(
            14,
            (
                Table(
                    "Drift by feature",
                    _DRIFT,
                    (Terms("feature", "Feature", size=20),),
                    (
                        highest("psi", "Largest PSI", format="number"),
                        highest("limit", "Limit of chance", format="number"),
                        count("Moved", "has_moved: true"),
                        count("Alerts", "alert: true"),
                    ),
                    widths={"Largest PSI": 100, "Limit of chance": 100, "Moved": 90, "Alerts": 90},
                    about="how far customers have moved from those that the live model was tested on (population "
                    "stability index): above 0.1 and above what chance alone reaches, a feature has moved; twice "
                    "running is an alert.",
                ),
                Heatmap(
                    "Drift over time",
                    _DRIFT,
                    OverTime("1M", "Month"),
                    Terms("feature", "Feature", size=8),
                    highest("psi", "PSI", format="decimal"),
                    about="the largest PSI of each month, of the eight features that moved most.",
                ),
            ),
        ),
    ),
)
