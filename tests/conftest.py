"""Real servers for the tests: one Kafka, Redis and Elasticsearch for the whole run, on free ports."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from churn import topics
from stack.stack import Stack
from stack.waiting import locked
from stack.workers import EsIngest, Scorer

# They hold tests but are no test modules: what an assertion compared is told only on request.
pytest.register_assert_rewrite("tests.risk_panels", "tests.value_panels")

# Services that tests start show their pages on free ports, so that several run side by side.
os.environ |= {"SCORER_WEB_PORT": "0", "INGEST_WEB_PORT": "0"}

# Servers that live for a minute: the second compiler of Java would cost more than it gains.
os.environ |= dict.fromkeys(("JDK_JAVA_OPTIONS", "ES_JAVA_OPTS"), "-XX:TieredStopAtLevel=1")

# Tests run side by side: who let others go first would never get to work.
EsIngest.niceness = Scorer.niceness = 0


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All three servers, with the topics of Ebb."""
    with Stack(tmp_path_factory.mktemp("servers"), free_ports=True) as stack:
        topics.create(stack.kafka.address)
        yield stack


@pytest.fixture
def kafka(servers: Stack) -> str:
    """Bootstrap address of the shared Kafka. Its topics keep what earlier tests published."""
    return servers.kafka.address


@pytest.fixture
def redis_url(servers: Stack) -> str:
    """The shared Redis, emptied."""
    client = redis.Redis.from_url(servers.redis.url)
    client.flushall()
    client.close()
    return servers.redis.url


@pytest.fixture
def elasticsearch_url(servers: Stack) -> str:
    """The shared Elasticsearch."""
    return servers.elasticsearch.url


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real data files beside the project; tests that need them are collected only where they lie."""
    return REAL_DATA


@pytest.fixture(scope="session")
def replayed(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Gives the history that `producer replay` makes of a real file in a format, made once for all tests."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers

    def replay(name: str, file_format: str) -> Path:
        history = shared / f"{Path(name).stem}-history"
        making = history.with_suffix(".making")
        with locked(history.with_suffix(".lock")):
            if not history.exists():
                command = ("replay", str(real_data / name), "--format", file_format, "--output", str(making))
                subprocess.run([sys.executable, "-m", "producer", *command], check=True)
                making.rename(history)
        return history

    return replay


REAL_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked `real_data` where there is none: the data is no part of the project."""
    if REAL_DATA.is_dir():
        return
    left_out = [item for item in items if item.get_closest_marker("real_data")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
