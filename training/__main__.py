"""`python -m training`: learn from the history who will not order again; the model goes live if it is worth it."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from churn import history, settings
from churn.history import HistoryMissing
from churn.model import HORIZON_DAYS, MIN_CUSTOMERS, MIN_DAYS, go_live, save
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
        with console.status(f"reading {chosen.history}"):
            table = history.read(chosen.history)
        with _progress(console) as progress:
            folding = progress.add_task("folding events", total=table.num_rows)
            trained = train(
                table,
                Least(chosen.min_customers, chosen.min_days),
                processes=os.cpu_count() or 1,
                on_folded=lambda events: progress.advance(folding, events),
            )
    except HistoryMissing as error:
        print(error, file=sys.stderr)
        return 1
    except (InsufficientData, TooFewOutcomes) as error:
        print(f"insufficient_data: {error}. No model was written.", file=sys.stderr)
        return INSUFFICIENT_DATA
    _keep(trained, chosen.out, console)
    return 0


def _parser(paths: settings.PathSettings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train the churn model on the history.")
    parser.add_argument("--history", type=Path, default=paths.history_dir, help="events as Parquet (%(default)s)")
    parser.add_argument("--out", type=Path, default=paths.model_dir, help="where models are kept (%(default)s)")
    parser.add_argument(
        "--min-customers", type=int, default=MIN_CUSTOMERS, help="least customers with an order (%(default)s)"
    )
    parser.add_argument("--min-days", type=int, default=MIN_DAYS, help="least days of history (%(default)s)")
    return parser


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
