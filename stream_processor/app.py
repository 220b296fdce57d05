"""The Faust app: one agent on topic `events` that hands partition batches to the processor, and two pages."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import faust
from aiokafka import AIOKafkaProducer
from faust.auth import Credentials, SASLCredentials, SSLCredentials
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from churn import topics
from churn.feature_store import RedisFeatureStore
from churn.forgotten import NOBODY, Forgotten
from churn.kafka_access import MECHANISM, OPEN, KafkaSecurity
from churn.logs import get_logger
from churn.settings import StreamProcessorSettings
from churn.topics import WrongPartitions
from stream_processor import batch_driver
from stream_processor.batch_driver import EXIT_RESTART, Batch
from stream_processor.dead_letter_limit import DeadLetterLimit, TooManyDeadLetters
from stream_processor.fold import Fold
from stream_processor.metrics import Metrics
from stream_processor.processor import BATCH_BYTES, Processor

MAX_SILENCE_S: Final = 30.0
WATCH_MEMBERSHIP_S: Final = 5.0
SUMMARY_EVERY_S: Final = 30.0
EXIT_UNREADABLE: Final = 65
EXIT_WRONG_TOPIC: Final = 78

log = get_logger(__name__)


def create_app(
    settings: StreamProcessorSettings,
    *,
    bootstrap_servers: str,
    currency: str,
    store: RedisFeatureStore,
    redis_run_id: str,
    forgotten: Forgotten = NOBODY,
    security: KafkaSecurity = OPEN,
) -> faust.App:
    """The worker's app; nothing connects before it is started. Any other Redis than `redis_run_id` ends it."""
    batch_driver.register()
    app = faust.App(
        settings.stream_group,
        broker=[f"{batch_driver.SCHEME}://{server}" for server in bootstrap_servers.split(",")],
        broker_credentials=_credentials(security),
        store="memory://",
        datadir=Path(tempfile.gettempdir()) / "ebb-faust",  # nothing is kept there, but Faust makes the directory
        key_serializer="raw",
        value_serializer="raw",
        topic_disable_leader=True,
        topic_allow_declare=False,
        broker_commit_interval=1.0,
        broker_session_timeout=settings.stream_session_timeout_s,
        broker_heartbeat_interval=settings.stream_session_timeout_s / 5,
        broker_max_poll_records=topics.PARTITIONS,  # a list of each, see `batch_driver.Records`
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=5000,
        consumer_group_instance_id=settings.stream_group_instance_id,
        # Faust refuses an assignment made for another address, which a restart under the same name may have had.
        canonical_url=f"http://{settings.stream_group_instance_id}",
        stream_buffer_maxsize=16,
        stream_wait_empty=False,
        web_enabled=True,
        web_bind=settings.stream_web_bind,
        web_port=settings.stream_web_port,
    )
    fold = Fold(
        store.read_states,
        topic=topics.EVENTS,
        currency=currency,
        max_customers=settings.stream_max_customers,
        forgotten=forgotten,
    )
    _add_agent(app, fold, store, redis_run_id, lambda: _create_producer(bootstrap_servers, security), settings)
    return app


def _add_agent(
    app: faust.App,
    fold: Fold,
    store: RedisFeatureStore,
    redis_run_id: str,
    create_producer: Callable[[], AIOKafkaProducer],
    settings: StreamProcessorSettings,
) -> None:
    running: list[Processor] = []

    def lag() -> Mapping[int, int]:
        return running[0].lag() if running else {}

    metrics = Metrics(fold, lag)

    def is_current(batch: Batch) -> bool:
        return bool(batch.epoch == app.consumer.epoch)

    def create_processor() -> Processor:
        return Processor(
            fold,
            store,
            create_producer(),
            metrics,
            DeadLetterLimit(settings.stream_max_dead_share),
            is_current=is_current,
            lag_after=app.consumer.lag,
            monotonic=time.monotonic,
            wall_ms=lambda: time.time_ns() // 1_000_000,
            redis_run_id=redis_run_id,
            hold_acks_s=settings.stream_hold_acks_s,
            flush_interval_s=settings.stream_flush_interval_s,
        )

    @app.agent(app.topic(topics.EVENTS, key_type=bytes, value_type=bytes), name="fold", concurrency=1)  # type: ignore[untyped-decorator]
    async def fold_batches(stream: Any) -> AsyncIterator[None]:
        processor = create_processor()
        app.consumer.on_forget = processor.forget
        running[:] = [processor]
        beside = [
            asyncio.create_task(_or_exit(work))
            for work in (processor.run(), _watch_membership(app), _summarise(fold, lag))
        ]
        try:
            async for event in stream.noack().events():
                await _or_exit(processor.take(event))
                yield
        finally:
            for task in beside:
                task.cancel()

    _add_pages(app, running, fold, metrics)


def _credentials(security: KafkaSecurity) -> Credentials | None:
    """What Faust is told of our name and of encryption."""
    context = security.ssl_context()
    if security.username:
        return SASLCredentials(
            username=security.username, password=security.known_password, ssl_context=context, mechanism=MECHANISM
        )
    return SSLCredentials(context) if context else None


def _create_producer(bootstrap_servers: str, security: KafkaSecurity) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers.split(","),
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_batch_size=BATCH_BYTES,
        max_request_size=topics.MAX_MESSAGE_BYTES,
        **security.client_options(),
    )


async def _watch_membership(app: faust.App) -> None:
    """Raise when we are no longer part of the group, or the topic has grown."""
    while True:
        await asyncio.sleep(WATCH_MEMBERSHIP_S)
        app.consumer.require_membership()
        count = app.consumer.partitions_of(topics.EVENTS)
        if count not in (None, topics.PARTITIONS):
            raise WrongPartitions(topics.EVENTS, count)


async def _summarise(fold: Fold, lag: Callable[[], Mapping[int, int]]) -> None:
    """One line per interval: what was done, and where the last refused event lies."""
    applied, skipped, refused = fold.applied, fold.skipped, fold.refused.copy()
    while True:
        await asyncio.sleep(SUMMARY_EVERY_S)
        newly_refused = fold.refused - refused
        last = fold.last_refused if newly_refused else None
        where = {"last_refused": last.letter_id, "customer_id": last.customer_id} if last else {}
        log.info(
            "folded",
            applied=fold.applied - applied,
            skipped=fold.skipped - skipped,
            per_s=round((fold.applied - applied) / SUMMARY_EVERY_S, 1),
            lag=sum(lag().values()),
            refused=dict(newly_refused),
            forgotten=fold.dropped,
            **where,
        )
        applied, skipped, refused = fold.applied, fold.skipped, fold.refused.copy()


def _add_pages(app: faust.App, running: list[Processor], fold: Fold, metrics: Metrics) -> None:
    @app.page("/healthz")  # type: ignore[untyped-decorator]
    async def healthz(view: Any, request: Any) -> Any:
        health = _health(running[0], fold, metrics.lag_of()) if running else {"is_alive": True, "is_progressing": True}
        return view.json(health, status=200 if health["is_alive"] and health["is_progressing"] else 503)

    @app.page("/metrics")  # type: ignore[untyped-decorator]
    async def show_metrics(view: Any, request: Any) -> Any:
        return view.bytes(generate_latest(metrics.registry), content_type=CONTENT_TYPE_LATEST.split(";")[0])


def _health(processor: Processor, fold: Fold, lag: Mapping[int, int]) -> dict[str, object]:
    """Alive: it writes, or could. Progressing: nothing waits, or something was written in the last half minute."""
    now = time.monotonic()
    silence_s, standstill_s = now - processor.last_flush_s, now - processor.last_progress_s
    waiting = sum(lag.values())
    return {
        "is_alive": silence_s < MAX_SILENCE_S,
        "is_progressing": not waiting or standstill_s < MAX_SILENCE_S,
        "seconds_since_write": round(silence_s, 3),
        "lag": waiting,
        "applied": fold.applied,
        "skipped": fold.skipped,
        "refused": fold.refused.total(),
        "forgotten": fold.dropped,
    }


async def _or_exit(work: Awaitable[None]) -> None:
    """The outermost edge: an exception that left the agent would let Faust acknowledge, and lose, what it was about."""
    try:
        await work
    except TooManyDeadLetters as error:
        advice = "mend what produces them, or let them pass as dead letters with STREAM_MAX_DEAD_SHARE=1"
        log.error("stopped before the topic drains into dead letters", error=str(error), advice=advice)
        os._exit(EXIT_UNREADABLE)
    except WrongPartitions as error:
        log.error("stopped", error=str(error))
        os._exit(EXIT_WRONG_TOPIC)
    except Exception as error:  # noqa: BLE001
        log.error("restarting to replay what is not acknowledged", error=f"{type(error).__name__}: {error}")
        os._exit(EXIT_RESTART)
