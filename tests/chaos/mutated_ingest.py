"""`python -m tests.chaos.mutated_ingest`: an es_ingest without one of its safeguards, to show that the suite notices.

`MUTATION` in the environment names what is taken away:

committed_first  offsets are committed when a batch is sent, before Elasticsearch has it
random_ids       a document has another id each time
"""

import os
import sys
import threading
from collections.abc import Callable
from uuid import uuid4

import es_ingest.__main__ as command
from es_ingest import documents
from es_ingest.service import Service

from .mutated_worker import MUTATION


def committed_first() -> None:
    launch = Service._launch

    def launch_and_commit(service: Service, stop: threading.Event) -> None:
        launch(service, stop)
        assert service._flight is not None
        service._acknowledged |= service._flight.batch.offsets
        service._commit()

    Service._launch = launch_and_commit  # type: ignore[method-assign]


def random_ids() -> None:
    documents._bounded_id = lambda _: str(uuid4())  # type: ignore[assignment]


MUTATIONS: dict[str, Callable[[], None]] = {each.__name__: each for each in (committed_first, random_ids)}

if __name__ == "__main__":
    MUTATIONS[os.environ[MUTATION]]()
    sys.exit(command.main())
