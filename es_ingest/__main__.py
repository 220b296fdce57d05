"""`python -m es_ingest [serve | templates]`: index the topics until stopped, or only put the index templates."""

import argparse
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from elasticsearch import Elasticsearch
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

from churn import kafka_access, logs, settings, topics
from churn.kafka_access import KafkaSecurity
from churn.refusal import EXIT_REFUSED, AccessRefused
from es_ingest import indexer, service, templates
from es_ingest.refusals import RefusalSender

WAIT_S = 2.0
SUMMARY_INTERVAL_S = 10.0
RECONNECT_MAX_MS = 2_000
# A service that was killed keeps its partitions this long.
SESSION_TIMEOUT_MS = 10_000
# How soon a topic that was not there yet is noticed.
METADATA_MAX_AGE_MS = 5_000

log = logs.get_logger("es_ingest")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logs.configure("es_ingest", settings.read(settings.LogSettings).log_format)
    # The indexer says the same, with the number of documents that wait.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
    elastic = settings.read(settings.ElasticsearchSettings)
    client = indexer.connect(elastic)
    try:
        if options.command == "templates":
            return _put_templates(client, options.replicas, options.timeout)
        return _serve(client, options.replicas)
    except (AccessRefused, templates.IndexRefused) as error:
        log.error("not let in", reason=str(error))
        return EXIT_REFUSED
    except (templates.MappingConflict, topics.WrongPartitions, service.DeliveryFailed, KafkaError) as error:
        log.error("cannot go on", reason=f"{type(error).__name__}: {error}")
        return 1
    finally:
        client.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m es_ingest", description=sys.modules[__name__].__doc__)
    parser.add_argument("command", nargs="?", choices=("serve", "templates"), default="serve", help="default: serve")
    parser.add_argument("--replicas", type=int, default=0, metavar="N", help="copies of each index (default: 0)")
    parser.add_argument(
        "--timeout", type=float, default=120, metavar="S", help="`templates` gives up after this many seconds (120)"
    )
    return parser


def _put_templates(client: Elasticsearch, replicas: int, timeout_s: float) -> int:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            log.info("index templates ready", templates=templates.put(client, replicas))
        except templates.IndexUnavailable as error:
            if time.monotonic() > deadline:
                log.error("gave up", after_s=timeout_s, reason=str(error))
                return 1
            log.warning("waiting", reason=str(error))
            time.sleep(WAIT_S)
        else:
            return 0


def _serve(client: Elasticsearch, replicas: int) -> int:
    _on_signal(lambda *_: sys.exit(0))  # nothing is under way yet
    shop = settings.read(settings.ShopSettings)
    kafka = settings.read(settings.KafkaSettings)
    bootstrap_servers, security = kafka.kafka_bootstrap_servers, kafka_access.from_settings(kafka)
    _wait_for_neighbours(client, replicas, bootstrap_servers, security)
    stop = threading.Event()
    _on_signal(lambda *_: stop.set())
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=service.GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=service.MAX_POLL_RECORDS,
        session_timeout_ms=SESSION_TIMEOUT_MS,
        metadata_max_age_ms=METADATA_MAX_AGE_MS,
        reconnect_backoff_max_ms=RECONNECT_MAX_MS,
        **security.client_options(),
    )
    producer = KafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        reconnect_backoff_max_ms=RECONNECT_MAX_MS,
        **security.client_options(),
    )
    log.info("started", topics=service.TOPICS, group=service.GROUP)
    service.Service(
        consumer,
        indexer.Indexer(client),
        RefusalSender(producer, _now),
        currency=shop.shop_currency,
        clock=_now,
        summary_interval_s=SUMMARY_INTERVAL_S,
    ).run(stop)
    producer.close(timeout=1)
    log.info("stopped")
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


def _on_signal(handler: Callable[..., object]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _wait_for_neighbours(client: Elasticsearch, replicas: int, bootstrap_servers: str, security: KafkaSecurity) -> None:
    """Put the templates and look for the topics until both are there."""
    while True:
        try:
            templates.put(client, replicas)
            topics.check(bootstrap_servers, security)
        except (templates.IndexUnavailable, topics.TopicMissing, KafkaError) as error:
            log.warning("waiting", reason=f"{type(error).__name__}: {error}")
            time.sleep(WAIT_S)
        else:
            return


if __name__ == "__main__":
    sys.exit(main())
