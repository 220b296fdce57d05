"""`python -m churn.export_history DIR`: topic `events` as a history, so that batch jobs see what happened live."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from kafka.errors import KafkaError

from churn import forgotten_topic, kafka_access, logs, progress, settings, topics, whole_topic
from churn.events import InvalidEvent, decode
from churn.forgotten import NOBODY, ForgetKeyMissing, ForgetKeyWrong, Forgotten
from churn.history import HistoryExists, HistoryWriter
from churn.kafka_access import OPEN, KafkaSecurity
from churn.refusal import EXIT_REFUSED, AccessRefused
from churn.whole_topic import OnRead


class Exported(NamedTuple):
    """Numbers of messages: `repeated` hold an event that came before, `unreadable` ones are dead letters."""

    events: int
    repeated: int
    unreadable: int
    forgotten: int


def export(
    bootstrap_servers: str,
    directory: Path,
    *,
    currency: str,
    forgotten: Forgotten = NOBODY,
    on_read: OnRead = lambda done, total: None,
    security: KafkaSecurity = OPEN,
) -> Exported:
    """Write what the topic holds now as the history in `directory`; an export that is there is replaced at the end.

    Each event once. What was replayed from a file counts as known when it happened, anything else when its message
    came. Keeps the ids of all events in memory. Raises `HistoryExists` for a directory that holds anything but dates,
    and `KafkaError`.
    """
    if directory.exists() and (others := [each.name for each in directory.iterdir() if not _is_date(each)]):
        raise HistoryExists(f"{directory} holds {others[0]}, which no export wrote: name another directory")
    fresh = directory.resolve().with_name(f"{directory.resolve().name}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    known: set[tuple[str, str]] = set()
    repeated = unreadable = gone = 0
    with HistoryWriter(fresh) as writer:
        for message in whole_topic.read(bootstrap_servers, topics.EVENTS, on_read=on_read, security=security):
            came_at = datetime.fromtimestamp(message.timestamp / 1000, UTC)
            try:
                event = decode(message.value, now=came_at, currency=currency)
            except InvalidEvent:
                unreadable += 1
                continue
            its_id = event.customer_id, event.event_id
            if its_id in known:
                repeated += 1
            elif event.customer_id in forgotten:
                gone += 1
            else:
                known.add(its_id)
                is_replayed = any(name == topics.SOURCE_HEADER for name, _ in message.headers)
                writer.add(event, event.occurred_at if is_replayed else came_at)
    if directory.exists():
        shutil.rmtree(directory)
    fresh.rename(directory)
    return Exported(len(known), repeated, unreadable, gone)


def _is_date(path: Path) -> bool:
    return path.is_dir() and path.name.startswith("date=")


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done; 1: Kafka is away, or the directory is another's; 77: not let in."""
    chosen = _parser().parse_args(arguments)
    logs.configure("export_history", settings.read(settings.LogSettings).log_format)
    kafka = settings.read(settings.KafkaSettings)
    security = kafka_access.from_settings(kafka)
    try:
        with progress.bar("reading the topic") as on_read:
            done = export(
                kafka.kafka_bootstrap_servers,
                chosen.directory,
                currency=settings.read(settings.ShopSettings).shop_currency,
                forgotten=forgotten_topic.follow(
                    kafka.kafka_bootstrap_servers, settings.read(settings.ForgetSettings).key, security
                ),
                on_read=on_read,
                security=security,
            )
    except KafkaError as error:
        why = kafka_access.explained(error, kafka.kafka_bootstrap_servers, security)
        print(f"export_history: {why}", file=sys.stderr)
        return EXIT_REFUSED if isinstance(why, AccessRefused) else 1
    except (ForgetKeyMissing, ForgetKeyWrong, OSError) as error:
        print(f"export_history: {error}", file=sys.stderr)
        return 1
    print(
        f"{chosen.directory}: {done.events:,} events; left out: {done.repeated:,} repeated, "
        f"{done.unreadable:,} unreadable, {done.forgotten:,} of forgotten customers"
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m churn.export_history", description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="where to; an export that is there is replaced")
    return parser


if __name__ == "__main__":
    sys.exit(main())
