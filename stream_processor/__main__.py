"""`python -m stream_processor [serve]`: fold events until stopped. `... rebuild`: fold the whole topic anew."""

import argparse
import sys
import time
from collections.abc import Sequence

import faust
from kafka.errors import KafkaError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from churn import feature_store, forgotten_topic, kafka_access, logs, settings, topics
from churn.collector import spare_the_collector
from churn.feature_store import RedisFeatureStore, StoreRefused, StoreUnavailable
from churn.forgotten import ForgetKeyMissing, ForgetKeyWrong
from churn.kafka_access import OPEN, KafkaSecurity
from churn.refusal import EXIT_REFUSED, AccessRefused
from churn.topics import TopicMissing, WrongPartitions
from stream_processor.app import EXIT_WRONG_TOPIC, create_app
from stream_processor.rebuild import Rebuild, TopicTrimmed

WAIT_S = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """0: stopped or done; 1: it says why; 65: too much unreadable; 70: start again; 77: not let in; 78: a setting."""
    parser = argparse.ArgumentParser(prog="python -m stream_processor", description="Events to features in Redis.")
    parser.add_argument(
        "command",
        nargs="?",
        choices=("serve", "rebuild"),
        default="serve",
        help="fold events until stopped (default), or fold the topic from its beginning and replace all states",
    )
    chosen = parser.parse_args(arguments)
    logs.configure("stream_processor", settings.read(settings.LogSettings).log_format)
    try:
        return _rebuild() if chosen.command == "rebuild" else _serve()
    except (WrongPartitions, ForgetKeyMissing, ForgetKeyWrong) as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_TOPIC
    except (AccessRefused, StoreRefused) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except (TopicTrimmed, TopicMissing, StoreUnavailable, KafkaError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _serve() -> int:
    kafka = settings.read(settings.KafkaSettings)
    own = settings.read(settings.StreamProcessorSettings)
    shop = settings.read(settings.ShopSettings)
    store = feature_store.from_settings(settings.read(settings.RedisSettings))
    security = kafka_access.from_settings(kafka)
    redis_run_id = wait_for_neighbours(store, kafka.kafka_bootstrap_servers, security)
    spare_the_collector()
    app = create_app(
        own,
        bootstrap_servers=kafka.kafka_bootstrap_servers,
        currency=shop.shop_currency,
        store=store,
        redis_run_id=redis_run_id,
        forgotten=forgotten_topic.follow(
            kafka.kafka_bootstrap_servers, settings.read(settings.ForgetSettings).key, security
        ),
        security=security,
    )
    faust.Worker(
        app, loglevel="WARNING", quiet=True, redirect_stdouts=False, override_logging=False
    ).execute_from_commandline()
    return 0


def wait_for_neighbours(store: RedisFeatureStore, bootstrap_servers: str, security: KafkaSecurity = OPEN) -> str:
    """Return the run id of Redis when it answers and the topics are there; says every two seconds what is missing.

    Raises `WrongPartitions`, `StoreRefused` and `AccessRefused`: waiting does not mend those.
    """
    log = logs.get_logger(__name__)
    while True:
        try:
            redis_run_id = store.run_id()
            topics.check(bootstrap_servers, security)
        except StoreRefused:
            raise
        except (StoreUnavailable, KafkaError, TopicMissing) as error:
            log.warning("waiting", reason=str(error))
            time.sleep(WAIT_S)
        else:
            return redis_run_id


def _rebuild() -> int:
    redis = settings.read(settings.RedisSettings)
    kafka = settings.read(settings.KafkaSettings)
    security = kafka_access.from_settings(kafka)
    topics.check(kafka.kafka_bootstrap_servers, security)
    forgotten = forgotten_topic.follow(
        kafka.kafka_bootstrap_servers, settings.read(settings.ForgetSettings).key, security
    )
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description:<20}"), *columns, console=console) as progress:
        folding = progress.add_task("events folded", total=None)
        switching = progress.add_task("customers switched", total=None)
        rebuilt = Rebuild(
            kafka.kafka_bootstrap_servers,
            feature_store.from_settings(redis),
            feature_store.from_settings(redis, is_shadow=True),
            number=time.time_ns() // 1_000_000,
            currency=settings.read(settings.ShopSettings).shop_currency,
            max_customers=settings.read(settings.StreamProcessorSettings).stream_max_customers,
            on_folded=lambda done, total: progress.update(folding, completed=done, total=total),
            on_switched=lambda customers: progress.advance(switching, customers),
            forgotten=forgotten,
            security=security,
        ).run()
    print(
        f"{rebuilt.customers:,} customers rebuilt from {rebuilt.events:,} events; {rebuilt.refused:,} messages were no "
        f"event; {rebuilt.left:,} customers came meanwhile or have no event in the topic, and stay as they are"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
