"""A bare loop over aiokafka: get partition batches, fold, write in a thread beside it, commit after the write."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.stream.peer_fold import Arguments, PeerFold, arguments

BATCH = 4000


async def run(told: Arguments) -> None:
    """Until killed."""
    consumer = AIOKafkaConsumer(
        told.topic,
        bootstrap_servers=told.kafka,
        group_id=told.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=50,
        session_timeout_ms=45_000,  # as librdkafka has it: it stands still while others take their turn
    )
    await consumer.start()
    fold = PeerFold(told.redis, told.flush_interval_s)
    writing: asyncio.Task[None] | None = None

    async def write() -> None:
        pending = await asyncio.to_thread(fold.write, fold.take())
        offsets = {TopicPartition(told.topic, partition): offset for partition, offset in pending.positions.items()}
        await consumer.commit(offsets)

    while True:
        for tp, records in (await consumer.getmany(timeout_ms=20, max_records=BATCH)).items():
            fold.apply(tp.partition, [(record.offset, record.value) for record in records])
        if writing is not None and writing.done():
            writing.result()
            writing = None
        if writing is None and fold.is_due():
            writing = asyncio.create_task(write())
        await asyncio.sleep(0)  # while it has records at hand, `getmany` never lets the writing go on


if __name__ == "__main__":
    asyncio.run(run(arguments()))
