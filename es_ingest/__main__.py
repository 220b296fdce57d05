"""`python -m es_ingest [serve | templates | retention]`: index the topics until stopped, put the index templates alone,
or delete the oldest months."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from elasticsearch import Elasticsearch
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

from churn import forgotten_topic, kafka_access, logs, pages, settings, topics
from churn.forgotten import ForgetKeyMissing, ForgetKeyWrong
from churn.kafka_access import KafkaSecurity
from churn.refusal import EXIT_REFUSED, AccessRefused
from es_ingest import indexer, retention, service, templates
from es_ingest.health import Health
from es_ingest.refusals import RefusalSender

WAIT_S = 2.0
SUMMARY_INTERVAL_S = 10.0
RECONNECT_MAX_MS = 2_000
# A service that was killed keeps its partitions this long.
SESSION_TIMEOUT_MS = 10_000
# The broker gathers what trickles in: every answer costs both sides as much as many messages.
FETCH_BYTES = 256 * 1024
FETCH_WAIT_MS = 200
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
        if options.command == "retention":
            return _retain(
                client, {kind: months for kind in retention.MONTHLY if (months := vars(options)[kind])}, options
            )
        if options.command == "templates":
            return _put_templates(client, options.replicas, options.timeout)
        return _serve(client, options.replicas)
    except (AccessRefused, templates.IndexRefused) as error:
        log.error("not let in", reason=str(error))
        return EXIT_REFUSED
    except (
        templates.MappingConflict,
        topics.WrongPartitions,
        service.DeliveryFailed,
        pages.PageUnavailable,
        ForgetKeyMissing,
        ForgetKeyWrong,
        KafkaError,
    ) as error:
        log.error("cannot go on", reason=f"{type(error).__name__}: {error}")
        return 1
    finally:
        client.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m es_ingest", description="Everything on the topics into Elasticsearch, each document once."
    )
    copies = argparse.ArgumentParser(add_help=False)
    copies.add_argument("--replicas", type=int, default=0, metavar="N", help="copies of each index (default: 0)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", help="`serve` when left out")
    about_serve = (
        "Put the index templates, then index the topics events, risk and dead-letters until SIGTERM. Waits for any "
        "neighbour that is away. Several may run: they share the partitions."
    )
    commands.add_parser("serve", parents=[copies], help="index the topics until stopped", description=about_serve)
    about_templates = (
        "Put the index templates and add their new fields to indices that are there; ends with 1 when Elasticsearch "
        "does not come, or when an index has a field of another type."
    )
    alone = commands.add_parser(
        "templates", parents=[copies], help="put the index templates and end", description=about_templates
    )
    alone.add_argument(
        "--timeout", type=float, default=120, metavar="S", help="give up after so many seconds (default: 120)"
    )
    about_retention = (
        "Delete the monthly indices outside the last N months, the current one (UTC) included; a kind without its "
        "option is kept for ever. Topics and Redis stay as they are."
    )
    forgetting = commands.add_parser("retention", help="delete the oldest months", description=about_retention)
    for kind in retention.MONTHLY:
        text = f"months of {kind}-* to keep"
        forgetting.add_argument(f"--{kind}-months", dest=kind, type=_months, metavar="N", help=text)
    forgetting.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    parser.set_defaults(command="serve", replicas=0)
    return parser


def _months(text: str) -> int:
    months = int(text)
    if months < 1:
        raise argparse.ArgumentTypeError("keep one month at least")
    return months


def _retain(client: Elasticsearch, months: dict[str, int], options: argparse.Namespace) -> int:
    if not months:
        print("retention: nothing to do; say how many months to keep, see --help", file=sys.stderr)
        return 2
    try:
        expired = retention.find(client, months, _now())
        for each in expired:
            if not options.dry_run:
                retention.delete(client, each)
            done = "would delete" if options.dry_run else "deleted"
            print(f"{done} {each.name}: {each.documents:,} documents, {each.size_bytes / 2**20:,.1f} MiB")
    except templates.IndexUnavailable as error:
        print(f"retention: {error}", file=sys.stderr)
        return 1
    if not expired:
        print("no index is older than what is to be kept")
    return 0


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
        fetch_min_bytes=FETCH_BYTES,
        fetch_max_wait_ms=FETCH_WAIT_MS,
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
    serving = service.Service(
        consumer,
        indexer.Indexer(client),
        RefusalSender(producer, _now),
        Health(f"{socket.gethostname()}-{os.getpid()}", _now),
        currency=shop.shop_currency,
        clock=_now,
        summary_interval_s=SUMMARY_INTERVAL_S,
        forgotten=forgotten_topic.follow(bootstrap_servers, settings.read(settings.ForgetSettings).key, security),
    )
    own = settings.read(settings.IngestSettings)
    with pages.shown(own.ingest_web_bind, own.ingest_web_port, serving.metrics.registry, serving.progress) as port:
        log.info("started", topics=service.TOPICS, group=service.GROUP, pages=f"{own.ingest_web_bind}:{port}")
        serving.run(stop)
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
