"""`python -m training`: learn from the history who will not order again; the model goes live if it is worth it."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pyarrow import parquet
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from churn import history, offline, settings
from churn.history import HistoryMissing
from churn.model import HORIZON_DAYS, MIN_CUSTOMERS, MIN_DAYS, go_live, save
from churn.offline import SparkMissing
from training.evaluate import reason_against
from training.fit import TooFewOutcomes
from training.train import InsufficientData, Least, Trained, train

INSUFFICIENT_DATA = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, keep, measure, and switch over. 0: done; 1: no history; 2: not enough data, nothing was written."""
    paths = settings.read(settings.PathSettings)
    chosen = _parser(paths).parse_args(arguments)
    console = Console()
    try:
        if chosen.command == "features":
            _write_features(chosen, console)
            return 0
        with console.status(f"reading {chosen.history}"):
            table = history.read(chosen.history)
        with _progress(console) as progress:
            folding = progress.add_task("folding events", total=table.num_rows)
            trained = train(
                table,
                Least(chosen.min_customers, chosen.min_days),
                processes=os.cpu_count() or 1,
                on_folded=lambda events: progress.advance(folding, events),
                spark_history=chosen.history if chosen.engine == "spark" else None,
            )
    except (HistoryMissing, SparkMissing) as error:
        print(error, file=sys.stderr)
        return 1
    except (InsufficientData, TooFewOutcomes) as error:
        print(f"insufficient_data: {error}. No model was written.", file=sys.stderr)
        return INSUFFICIENT_DATA
    _keep(trained, chosen.out, console)
    return 0


def _parser(paths: settings.PathSettings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train the churn model on the history.")
    parser.add_argument(
        "command",
        nargs="?",
        choices=("train", "features"),
        default="train",
        help="train a model (default), or write the features of everybody at --as-of to the file --out",
    )
    parser.add_argument("--as-of", type=_moment, metavar="TIME", help="of features, like 2026-01-01T00:00:00Z")
    parser.add_argument("--engine", choices=("local", "spark"), default="local", help="what folds the history")
    parser.add_argument("--history", type=Path, default=paths.history_dir, help="events as Parquet (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=paths.model_dir, help="where models are kept (%(default)s), or the file"
    )
    parser.add_argument(
        "--min-customers", type=int, default=MIN_CUSTOMERS, help="least customers with an order (%(default)s)"
    )
    parser.add_argument("--min-days", type=int, default=MIN_DAYS, help="least days of history (%(default)s)")
    return parser


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} needs an offset, like the Z of 2026-01-01T00:00:00Z")
    return moment.astimezone(UTC)


def _write_features(chosen: argparse.Namespace, console: Console) -> None:
    if chosen.as_of is None:
        raise SystemExit("features need a moment: --as-of 2026-01-01T00:00:00Z")
    with _progress(console) as progress:
        folding = progress.add_task("folding events", total=None)
        table = offline.feature_table(
            chosen.history,
            chosen.as_of,
            engine=chosen.engine,
            processes=os.cpu_count() or 1,
            on_done=lambda events: progress.advance(folding, events),
        )
    parquet.write_table(table, chosen.out)
    console.print(f"{table.num_rows:,} customers, {table.num_columns - 1} features each: {chosen.out}", soft_wrap=True)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _keep(trained: Trained, directory: Path, console: Console) -> None:
    place = save(trained.model, directory)
    readable = json.dumps(trained.model.about.metrics, indent=2, default=float)
    (place / "metrics.json").write_text(readable + "\n", encoding="utf-8")
    console.print(f"Will a customer not order within {HORIZON_DAYS} days? {trained.model.about.metrics['split']}")
    console.print(_table(trained))
    reason = reason_against(trained.metrics, trained.recency_alone)
    version = trained.model.model_version
    if reason is None:
        go_live(directory, version)
        console.print(f"{version} is live in {directory}", soft_wrap=True)
    else:
        console.print(f"{version} is kept in {place} but not live: {reason}", soft_wrap=True)


def _table(trained: Trained) -> Table:
    table = Table()
    table.add_column(f"test {trained.model.about.cut_offs['test'][0]:%Y-%m-%d}")
    table.add_column("model", justify="right")
    table.add_column("recency alone", justify="right")
    for name, value in trained.metrics.items():
        shown = "{:,}" if name == "n" else "{:.4f}"
        table.add_row(name, shown.format(value), shown.format(trained.recency_alone[name]))
    return table


if __name__ == "__main__":
    sys.exit(main())
