"""`python -m churn.forget CUSTOMER_ID…`: remove a person from everything Ebb keeps, and keep them out from then on.

First they are put on the list of the forgotten, so that nothing brings them back; then they are removed everywhere, and
once more, until a look finds nothing: a service may have been about to write of them.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from elasticsearch import Elasticsearch
from kafka.errors import KafkaError

from churn import erasure, feature_store, forgotten, forgotten_topic, kafka_access, logs, settings, topics
from churn.erasure import IndexUnavailable
from churn.feature_store import RedisFeatureStore, StoreRefused, StoreUnavailable
from churn.forgotten import ForgetKeyMissing, ForgetKeyWrong, Forgotten
from churn.kafka_access import OPEN, KafkaSecurity
from churn.refusal import EXIT_REFUSED, AccessRefused
from churn.topics import TopicMissing, WrongPartitions

# A service hears of the list within a second, and writes what it has in hand within the next.
SETTLE_S: Final = 2.0
MOST_LOOKS: Final = 10
REQUEST_TIMEOUT_S: Final = 30.0


class StillWritten(RuntimeError):
    """Somebody keeps writing of a forgotten customer."""


class Places(NamedTuple):
    """Everywhere a customer may lie; `directories` hold the history, the models, and what else was named."""

    kafka: str
    store: RedisFeatureStore
    elasticsearch: Elasticsearch
    directories: tuple[Path, ...]
    security: KafkaSecurity = OPEN


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing is left; 1: a neighbour is away, or somebody writes of them yet; 77: not let in; 78: wrong setting."""
    chosen = _parser().parse_args(arguments)
    logs.configure("forget", settings.read(settings.LogSettings).log_format)
    own, paths = settings.read(settings.ForgetSettings), settings.read(settings.PathSettings)
    if not own.key:
        print("FORGET_KEY: set it, to a secret that every service gets too (.env.example)", file=sys.stderr)
        return 78
    kafka = settings.read(settings.KafkaSettings)
    places = Places(
        kafka.kafka_bootstrap_servers,
        feature_store.from_settings(settings.read(settings.RedisSettings)),
        Elasticsearch(**settings.read(settings.ElasticsearchSettings).connection(), request_timeout=REQUEST_TIMEOUT_S),
        (paths.history_dir, paths.model_dir, *chosen.files),
        kafka_access.from_settings(kafka),
    )
    try:
        removed = forget(places, own.key, own.forgotten_file, chosen.customer_ids, everybody=chosen.everybody)
    except (ForgetKeyMissing, ForgetKeyWrong) as error:
        print(error, file=sys.stderr)
        return 78
    except (AccessRefused, StoreRefused) as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    except (
        *(KafkaError, StoreUnavailable, IndexUnavailable, TopicMissing, WrongPartitions),
        *(StillWritten, OSError),
    ) as error:
        print(f"{type(error).__name__}: {error}; run it again when that is mended", file=sys.stderr)
        return 1
    finally:
        places.elasticsearch.close()
    for place, count in sorted(removed.items()):
        print(f"{count:>10,}  {place}")
    print("nothing is left of them but the raw messages of topic events, which every reader drops")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m churn.forget", description="Remove customers, and keep them out.")
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("customer_ids", nargs="*", default=[], metavar="CUSTOMER_ID")
    whom.add_argument("--everybody", action="store_true", help="all who are on the list: after a backup was restored")
    parser.add_argument(
        "--files", type=Path, nargs="+", default=[], metavar="DIR", help="further directories of tables to clear"
    )
    return parser


def forget(
    places: Places, key: bytes, list_file: Path, customer_ids: Collection[str], *, everybody: bool = False
) -> Counter[str]:
    """Put them on the list and remove them; how much was removed, by place. Raises what a place raises."""
    topics.check(places.kafka, places.security)
    follower = forgotten_topic.Follower(places.kafka, key, places.security)
    listed = follower.load()
    try:
        gone = sorted(_found_anywhere(places, listed) if everybody else set(customer_ids))
        # Counted before: a scorer that hears of the list removes them from Redis, too.
        held = Counter({"Redis": places.store.entries(gone)})
        forgotten_topic.add(places.kafka, key, [each for each in customer_ids if each not in listed], places.security)
        for each in customer_ids:
            listed.add(forgotten.digest(key, each))
        forgotten.write_file(list_file, key, listed.digests)
        places.store.erase(gone)
        return held + _remove_until_gone(places, gone, listed)
    finally:
        follower.stop()


def _found_anywhere(places: Places, listed: Forgotten) -> set[str]:
    """Those on the list of whom anything names the id."""
    found = listed.among(places.store.customer_ids()) | listed.among(places.store.shadow_ids())
    found |= listed.among(erasure.customers_in_index(places.elasticsearch))
    for directory in places.directories:
        found |= listed.among(erasure.customers_in_files(directory))
    return found


def _remove_until_gone(places: Places, gone: Sequence[str], listed: Forgotten) -> Counter[str]:
    removed = erasure.remove_letters(places.kafka, gone, places.security)
    for directory in places.directories:
        removed += erasure.remove_from_files(directory, listed.__contains__)
    for _ in range(MOST_LOOKS):
        removed += erasure.remove_from_indices(places.elasticsearch, gone)
        time.sleep(SETTLE_S)
        again = Counter({"Redis": places.store.erase(gone)})
        again += erasure.remove_from_indices(places.elasticsearch, gone)
        removed += again
        if not again.total():
            erasure.remove_from_topics(places.kafka, gone, places.security)
            return removed
    raise StillWritten(f"after {MOST_LOOKS} looks somebody still writes of them: do all services have this FORGET_KEY?")


if __name__ == "__main__":
    raise SystemExit(main())
