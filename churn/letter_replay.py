"""Dead letters once more: what can be read now goes to topic `events` again, each letter once however often asked.

Before an event is sent, a note says so under the letter's own id, and afterwards that it was sent. A note without its
end is what a crash leaves behind: whether that event was sent is then looked up on the topic, where its message names
the letter in a header.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from kafka import KafkaProducer
from kafka.partitioner import murmur2

from churn import dead_letters, topics, whole_topic
from churn.dead_letters import KEPT_BYTES, DeadLetter
from churn.events import Event, InvalidEvent, Reason, decode
from churn.kafka_access import OPEN, KafkaSecurity
from churn.whole_topic import OnRead

HEADER: Final = "replayed"
REPLAYED: Final = "replayed"
STAGE: Final = "replay"
SENDING: Final = "sending"
SENT: Final = "sent"


class Letters(NamedTuple):
    """The dead letters of a topic by their id, and the notes of their replay by the id of the letter."""

    by_id: dict[str, DeadLetter]
    notes: dict[str, DeadLetter]

    def is_replayed(self, letter_id: str) -> bool:
        note = self.notes.get(letter_id)
        return note is not None and note.detail == SENT


class Replayed(NamedTuple):
    """What became of the letters: sent now, sent by an earlier replay, bad still by reason, no event by stage."""

    sent: int
    sent_before: int
    still_bad: Counter[str]
    no_message: Counter[str]


class Readable(NamedTuple):
    """A letter whose bytes are an event, and the partition where it belongs."""

    letter: DeadLetter
    payload: bytes
    event: Event
    partition: int


def note_id(letter_id: str) -> str:
    """Under which id the replay of a letter is noted."""
    return f"{letter_id}-{REPLAYED}"


def read(bootstrap_servers: str, on_read: OnRead = lambda done, total: None, security: KafkaSecurity = OPEN) -> Letters:
    """All dead letters, the latest of each id. What is no letter is passed over. Raises `KafkaError`."""
    latest: dict[str, DeadLetter | None] = {}
    for message in whole_topic.read(bootstrap_servers, topics.DEAD_LETTERS, on_read=on_read, security=security):
        if message.value is None:
            latest.pop((message.key or b"").decode(errors="replace"), None)
            continue
        try:
            letter = dead_letters.decode(message.value)
        except msgspec.DecodeError:
            continue
        latest[letter.letter_id] = letter
    letters = {letter_id: letter for letter_id, letter in latest.items() if letter is not None}
    notes = {name.removesuffix(f"-{REPLAYED}"): letter for name, letter in letters.items() if letter.stage == STAGE}
    return Letters({name: letter for name, letter in letters.items() if letter.stage != STAGE}, notes)


def replay(
    bootstrap_servers: str,
    letters: Letters,
    chosen: Iterable[DeadLetter],
    *,
    currency: str,
    now: datetime,
    on_read: OnRead = lambda done, total: None,
    security: KafkaSecurity = OPEN,
) -> Replayed:
    """Send what can be read of the chosen letters to topic `events`, and note it. Raises `KafkaError`."""
    result = Replayed(0, 0, Counter(), Counter())
    to_send: list[Readable] = []
    for letter in chosen:
        if letter.stage != "stream_processor" or letter.topic != topics.EVENTS:
            result.no_message[letter.stage] += 1
            continue
        try:
            readable = read_letter(letter, currency)
        except InvalidEvent as error:
            result.still_bad[error.reason] += 1
        else:
            to_send.append(readable)
    fresh = [each for each in to_send if not letters.is_replayed(each.letter.letter_id)]
    sent = _send_once(bootstrap_servers, letters, fresh, now, on_read, security)
    return result._replace(sent=sent, sent_before=len(to_send) - sent)


def read_letter(letter: DeadLetter, currency: str) -> Readable:
    """The event of a letter as of the moment when it was refused; raises `InvalidEvent`.

    What was from the future then is so today: waiting does not mend a clock.
    """
    if letter.raw_bytes > KEPT_BYTES:
        raise InvalidEvent(Reason.TOO_LARGE, f"{letter.raw_bytes} bytes, of which {KEPT_BYTES} were kept")
    payload = dead_letters.payload_of(letter)
    event = decode(payload, now=letter.failed_at, currency=currency)
    partition = int(murmur2(event.customer_id.encode()) & 0x7FFFFFFF) % topics.PARTITIONS
    if letter.reason == Reason.WRONG_PARTITION and partition == letter.partition:
        raise InvalidEvent(Reason.WRONG_PARTITION, letter.detail)
    return Readable(letter, payload, event, partition)


def _send_once(
    bootstrap_servers: str,
    letters: Letters,
    fresh: Sequence[Readable],
    now: datetime,
    on_read: OnRead,
    security: KafkaSecurity,
) -> int:
    """Send those that no earlier replay has sent; how many."""
    begun = [letters.notes[each.letter.letter_id] for each in fresh if each.letter.letter_id in letters.notes]
    since = min((note.failed_at for note in begun), default=None)
    there = _sent_since(bootstrap_servers, since, on_read, security) if since else set()
    missing = [each for each in fresh if each.letter.letter_id not in there]
    producer: Any = KafkaProducer(
        bootstrap_servers=bootstrap_servers.split(","), acks="all", linger_ms=20, **security.client_options()
    )
    try:
        _note(producer, [each.letter for each in missing if each.letter.letter_id not in letters.notes], SENDING, now)
        _send(producer, missing)
        _note(producer, [each.letter for each in fresh], SENT, now)
    finally:
        producer.close()
    return len(missing)


def _sent_since(bootstrap_servers: str, moment: datetime, on_read: OnRead, security: KafkaSecurity) -> set[str]:
    """The letters whose events were sent since that moment."""
    messages = whole_topic.read(bootstrap_servers, topics.EVENTS, since=moment, on_read=on_read, security=security)
    return {letter_id for message in messages if (letter_id := replayed_letter(message)) is not None}


def replayed_letter(message: Any) -> str | None:
    """The letter that this message of topic `events` was made of, if it was."""
    return next((value.decode() for name, value in message.headers or () if name == HEADER and value), None)


def _send(producer: Any, events: Sequence[Readable]) -> None:
    sent = [
        producer.send(
            topics.EVENTS,
            each.payload,
            key=each.event.customer_id.encode(),
            partition=each.partition,
            headers=[(HEADER, each.letter.letter_id.encode())],
        )
        for each in events
    ]
    _wait(producer, sent)


def _note(producer: Any, letters: Sequence[DeadLetter], detail: str, now: datetime) -> None:
    sent = []
    for letter in letters:
        note = msgspec.structs.replace(
            letter,
            letter_id=note_id(letter.letter_id),
            reason=REPLAYED,
            detail=detail,
            failed_at=now,
            stage=STAGE,
            raw="",
        )
        sent.append(producer.send(topics.DEAD_LETTERS, dead_letters.encode(note), key=note.letter_id.encode()))
    _wait(producer, sent)


def _wait(producer: Any, sent: Sequence[Any]) -> None:
    producer.flush()
    for future in sent:
        future.get(timeout=0)
