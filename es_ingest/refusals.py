"""What Elasticsearch refuses for good goes to topic `dead-letters`, and never round in a circle."""

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from churn import dead_letters, topics
from churn.dead_letters import DeadLetter
from churn.events import InvalidEvent, Reason
from churn.logs import get_logger
from es_ingest.documents import Message

REFUSED_BY_INDEX: Final = "refused_by_index"
STAGE: Final = "es_ingest"
SEND_TIMEOUT_S: Final = 10.0
WAIT_S: Final = 2.0

log = get_logger(__name__)


def letter_of(message: Message, detail: str, failed_at: datetime) -> DeadLetter:
    """The dead letter of a message whose document was refused; the same message always gives the same `letter_id`.

    `failed_at` stands in for the time of a message that has none: read again in a later month, the letter must come
    into the index of the same month.
    """
    if message.timestamp >= 0:
        failed_at = datetime.fromtimestamp(message.timestamp / 1000, UTC)
    letter = dead_letters.of_message(
        InvalidEvent(Reason.INVALID_FIELD, detail),
        message.value,
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        failed_at=failed_at,
        key=message.key,
    )
    letter_id = f"{letter.letter_id}-index"
    return msgspec.structs.replace(letter, letter_id=letter_id, reason=REFUSED_BY_INDEX, stage=STAGE)


class RefusalSender:
    """Sends refused messages to the dead letters; a refused dead letter is only logged, by its place."""

    def __init__(self, producer: KafkaProducer, clock: Callable[[], datetime]) -> None:
        self._producer = producer
        self._clock = clock

    def send(self, refused: Iterable[tuple[Message | None, str]], stop: threading.Event) -> bool:
        """Send one letter per message and wait until Kafka has them all; False when `stop` was set before that."""
        details = {
            message and (message.topic, message.partition, message.offset): (message, why) for message, why in refused
        }
        for message, detail in details.values():
            if message is None:
                log.error("a document of our own was refused by the index", reason=detail)
                continue
            if message.topic == topics.DEAD_LETTERS:
                place = f"{message.topic}-{message.partition}-{message.offset}"
                log.warning("a dead letter was refused by the index", message=place, reason=detail)
            elif not self._send(letter_of(message, detail, self._clock()), stop):
                return False
        return True

    def _send(self, letter: DeadLetter, stop: threading.Event) -> bool:
        while True:
            try:
                sent = self._producer.send(
                    topics.DEAD_LETTERS, dead_letters.encode(letter), key=letter.letter_id.encode()
                )
                sent.get(timeout=SEND_TIMEOUT_S)
            except KafkaError as error:
                log.warning("waiting for Kafka", letter_id=letter.letter_id, reason=str(error))
                if stop.wait(WAIT_S):
                    return False
            else:
                return True
