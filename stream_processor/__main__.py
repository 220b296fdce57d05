"""`python -m stream_processor`: wait for Redis and the topics, then fold events until stopped."""

import time

import faust
from kafka.errors import KafkaError

from churn import feature_store, logs, settings, topics
from churn.feature_store import RedisFeatureStore, StoreUnavailable
from stream_processor.app import create_app

WAIT_S = 2.0


def main() -> None:
    """Run one worker. Exit code 70 asks for a restart: what was not acknowledged is replayed."""
    logs.configure("stream_processor", settings.read(settings.LogSettings).log_format)
    kafka = settings.read(settings.KafkaSettings)
    own = settings.read(settings.StreamProcessorSettings)
    shop = settings.read(settings.ShopSettings)
    client = feature_store.connect(settings.read(settings.RedisSettings).redis_url.get_secret_value())
    store = RedisFeatureStore(client)
    wait_for_neighbours(store, kafka.kafka_bootstrap_servers)
    app = create_app(own, bootstrap_servers=kafka.kafka_bootstrap_servers, currency=shop.shop_currency, store=store)
    faust.Worker(
        app, loglevel="WARNING", quiet=True, redirect_stdouts=False, override_logging=False
    ).execute_from_commandline()


def wait_for_neighbours(store: RedisFeatureStore, bootstrap_servers: str) -> None:
    """Return when Redis answers and the topics are there; says every two seconds what is missing."""
    log = logs.get_logger(__name__)
    while True:
        try:
            store.run_id()
            topics.check(bootstrap_servers)
        except (StoreUnavailable, KafkaError, topics.TopicMissing, topics.WrongPartitions) as error:
            log.warning("waiting", reason=str(error))
            time.sleep(WAIT_S)
        else:
            return


if __name__ == "__main__":
    main()
