"""The Faust app: one agent on topic `events` that hands partition batches to the processor."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faust
from aiokafka import AIOKafkaProducer

from churn import topics
from churn.feature_store import RedisFeatureStore
from churn.settings import StreamProcessorSettings
from stream_processor import batch_driver
from stream_processor.batch_driver import Batch
from stream_processor.fold import Fold
from stream_processor.processor import BATCH_BYTES, Processor

MAX_SILENCE_S = 30.0


def create_app(
    settings: StreamProcessorSettings, *, bootstrap_servers: str, currency: str, store: RedisFeatureStore
) -> faust.App:
    """The worker's app; nothing connects before it is started."""
    batch_driver.register()
    app = faust.App(
        settings.stream_group,
        broker=[f"{batch_driver.SCHEME}://{server}" for server in bootstrap_servers.split(",")],
        store="memory://",
        datadir=Path(tempfile.gettempdir()) / "ebb-faust",  # nothing is kept there, but Faust makes the directory
        key_serializer="raw",
        value_serializer="raw",
        topic_disable_leader=True,
        topic_allow_declare=False,
        broker_commit_interval=1.0,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        broker_max_poll_records=4000,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=5000,
        consumer_group_instance_id=settings.stream_group_instance_id,
        stream_buffer_maxsize=16,
        stream_wait_empty=False,
        web_enabled=True,
        web_bind=settings.stream_web_bind,
        web_port=settings.stream_web_port,
    )
    fold = Fold(
        store.read_states,
        lambda: datetime.now(UTC),
        topic=topics.EVENTS,
        currency=currency,
        max_customers=settings.stream_max_customers,
    )
    _add_agent(app, fold, store, bootstrap_servers, settings)
    return app


def _add_agent(
    app: faust.App, fold: Fold, store: RedisFeatureStore, bootstrap_servers: str, settings: StreamProcessorSettings
) -> None:
    running: list[Processor] = []

    def is_current(batch: Batch) -> bool:
        return bool(batch.epoch == app.consumer.epoch)

    def create_processor() -> Processor:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers.split(","),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=topics.MAX_MESSAGE_BYTES,
        )
        return Processor(
            fold,
            store,
            producer,
            is_current=is_current,
            monotonic=time.monotonic,
            hold_acks_s=settings.stream_hold_acks_s,
            flush_interval_s=settings.stream_flush_interval_s,
        )

    @app.agent(app.topic(topics.EVENTS, key_type=bytes, value_type=bytes), name="fold", concurrency=1)  # type: ignore[untyped-decorator]
    async def fold_batches(stream: Any) -> AsyncIterator[None]:
        app.consumer.on_forget = fold.forget
        processor = create_processor()
        running[:] = [processor]
        writing = asyncio.create_task(processor.run())
        try:
            async for event in stream.noack().events():
                await processor.take(event)
                yield
        finally:
            writing.cancel()

    @app.page("/healthz")  # type: ignore[untyped-decorator]
    async def healthz(view: Any, request: Any) -> Any:
        silence_s = time.monotonic() - running[0].last_flush_s if running else 0.0
        health = {
            "is_alive": silence_s < MAX_SILENCE_S,
            "seconds_since_write": round(silence_s, 3),
            "applied": fold.applied,
            "skipped": fold.skipped,
            "refused": fold.refused,
        }
        return view.json(health, status=200 if health["is_alive"] else 503)
