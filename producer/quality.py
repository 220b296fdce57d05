"""The commands `inspect` and `clean`: each file of a source through the database, and what came of it for people."""

import argparse
import sys
from collections.abc import Callable
from datetime import datetime

from rich.console import Console

from producer import clean, inspection, quality_html, quality_text
from producer.progress import ProgressLine
from producer.raw_table import loaded
from producer.source import Source, open_source

NewProgress = Callable[[], ProgressLine]


def run(options: argparse.Namespace, currency: str, now: datetime, new_progress: NewProgress) -> int:
    """Run one of the two commands; returns its exit code."""
    source = open_source(options.file, options.format, options.encoding, currency)
    console = Console() if sys.stdout.isatty() else Console(width=160)
    if options.command == "clean":
        _clean(options, source, now, new_progress, console)
    else:
        _inspect(options, source, currency, now, new_progress, console)
    return 0


def _clean(
    options: argparse.Namespace, source: Source, now: datetime, new_progress: NewProgress, console: Console
) -> None:
    """One copy; of a pair one each, in a directory."""
    missing = clean.parsed_missing(options.missing, [n for part in source.parts for n in part.adapter.table.names])
    is_alone = len(source.parts) == 1
    if not is_alone:
        options.output.mkdir(parents=True, exist_ok=True)
    for part in source.parts:
        output = options.output if is_alone else options.output / f"{part.file.name.split('.')[0]}.parquet"
        with new_progress() as progress, loaded(part, progress.show) as table:
            cleaned = clean.Cleaning(table, part, source.format_name, missing, now).run(output)
        quality_text.print_changes(cleaned, output, console)


def _inspect(
    options: argparse.Namespace,
    source: Source,
    currency: str,
    now: datetime,
    new_progress: NewProgress,
    console: Console,
) -> None:
    reports = []
    for part in source.parts:
        with new_progress() as progress, loaded(part, progress.show) as table:
            reports.append(inspection.inspect(table, part, source.format_name, currency, now))
        quality_text.print_report(reports[-1], console)
    if options.html:
        options.html.write_text(quality_html.page(source.name, reports), encoding="utf-8")
        console.print(f"page      {options.html}", highlight=False, soft_wrap=True)
