"""`python -m training`: learn from the history who will not order again, and keep, judge, use and watch the models."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pyarrow import parquet
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from churn import evaluate, history, offline, settings
from churn.analysis_index import NotIndexed
from churn.analysis_tables import MODEL_DRIFT
from churn.analysis_tables import Table as AnalysisTable
from churn.forgotten import ForgetKeyMissing, ForgetKeyWrong, Forgotten, read_file
from churn.history import HistoryMissing
from churn.model import HORIZON_DAYS, ModelError, live_version, lives, load, roll_back
from churn.offline import SparkMissing
from training import arguments as command_line
from training import dataset, index, keep, monitor, report, score, split, train
from training.choose import RECIPES_TRIED
from training.dataset import HistoryHasHole, Samples
from training.fit import TooFewOutcomes, fit
from training.recipes import RECENCY_ONLY
from training.train import InsufficientData, Least, Trained

FAILED: Final = 1
INSUFFICIENT_DATA: Final = 2
REFUSED: Final = 3
DRIFTS_SHOWN: Final = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. 0: done; 1: something is missing or broken; 2: not enough data, nothing written; 3: refused."""
    paths = settings.read(settings.PathSettings)
    chosen = command_line.parse(sys.argv[1:] if arguments is None else arguments, paths)
    try:
        return _COMMANDS[chosen.command](chosen, Console())
    except (InsufficientData, TooFewOutcomes) as error:
        print(f"insufficient_data: {error}. No model was written.", file=sys.stderr)
        return INSUFFICIENT_DATA
    except HistoryHasHole as error:
        print(f"{error}. No model was written.", file=sys.stderr)
        return INSUFFICIENT_DATA
    except (
        *(HistoryMissing, SparkMissing, ModelError, score.UnusableFile, NotIndexed, OSError),
        *(ForgetKeyMissing, ForgetKeyWrong),
    ) as error:
        print(error, file=sys.stderr)
        return FAILED


def _train(chosen: argparse.Namespace, console: Console) -> int:
    elastic = settings.read(settings.ElasticsearchSettings) if chosen.index else None
    table = _read(chosen.history, console)
    with _progress(console) as progress:
        folding = progress.add_task("folding events", total=table.num_rows)
        choosing = progress.add_task("trying recipes", total=RECIPES_TRIED)
        trained = train.train(
            table,
            Least(chosen.min_customers, chosen.min_days),
            processes=_processes(),
            on_folded=lambda events: progress.advance(folding, events),
            on_tried=lambda: progress.advance(choosing),
            spark_history=chosen.history if chosen.engine == "spark" else None,
            forgotten=_forgotten(),
        )
    with console.status("writing the report"):
        verdict = keep.keep(trained, chosen.out)
    _tell(trained, console)
    version = trained.model.model_version
    place = chosen.out / version
    console.print(f"report: {place / keep.REPORT}", soft_wrap=True)
    for each in verdict.differences:
        console.print(str(each), soft_wrap=True)
    if verdict.is_open:
        console.print(f"{version} is live in {chosen.out}", soft_wrap=True)
    else:
        console.print(f"{version} is kept in {place} but not live: {'; '.join(verdict.reasons)}", soft_wrap=True)
    if elastic is not None:
        _index(index.rows(trained, verdict), elastic, console)
    return 0


def _tell(trained: Trained, console: Console) -> None:
    console.print(f"Will a customer not order within {HORIZON_DAYS} days? {trained.model.about.metrics['split']}")
    found = report.compared(trained)
    shown = Table(title=f"test {trained.model.about.cut_offs['test'][0]:%Y-%m-%d}: {found.caption}")
    for place, name in enumerate(found.columns):
        shown.add_column(name, justify="right" if place else "left")
    for row in found.rows:
        shown.add_row(*map(str, row))
    console.print(shown)
    for words in report.calibration_words(trained):
        console.print(words)


def _features(chosen: argparse.Namespace, console: Console) -> int:
    with _progress(console) as progress:
        folding = progress.add_task("folding events", total=None)
        table = offline.feature_table(
            chosen.history,
            chosen.as_of,
            engine=chosen.engine,
            processes=_processes(),
            on_done=lambda events: progress.advance(folding, events),
            forgotten=_forgotten(),
        )
    parquet.write_table(table, chosen.out)
    console.print(f"{table.num_rows:,} customers, {table.num_columns - 1} features each: {chosen.out}", soft_wrap=True)
    return 0


def _compare(chosen: argparse.Namespace, console: Console) -> int:
    _, test = _latest(chosen.history, console)
    names = lives(chosen.models)
    shown = Table(title=f"{len(test.labels):,} customers, churn rate {test.labels.mean():.1%}")
    columns = ("version", "state", "algorithm", *report.METRIC_NAMES.values(), "ECE")
    for name in columns:
        shown.add_column(name, overflow="fold")
    for kept in keep.kept_on(chosen.models, test):
        version = kept.model.model_version
        state = "live" if names[:1] == [version] else "was live" if version in names else "aside"
        found = evaluate.metrics(test.labels, kept.risk)
        cells = [f"{found[name]:.4f}" for name in (*report.METRIC_NAMES, "ece")]
        state += ", has seen these outcomes" if kept.has_seen else ""
        shown.add_row(version, state, kept.model.about.algorithm, *cells)
    console.print(shown)
    return 0


def _promote(chosen: argparse.Namespace, console: Console) -> int:
    load(chosen.models, chosen.version)
    before, test = _latest(chosen.history, console)
    verdict = keep.promote(chosen.models, chosen.version, test, fit(*before, RECENCY_ONLY).risk(test.matrix))
    for each in verdict.differences:
        console.print(str(each), soft_wrap=True)
    if not verdict.is_open:
        print(f"{chosen.version} stays aside: {'; '.join(verdict.reasons)}", file=sys.stderr)
        return REFUSED
    console.print(f"{chosen.version} is live in {chosen.models}", soft_wrap=True)
    return 0


def _rollback(chosen: argparse.Namespace, console: Console) -> int:
    before = live_version(chosen.models)
    console.print(f"{roll_back(chosen.models)} is live in {chosen.models} in place of {before}", soft_wrap=True)
    return 0


def _score(chosen: argparse.Namespace, console: Console) -> int:
    model = load(chosen.models, chosen.model)
    count = score.score_file(model, chosen.file, chosen.out)
    console.print(f"{count:,} customers scored by {model.model_version}: {chosen.out}", soft_wrap=True)
    return 0


def _drift(chosen: argparse.Namespace, console: Console) -> int:
    elastic = settings.read(settings.ElasticsearchSettings) if chosen.index else None
    model = load(chosen.models)
    table = _read(chosen.history, console)
    with console.status("folding events"):
        found = monitor.look(model, table, chosen.models / model.model_version, processes=_processes())
    shown = Table(title=f"customers as of {found.as_of:%Y-%m-%d} beside those that {model.model_version} was tested on")
    for name in ("", "PSI", "by chance up to", "moved"):
        shown.add_column(name)
    for each in found.drifts[:DRIFTS_SHOWN]:
        shown.add_row(each.name, f"{each.psi:.3f}", f"{each.by_chance:.3f}", "yes" if each.has_moved else "")
    console.print(shown)
    console.print(f"Outcomes: {found.outcome_words}.", soft_wrap=True)
    console.print(found.advice, soft_wrap=True)
    if elastic is not None:
        told = index.drift_rows(model.model_version, found.as_of, found.drifts, found.moved_before)
        _index({MODEL_DRIFT: told}, elastic, console)
    return 0


def _index(tables: dict[AnalysisTable, index.Rows], elastic: settings.ElasticsearchSettings, console: Console) -> None:
    written = index.write(tables, elastic)
    console.print(f"{written} rows in {', '.join(table.index for table in tables)}", soft_wrap=True)


def _latest(directory: Path, console: Console) -> tuple[tuple[Samples, Samples | None], Samples]:
    """What may be learned and calibrated from, and the customers of the latest test of a history."""
    table = _read(directory, console)
    chosen = split.choose(*dataset.span(table))
    if chosen is None:
        raise InsufficientData(f"the history is shorter than {split.SHORTEST.days} days")
    with console.status("folding events"):
        built = dataset.build(table, chosen.cut_offs, processes=_processes())
    learned, calibrate, test = train.parts(built.samples, chosen)
    return (learned, calibrate), test


def _read(directory: Path, console: Console) -> Any:
    with console.status(f"reading {directory}"):
        return history.read(directory, forgotten=_forgotten())


def _forgotten() -> Forgotten:
    own = settings.read(settings.ForgetSettings)
    return read_file(own.forgotten_file, own.key)


def _processes() -> int:
    return os.cpu_count() or 1


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


_COMMANDS: Final = {
    "train": _train,
    "features": _features,
    "compare": _compare,
    "promote": _promote,
    "rollback": _rollback,
    "score": _score,
    "drift": _drift,
}

if __name__ == "__main__":
    sys.exit(main())
