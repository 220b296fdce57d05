"""The report of a training run: one HTML page for people who decide, and a model card in Markdown beside the model."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from sklearn.metrics import classification_report, confusion_matrix

from churn import drift, evaluate
from churn.features import MODEL_FEATURES
from churn.model import HORIZON_DAYS, score_matrix
from churn.report_page import Section, Table, render
from training import explain, plots
from training.choose import RECENCY
from training.gate import LIVE, Verdict
from training.train import MISSED_COST, NEEDLESS_COST, REFERENCE, Trained

METRIC_NAMES: Final = {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC", "lift_at_10": "lift@10 %", "brier": "Brier"}
LIMITS: Final = (
    "The model has not seen what an offer changes: a high risk is no promise that an offer helps.",
    "A season that the history holds only once cannot be known: the level of risks lags behind the churn rate.",
    "Customers without an order have no risk, because churn is defined for buyers only.",
    "It knows nothing of prices elsewhere, of returns that never reached the shop, or of who shares an account.",
    "Age, gender and location are not used; country, device, channel and favourite category are.",
)


def html(trained: Trained, verdict: Verdict) -> str:
    """The whole report as one page."""
    about = trained.model.about
    title = f"Churn model {trained.model.model_version}"
    lead = (
        f"Who will not order within {HORIZON_DAYS} days? {trained.champion}, tested on {len(trained.test.labels):,} "
        f"customers as they were known on {_day(about.cut_offs['test'][0])}. {outcome_words(verdict)}"
    )
    return render(title, lead, list(_sections(trained, verdict)))


def outcome_words(verdict: Verdict) -> str:
    """Whether the gate is open, in a sentence."""
    if verdict.is_open:
        has_live = any(each.other == LIVE for each in verdict.differences)
        return (
            f"The gate is open: it beats the recency rule{' and is not worse than the live model' if has_live else ''}."
        )
    return f"The gate is closed: {'; '.join(verdict.reasons)}."


def _sections(trained: Trained, verdict: Verdict) -> Iterable[Section]:
    labels, risk = trained.test.labels, trained.risks[trained.champion]
    shown = {name: trained.risks[name] for name in dict.fromkeys((trained.champion, RECENCY, REFERENCE))}
    yield Section("Models side by side", (_side_by_side_words(trained),), (compared(trained),))
    gate_words = (outcome_words(verdict), *(f"The model {each}." for each in verdict.differences))
    yield Section("The gate", gate_words)
    yield Section("Telling churners apart", (), (), (plots.roc(labels, shown), plots.precision_recall(labels, shown)))
    yield Section("Gains and lift", (), (), (plots.gains(labels, shown), plots.lifts(labels, risk)))
    shift = evaluate.calibration(labels, risk).shift
    yield Section("Calibration", calibration_words(trained), (), (plots.calibration(labels, risk, shift),))
    yield _decisions(trained)
    yield _reasons(trained)
    yield _moved(trained)
    yield Section("By segment", (f"Segments of at least {explain.LEAST_IN_SEGMENT} customers.",), (segments(trained),))
    yield Section("How it was chosen", (_choice_words(trained),), (_tried(trained),))
    yield Section("What it learned from", (), (_origin(trained),))
    yield Section("Limits", LIMITS)


def compared(trained: Trained) -> Table:
    """Every model on the same test, with bootstrap intervals."""
    rows = []
    for name, points in trained.points.items():
        cells = [
            f"{points[metric]:.3f} ({low:.3f} to {high:.3f})" for metric, (low, high) in trained.intervals[name].items()
        ]
        rows.append([f"{name} (the model)" if name == trained.champion else name, *cells, f"{points['ece']:.3f}"])
    base = f"{trained.test.labels.mean():.2%}"
    caption = (
        f"{len(trained.test.labels):,} customers, churn rate {base}; 95 % intervals of {evaluate.REPLICATES} draws"
    )
    return Table(["model", *METRIC_NAMES.values(), "ECE"], rows, caption)


def _side_by_side_words(trained: Trained) -> str:
    return (
        "All learned from the same customers and were calibrated by one sigmoid on the same later ones, but for the "
        f"purchase process, which knows order days alone and needs no labels. The model is {trained.champion}: before "
        "the test was looked at, it was the best of those whose risks can be explained to the last digit."
    )


def calibration_words(trained: Trained) -> tuple[str, ...]:
    """The two parts of the calibration error, in plain words."""
    labels, risk = trained.test.labels, trained.risks[trained.champion]
    found = evaluate.calibration(labels, risk)
    direction = "fewer" if found.shift < 1 else "more"
    level = (
        f"The level: {abs(1 - found.shift):.0%} {direction} customers churned than the risks said ({labels.mean():.1%} "
        f"instead of {risk.mean():.1%}). The churn rate moves with the season, and a model knows it only up to the "
        "date that it was calibrated on."
    )
    shape = (
        f"The shape: with every risk multiplied by {found.shift:.3f}, which takes that shift out, "
        f"{found.shape_ece:.3f} is left ({found.odds_ece:.3f} where all log-odds are moved alike instead)."
    )
    return (f"Risks and outcomes lie {found.ece:.3f} apart on average (ECE, ten bins of equal count).", level, shape)


def _decisions(trained: Trained) -> Section:
    labels, risk = trained.test.labels, trained.risks[trained.champion]
    threshold = trained.model.about.threshold
    words = (
        f"Offers pay from a risk of {threshold:.2f} on. The threshold was chosen before the test, for a missed churner "
        f"that costs as much as {MISSED_COST / NEEDLESS_COST:g} needless offers."
    )
    return Section(
        "Decisions", (words,), (_confusion(labels, risk >= threshold), _classes(labels, risk >= threshold)),
        (plots.cost(labels, risk, threshold),),
    )  # fmt: skip


def _confusion(labels: evaluate.Labels, is_warned: Any) -> Table:
    (kept, needless), (missed, found) = confusion_matrix(labels, is_warned).tolist()
    rows = [["stayed", f"{kept:,}", f"{needless:,}"], ["churned", f"{missed:,}", f"{found:,}"]]
    return Table(["", "not warned", "warned"], rows, "Confusion matrix")


def _classes(labels: evaluate.Labels, is_warned: Any) -> Table:
    said = classification_report(
        labels, is_warned.astype(int), target_names=["stayed", "churned"], output_dict=True, zero_division=0
    )
    shown = ("precision", "recall", "f1-score")
    rows = [
        [name, *(f"{said[name][each]:.3f}" for each in shown), f"{said[name]['support']:,.0f}"]
        for name in ("stayed", "churned", "macro avg", "weighted avg")
    ]
    rows.append(["accuracy", "", "", f"{said['accuracy']:.3f}", f"{len(labels):,}"])
    return Table(["", "precision", "recall", "F1", "customers"], rows, "Classification report")


def _reasons(trained: Trained) -> Section:
    found = explain.importances(trained.model, trained.test)
    rows = [[each.feature, f"{each.part:.3f}", f"{each.pr_auc_lost:+.4f}"] for each in found]
    table = Table(["feature", "mean part in a risk, log-odds", "PR-AUC lost when shuffled"], rows)
    numeric = [each.feature for each in found][:8]
    effects = dict(list(explain.partial_effects(trained.model, trained.test, numeric).items())[:6])
    figures = [plots.importances([each.feature for each in found], [each.part for each in found])]
    if effects:
        figures.append(plots.partial_effects(effects))
    words = (
        "Every risk is the sum of a base and one part per feature, in log-odds. Features that say nearly the same "
        "share their part, so that shuffling one of them alone loses little."
    )
    return Section("What moves risks", (words,), (table,), figures)


def _moved(trained: Trained) -> Section:
    latest = trained.learned.where(trained.learned.cut_offs_ms == trained.learned.cut_offs_ms.max())
    before = drift.references(latest.matrix, score_matrix(trained.model, latest.matrix).risk)
    found = drift.all_drifts(before, trained.test.matrix, trained.risks[trained.champion])
    rows = [
        [each.name, f"{each.psi:.3f}", f"{each.by_chance:.3f}", "yes" if each.has_moved else ""] for each in found[:12]
    ]
    words = (
        "How far the test customers are from those of the latest training date: PSI, and its 99.9 % point where "
        f"nothing has changed. Something has moved where PSI is above that and above {drift.NOTEWORTHY_PSI}."
    )
    return Section("Drift against training", (words,), (Table(["", "PSI", "by chance", "moved"], rows),))


def segments(trained: Trained) -> Table:
    """How good the model is for each segment."""
    found = explain.by_segment(trained.test, trained.risks[trained.champion], trained.model.about.rfm)
    rows = [
        [
            each.segment,
            f"{each.customers:,}",
            f"{each.churned:.1%}",
            f"{each.mean_risk:.1%}",
            "—" if each.roc_auc is None else f"{each.roc_auc:.3f}",
            f"{each.brier:.3f}",
        ]
        for each in found
    ]
    return Table(["segment", "customers", "churned", "mean risk", "ROC-AUC", "Brier"], rows)


def _choice_words(trained: Trained) -> str:
    return (
        f"Chosen by {trained.choice.validation}, none of them the test: learned from moments whose 90 days were over, "
        "judged by the Brier score after the sigmoid that fits best. The best of each family was also tried with class "
        "weights and resampled (the more frequent outcome thinned out), and calibrated alike."
    )


def _tried(trained: Trained) -> Table:
    chosen = set(trained.choice.recipes.values())
    rows = [
        [
            each.family,
            str(each.recipe),
            f"{each.brier:.4f}",
            f"{each.pr_auc:.4f}",
            "yes" if each.recipe in chosen else "",
        ]
        for each in trained.choice.tried
    ]
    return Table(["family", "recipe", "Brier", "PR-AUC", "chosen"], rows, "Validation")


def _origin(trained: Trained) -> Table:
    about = trained.model.about
    rates = about.metrics["churn_rate"]
    rows = [
        [name, ", ".join(_day(each) for each in moments) or "across folds of the training customers",
         "—" if rates[name] is None else f"{rates[name]:.1%}"]
        for name, moments in about.cut_offs.items()
    ]  # fmt: skip
    rows += [
        ["customers with an order", f"{about.population.customers_with_order:,}", ""],
        ["days of history", f"{about.population.days:,.0f}", ""],
        ["features", f"{len(MODEL_FEATURES)}, version {about.fold_version} of the fold", ""],
        ["sha256 of the data", about.data_sha256, ""],
        ["libraries", ", ".join(f"{name} {number}" for name, number in about.libraries.items()), ""],
    ]
    return Table(["", "", "churn rate"], rows, about.metrics["split"])


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def card(trained: Trained, verdict: Verdict) -> str:
    """The model card in Markdown."""
    about = trained.model.about
    use = (
        f"The chance that a customer with an order in the last year makes no order within {HORIZON_DAYS} days, and the "
        "part that every feature has in it. For choosing whom to write to and why; not for prices, credit or staff."
    )
    made = (
        f"{trained.champion}: {about.algorithm}. Margin calibrated by one sigmoid (slope {about.slope:.3f}, intercept "
        f"{about.intercept:.3f}), so that base and parts add up to the log-odds of the risk. Offers pay from a risk of "
        f"{about.threshold:.2f} on."
    )
    parts = [
        f"# Churn model {trained.model.model_version}",
        outcome_words(verdict),
        "## Use",
        use,
        "## Model",
        made,
        "## Data",
        _markdown(_origin(trained)),
        "## Quality",
        _markdown(compared(trained)),
        *calibration_words(trained),
        "### By segment",
        _markdown(segments(trained)),
        "## Limits",
        "\n".join(f"- {each}" for each in LIMITS),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    body = "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"{table.caption}\n\n{body}" if table.caption else body
