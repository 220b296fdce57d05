"""The command line: what can be said, and what is refused before anything starts."""

import argparse
import codecs
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from churn.events import MAX_CLOCK_AHEAD
from producer.adapters import FORMATS
from producer.faults import Faults
from producer.history_files import FILE_FORMATS
from producer.simulator import Plan

MAX: Final = "max"
LEAST_EVENTS: Final = 3  # a customer
TOP_SHARES: Final = (0.5, 0.95)
_FAULTS: Final = {
    "duplicates": "of events, sent twice",
    "late": "of events, arriving hours later",
    "shuffled": "of events, arriving up to ten minutes later",
    "future": "of events, dated days ahead",
    "malformed": "of events, breaking a rule of the schema",
    "bots": "of all events, by visitors that are no people",
    "clock_skew": "of sessions, on a device whose clock is wrong by minutes",
    "anonymous": "of sessions, whose customer is known only from the middle on",
}


def parse(arguments: list[str], now: datetime) -> argparse.Namespace:
    """The options of one command; `options.command` is its name. Ends the process with code 2 where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m producer",
        description="Customer events for topic `events` or a Parquet history: of simulated customers, or of a file.",
        epilog="KAFKA_BOOTSTRAP_SERVERS says where Kafka is; create the topics with `python -m churn.topics`.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    simulate, replay = _simulate_parser(commands), _replay_parser(commands)
    inspect, clean = _inspect_parser(commands), _clean_parser(commands)
    if arguments and arguments[0] == "--input":
        arguments = ["replay", *arguments]
    options = parser.parse_args(arguments)
    chosen = {"simulate": simulate, "replay": replay, "inspect": inspect, "clean": clean}[options.command]
    if options.command == "simulate":
        _finish_simulate(simulate, options, now)
    else:
        _finish_file(chosen, options)
    if options.command in ("simulate", "replay") and options.topic is None and options.output is None:
        chosen.error("name --topic, --output or both")
    return options


def _simulate_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "simulate",
        help="a shop whose customers visit, buy, send back and leave",
        description="Simulates the customers of a shop. The same flags, --until among them, give the same events.",
    )
    _add_sinks(parser)
    past = parser.add_argument_group("the history (every _ in a name may be a -)")
    _add(past, "--num_customers", type=_count, default=2_000, metavar="N", help="default: %(default)s")
    _add(
        past,
        "--num_events",
        type=_count,
        default=60_000,
        metavar="N",
        help="about so many events (default: %(default)s)",
    )
    past.add_argument("--days", type=_count, default=365, metavar="N", help="its length (default: %(default)s)")
    past.add_argument("--seed", type=_count_or_0, default=7, metavar="N", help="default: %(default)s")
    past.add_argument(
        "--until", type=_moment, metavar="TIME", help="its end, like 2026-01-01T00:00:00Z (default: this minute)"
    )
    _add(
        past,
        "--top_share",
        type=_top_share,
        default=0.7,
        metavar="SHARE",
        help="of revenue, from the 20 %% of buyers who spend most (default: %(default)s)",
    )
    _add(past, "--refunds", type=_share, default=0.1, metavar="SHARE", help="of orders (default: %(default)s)")
    past.add_argument("--speed", type=_speed, default=MAX, metavar="N|max", help=_SPEED_HELP)
    _add(
        past,
        "--file_format",
        choices=FILE_FORMATS,
        default="parquet",
        help="of the files in --output; training reads parquet (default: %(default)s)",
    )
    past.add_argument(
        "--processes",
        type=_count,
        metavar="N",
        help="at most; the events are the same (default: all cores)",
    )
    wrong = parser.add_argument_group("what goes wrong (shares, 0 unless said; written down in _truth)")
    for name, meaning in _FAULTS.items():
        _add(wrong, f"--{name}", type=_share, default=0.0, metavar="SHARE", help=meaning)
    present = parser.add_argument_group("the present")
    present.add_argument(
        "--live", action="store_true", help="go on after the history: the customers act now, until stopped"
    )
    present.add_argument(
        "--live-only", action="store_true", help="the same for a history that was sent before: it is not sent again"
    )
    present.add_argument("--rate", type=_positive, metavar="N", help="live events per second (default: 200)")
    present.add_argument("--for", type=_positive, dest="for_s", metavar="SECONDS", help="stop being live after these")
    return parser


def _finish_simulate(parser: argparse.ArgumentParser, options: argparse.Namespace, now: datetime) -> None:
    if options.live_only and options.until is None:
        parser.error("--live-only needs the --until of the history that was sent")
    if options.until is None:
        options.until = now.replace(second=0, microsecond=0)
    if options.topic is not None and options.until > now + MAX_CLOCK_AHEAD:
        parser.error(f"--until {options.until.isoformat()} lies ahead: on a topic events of the future are refused")
    least = LEAST_EVENTS * options.num_customers
    if options.num_events < least:
        parser.error(f"--num_events must be at least {least:,}: everybody signs up and looks at something")
    if options.late + options.shuffled + options.future + options.malformed > 1:
        parser.error("--late, --shuffled, --future and --malformed are shares of the same events: together at most 1")
    options.live = options.live or options.live_only
    if options.live and options.topic is None:
        parser.error("--live events go to a topic: name it with --topic")
    if options.live_only and options.output is not None:
        parser.error("--live-only writes no history: leave out --output")
    if not options.live and (options.rate or options.for_s):
        parser.error("--rate and --for say how --live goes: add it")
    options.rate = options.rate or 200.0


def plan_of(options: argparse.Namespace) -> Plan:
    """What the options of `simulate` ask for."""
    return Plan(
        options.num_customers,
        options.num_events,
        options.days,
        options.seed,
        options.until,
        options.top_share,
        options.refunds,
        Faults(**{name: getattr(options, name) for name in Faults._fields}),
    )


def _add(group: "argparse._ArgumentGroup", name: str, **options: Any) -> None:
    """An option whose name may be written with - as well."""
    names = dict.fromkeys((name, "--" + name[2:].replace("_", "-")))
    group.add_argument(*names, dest=name[2:], **options)


def _replay_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "replay",
        help="the rows of a file",
        description="Sends each row of a file as an event, or to topic dead-letters with the reason why it is none.",
    )
    _add_file(parser)
    _add_sinks(parser)
    part = parser.add_argument_group("which rows, and when")
    part.add_argument("--limit", type=_count, metavar="N", help="the first N rows only")
    part.add_argument(
        "--shift-to-now",
        action="store_true",
        help="move all times by whole days, so that the file's last event is just past; reads the file twice",
    )
    repeat = part.add_mutually_exclusive_group()
    repeat.add_argument(
        "--resume",
        dest="again",
        action="store_false",
        default=False,
        help="send what the topic does not hold yet of this file, exactly; this is the default",
    )
    repeat.add_argument("--again", action="store_true", help="send all rows, also those that the topic holds already")
    pace = part.add_mutually_exclusive_group()
    pace.add_argument("--speed", type=_speed, default=MAX, metavar="N|max", help=_SPEED_HELP)
    pace.add_argument("--rate", type=_positive, metavar="N", help="so many events per second")
    return parser


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="CSV, JSON Lines or text (each also .gz), Parquet, a history's directory, or the one of a sessions pair",
    )
    parser.add_argument("--input", type=Path, metavar="FILE", help="another way to name FILE")
    parser.add_argument(
        "--format", choices=sorted(FORMATS), help="where the file comes from (default: told by its columns)"
    )
    parser.add_argument("--encoding", type=_encoding, default="utf-8", help="of a CSV file (default: %(default)s)")


def _finish_file(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if (options.file is None) == (options.input is None):
        parser.error("name one FILE, with or without --input")
    options.file = options.file or options.input


def _inspect_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "inspect",
        help="what is in a file, and how good it is",
        description="Reports schema, types, ranges, missing values, duplicates, outliers, time span and event mix.",
    )
    _add_file(parser)
    parser.add_argument("--html", type=Path, metavar="OUT", help="write the report with plots as one HTML file, too")
    return parser


def _clean_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "clean",
        help="a cleaned copy of a file",
        description="Writes a cleaned copy and, beside it, a log of what was changed and why and the rows set aside.",
    )
    _add_file(parser)
    parser.add_argument("output", type=Path, metavar="OUT", help="the copy, .parquet or .csv; the file stays as it is")
    parser.add_argument(
        "--missing",
        action="append",
        default=[],
        metavar="COLUMN=RULE",
        help="what a missing cell of a column asks for: keep it, drop the row, impute the median, or refuse the file",
    )
    return parser


_SPEED_HELP: Final = "1: as fast as it happened, 60: a minute in a second, max: without waiting (default: max)"


def _add_sinks(parser: argparse.ArgumentParser) -> None:
    sinks = parser.add_argument_group("where to (at least one)")
    sinks.add_argument("--topic", metavar="NAME", help="publish to this Kafka topic; Ebb reads from `events`")
    sinks.add_argument("--output", type=Path, metavar="DIR", help="write a Parquet history into this new directory")


def _count(text: str) -> int:
    value = _count_or_0(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _count_or_0(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to below 1")
    return value


def _top_share(text: str) -> float:
    value = _share(text)
    if not TOP_SHARES[0] <= value <= TOP_SHARES[1]:
        raise argparse.ArgumentTypeError(f"{text} is not between {TOP_SHARES[0]} and {TOP_SHARES[1]}")
    return value


def _speed(text: str) -> float | str:
    return MAX if text == MAX else _positive(text)


def _moment(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not written like 2026-01-01T00:00:00Z") from None
    if value.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} needs an offset, like the Z of 2026-01-01T00:00:00Z")
    return value.astimezone(UTC)


def _encoding(text: str) -> str:
    try:
        return codecs.lookup(text).name
    except LookupError:
        raise argparse.ArgumentTypeError(f"{text!r} is no encoding") from None
