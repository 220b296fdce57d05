"""`python -m analytics`: analyse a shop's history into a report, tables as Parquet, and `analytics-*` indices."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import duckdb
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from analytics import contents, report, run, views
from analytics.finding import Rows
from analytics.shop import Shop
from churn import analysis_index, settings
from churn.analysis_tables import BY_NAME
from churn.history import HistoryMissing

FAILED: Final = 1
REPORT: Final = "report.html"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the analyses. 0: done; 1: something is missing or broken."""
    paths = settings.read(settings.PathSettings)
    chosen = _parser(paths).parse_args(sys.argv[1:] if arguments is None else arguments)
    console = Console()
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)  # what fails is said once, below
    try:
        if chosen.sql is not None:
            return _query(chosen)
        rows = _analyse(chosen, console)
        if chosen.index:
            _index(rows, settings.read(settings.ElasticsearchSettings), console)
    except (HistoryMissing, analysis_index.NotIndexed, duckdb.Error, OSError) as error:
        print(f"analytics: {error}", file=sys.stderr)
        return FAILED
    return 0


def _parser(paths: settings.PathSettings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analytics", description=sys.modules[__name__].__doc__)
    parser.add_argument("--history", type=Path, default=paths.history_dir, metavar="DIR", help="default: HISTORY_DIR")
    parser.add_argument("--models", type=Path, default=paths.model_dir, metavar="DIR", help="default: MODEL_DIR")
    parser.add_argument("--out", type=Path, default=Path("report"), metavar="DIR", help="default: report")
    parser.add_argument(
        "--as-of", type=_moment, metavar="TIME", help="like 2026-01-01T00:00:00Z; default: the end of the history"
    )
    parser.add_argument("--sql", metavar="QUERY", help="only answer this query (docs/sql.md)")
    parser.add_argument("--index", action="store_true", help="write the tables into Elasticsearch, too")
    return parser


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _query(chosen: argparse.Namespace) -> int:
    sql = views.connect(chosen.history, chosen.as_of or views.end_of(chosen.history), os.cpu_count() or 1)
    found = sql.sql(chosen.sql)
    if found is not None:
        found.show(max_rows=1_000)
    return 0


def _analyse(chosen: argparse.Namespace, console: Console) -> dict[str, Rows]:
    with console.status(f"reading {chosen.history}"):
        as_of = chosen.as_of or views.end_of(chosen.history)
        processes = os.cpu_count() or 1
        sql = views.connect(chosen.history, as_of, processes)
    sql.execute("SET enable_progress_bar = false")  # DuckDB's own would stand across ours
    shop = Shop(
        chosen.history, sql, as_of, settings.read(settings.ShopSettings).shop_currency, chosen.models, processes
    )
    with _progress(console) as progress:
        task = progress.add_task("analysing", total=len(contents.analyses()))
        answered = run.answer(
            shop, contents.CHAPTERS, lambda title: progress.update(task, advance=1, description=title)
        )
    rows = run.tables(answered)
    with console.status("writing the report"):
        run.write(rows, chosen.out)
        (chosen.out / REPORT).write_text(report.page(shop, answered), encoding="utf-8")
    console.print(f"report: {chosen.out / REPORT}", soft_wrap=True)
    console.print(f"tables: {chosen.out / run.FOLDER} ({len(rows)} of them)", soft_wrap=True)
    return rows


def _index(rows: dict[str, Rows], elastic: settings.ElasticsearchSettings, console: Console) -> None:
    client = analysis_index.connect(elastic)
    try:
        with _progress(console) as progress:
            task = progress.add_task("indexing", total=len(rows))
            count = 0
            for name, of_table in rows.items():
                count += analysis_index.write(client, BY_NAME[name], of_table)
                progress.update(task, advance=1, description=BY_NAME[name].index)
    finally:
        client.close()
    console.print(f"{count:,} documents in analytics-*")


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


if __name__ == "__main__":
    sys.exit(main())
