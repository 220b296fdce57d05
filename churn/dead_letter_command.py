"""`python -m churn.dead_letters list | show ID | replay`: what could not be read, and once more when it can."""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
from kafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from churn import kafka_access, letter_replay, logs, progress, settings
from churn.dead_letters import DeadLetter, payload_of
from churn.letter_replay import Letters
from churn.refusal import EXIT_REFUSED, AccessRefused
from churn.settings import KafkaSettings

PIPED_WIDTH = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done; 1: Kafka is away, or there is no such letter; 3: some to be replayed are bad still; 77: not let in."""
    chosen = _parser().parse_args(arguments)
    logs.configure("dead_letters", settings.read(settings.LogSettings).log_format)
    kafka = settings.read(settings.KafkaSettings)
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    try:
        with progress.bar("reading dead letters") as on_read:
            letters = letter_replay.read(kafka.kafka_bootstrap_servers, on_read, kafka_access.from_settings(kafka))
        return _COMMANDS[chosen.command](chosen, letters, kafka, console)
    except KafkaError as error:
        why = kafka_access.explained(error, kafka.kafka_bootstrap_servers, kafka_access.from_settings(kafka))
        print(why, file=sys.stderr)
        return EXIT_REFUSED if isinstance(why, AccessRefused) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m churn.dead_letters", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    listed = commands.add_parser("list", help="how many there are by reason, or those of one reason")
    show = commands.add_parser("show", help="one letter with its bytes")
    show.add_argument("letter_id")
    replay = commands.add_parser("replay", help="send what can be read now to topic events, each letter once")
    for each in (listed, replay):
        each.add_argument("--reason", help="only letters of this reason")
    return parser


def _list(chosen: argparse.Namespace, letters: Letters, kafka: KafkaSettings, console: Console) -> int:
    console.print(_of_reason(letters, chosen.reason) if chosen.reason else _by_reason(letters))
    return 0


def _by_reason(letters: Letters) -> Table:
    table = Table("reason", "stage", "letters", "replayed", "first", "last")
    groups: dict[tuple[str, str], list[DeadLetter]] = {}
    for letter in letters.by_id.values():
        groups.setdefault((letter.reason, letter.stage), []).append(letter)
    for (reason, stage), its in sorted(groups.items(), key=lambda group: -len(group[1])):
        moments = [letter.failed_at for letter in its]
        replayed = sum(letters.is_replayed(letter.letter_id) for letter in its)
        table.add_row(reason, stage, f"{len(its):,}", f"{replayed:,}", f"{min(moments):%F %T}", f"{max(moments):%F %T}")
    return table


def _of_reason(letters: Letters, reason: str) -> Table:
    table = Table("letter", "failed at", "customer", "replayed", "detail")
    for letter in sorted(letters.by_id.values(), key=lambda letter: letter.failed_at):
        if letter.reason == reason:
            replayed = "yes" if letters.is_replayed(letter.letter_id) else ""
            table.add_row(letter.letter_id, f"{letter.failed_at:%F %T}", letter.customer_id, replayed, letter.detail)
    return table


def _show(chosen: argparse.Namespace, letters: Letters, kafka: KafkaSettings, console: Console) -> int:
    letter = letters.by_id.get(chosen.letter_id)
    if letter is None:
        print(f"no dead letter {chosen.letter_id}: `list --reason R` names them", file=sys.stderr)
        return 1
    for name, value in msgspec.structs.asdict(letter).items():
        if value is not None and name != "raw":
            console.print(f"{name:<12}{value}", markup=False, highlight=False, soft_wrap=True)
    payload = payload_of(letter)
    console.print(payload.decode(errors="backslashreplace"), markup=False, highlight=False, soft_wrap=True)
    return 0


def _replay(chosen: argparse.Namespace, letters: Letters, kafka: KafkaSettings, console: Console) -> int:
    wanted = [letter for letter in letters.by_id.values() if chosen.reason in (None, letter.reason)]
    with progress.bar("looking for what was sent") as on_read:
        done = letter_replay.replay(
            kafka.kafka_bootstrap_servers,
            letters,
            wanted,
            currency=settings.read(settings.ShopSettings).shop_currency,
            now=datetime.now(UTC),
            on_read=on_read,
            security=kafka_access.from_settings(kafka),
        )
    console.print(f"{done.sent:,} sent again, {done.sent_before:,} sent by an earlier replay")
    _tell(console, "still bad", done.still_bad)
    _tell(console, "no message of topic events (replay their file, or let es_ingest read on)", done.no_message)
    return 3 if done.still_bad else 0


def _tell(console: Console, what: str, counts: Counter[str]) -> None:
    if counts:
        each = ", ".join(f"{reason} {number:,}" for reason, number in counts.most_common())
        console.print(f"{counts.total():,} {what}: {each}", soft_wrap=True)


_COMMANDS: dict[str, Callable[[argparse.Namespace, Letters, KafkaSettings, Console], int]] = {
    "list": _list,
    "show": _show,
    "replay": _replay,
}
