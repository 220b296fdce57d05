"""The command line of `python -m training`; without a command it trains."""

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from churn.model import MIN_CUSTOMERS, MIN_DAYS
from churn.settings import PathSettings

DEFAULT: Final = "train"
COMMANDS: Final = {
    "train": "learn from the history; the model goes live if the gate is open for it",
    "features": "write the features of everybody at --as-of to the file --out",
    "compare": "every kept model on the latest customers whose outcome is known",
    "promote": "put a kept model live, if the gate is open for it",
    "rollback": "put the model live that was live before",
    "score": "risks and drivers for a file of features",
    "drift": "whether customers or outcomes have moved away from the live model",
}


def parse(arguments: Sequence[str], paths: PathSettings) -> argparse.Namespace:
    """The chosen command with its options."""
    words = list(arguments)
    if not any(word in COMMANDS for word in words) and not {"-h", "--help"} & set(words):
        words.insert(0, DEFAULT)
    return _parser(paths).parse_args(words)


def _parser(paths: PathSettings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Train and keep the churn model.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {name: commands.add_parser(name, help=text, description=text) for name, text in COMMANDS.items()}
    for name in ("train", "features", "compare", "promote", "drift"):
        made[name].add_argument("--history", type=Path, default=paths.history_dir, help="Parquet events (%(default)s)")
    for name in ("compare", "promote", "rollback", "score", "drift"):
        made[name].add_argument("--models", type=Path, default=paths.model_dir, help="kept models (%(default)s)")
    for name in ("train", "drift"):
        made[name].add_argument("--index", action="store_true", help="also write what was found to ELASTICSEARCH_URL")
    for name in ("train", "features"):
        made[name].add_argument("--engine", choices=("local", "spark"), default="local", help="what folds the history")
    _of_train(made["train"], paths)
    features = made["features"]
    features.add_argument("--as-of", type=_moment, required=True, metavar="TIME", help="like 2026-01-01T00:00:00Z")
    features.add_argument("--out", type=Path, required=True, metavar="FILE", help="Parquet file to write")
    made["promote"].add_argument("version", help="as `compare` lists it")
    score = made["score"]
    score.add_argument("file", type=Path, help="Parquet or CSV (.csv) with customer_id and the features")
    score.add_argument("--out", type=Path, required=True, metavar="FILE", help="Parquet, or CSV where it ends in .csv")
    score.add_argument("--model", metavar="VERSION", help="another version than the live one")
    return parser


def _of_train(train: Any, paths: PathSettings) -> None:
    train.add_argument("--out", type=Path, default=paths.model_dir, help="where models are kept (%(default)s)")
    train.add_argument(
        "--min-customers", type=int, default=MIN_CUSTOMERS, help="least customers with an order (%(default)s)"
    )
    train.add_argument("--min-days", type=int, default=MIN_DAYS, help="least days of history (%(default)s)")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} needs an offset, like the Z of 2026-01-01T00:00:00Z")
    return moment.astimezone(UTC)
