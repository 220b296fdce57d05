"""`python -m scorer serve | card ID | top N | watch`: keep risk cards up to date, and look at them."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event as Flag

from rich.console import Console
from rich.live import Live
from threadpoolctl import threadpool_limits

from churn import feature_store, forgotten_topic, kafka_access, logs, pages, settings
from churn.actions import ACTIONS_FILE, SEGMENTS, InvalidActions, read_actions
from churn.collector import spare_the_collector
from churn.feature_store import FeatureStore, StoreRefused, StoreUnavailable
from churn.forgotten import ForgetKeyMissing, ForgetKeyWrong
from churn.refusal import EXIT_REFUSED, AccessRefused
from churn.state import InvalidState
from scorer import show
from scorer.kafka_topics import ANSWER_TIMEOUT_S, Notices, RiskTopic
from scorer.live_model import LiveModel
from scorer.scoring import Scoring
from scorer.service import Service, Stopped, patiently

PIPED_WIDTH = 170
WATCH_EVERY_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done or stopped; 1: it says what is wrong; 77: not let in; 78: a wrong setting, key or table of actions."""
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.command == "serve":
            return _serve(chosen.actions)
        store = feature_store.from_settings(settings.read(settings.RedisSettings))
        if chosen.command == "card":
            return _card(store, chosen.customer_id, as_json=chosen.json)
        if chosen.command == "watch":
            return _watch(store, chosen.count, chosen.segment)
        return _top(store, chosen.count, chosen.segment)
    except (AccessRefused, StoreRefused) as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    except (StoreUnavailable, InvalidState, show.UnknownCustomer, pages.PageUnavailable) as error:
        print(error, file=sys.stderr)
        return 1
    except (InvalidActions, ForgetKeyMissing, ForgetKeyWrong) as error:
        print(error, file=sys.stderr)
        return 78


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scorer", description="Churn risk of every customer, live.")
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="score on notice, when due, and everybody when the model changes")
    serve.add_argument("--actions", type=Path, default=ACTIONS_FILE, help="table of segment,band,action (%(default)s)")
    card = commands.add_parser("card", help="show one customer")
    card.add_argument("customer_id")
    card.add_argument("--json", action="store_true", help="for machines")
    top = commands.add_parser("top", help="show the customers with the highest risk")
    watch = commands.add_parser("watch", help="the same, live, until Ctrl-C")
    for each in (top, watch):
        each.add_argument("count", type=_positive, nargs="?", default=20)
        each.add_argument("--segment", choices=SEGMENTS, help="only customers of this segment", metavar="NAME")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of customers")
    return int(text)


def _serve(actions_file: Path) -> int:
    logs.configure("scorer", settings.read(settings.LogSettings).log_format)
    kafka_settings = settings.read(settings.KafkaSettings)
    kafka, security = kafka_settings.kafka_bootstrap_servers, kafka_access.from_settings(kafka_settings)
    store = feature_store.from_settings(settings.read(settings.RedisSettings), timeout_s=ANSWER_TIMEOUT_S)
    model_dir = settings.read(settings.PathSettings).model_dir
    own = settings.read(settings.ScorerSettings)
    actions = read_actions(actions_file)
    log = logs.get_logger(__name__)
    stop = Flag()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with (
            # Batches are too small for threads of a matrix product to be worth their waking.
            threadpool_limits(limits=1),
            closing(patiently(lambda: Notices(kafka, security=security), stop)) as notices,
            closing(patiently(lambda: RiskTopic(kafka, security), stop)) as risk_topic,
        ):
            key = settings.read(settings.ForgetSettings).key
            forgotten = patiently(lambda: forgotten_topic.follow(kafka, key, security), stop)
            live_model = LiveModel(model_dir)
            scoring = Scoring(store, risk_topic, live_model, actions, _now)
            service = Service(store, notices, scoring, live_model, _now, own.scorer_rescore_per_s, forgotten)
            registry, progress = service.metrics.registry, service.progress
            with pages.shown(own.scorer_web_bind, own.scorer_web_port, registry, progress) as port:
                spare_the_collector()
                log.info("started", kafka=kafka, model_dir=str(model_dir), pages=f"{own.scorer_web_bind}:{port}")
                service.run(stop)
    except Stopped:
        pass
    log.info("stopped")
    return 0


def _card(store: FeatureStore, customer_id: str, *, as_json: bool) -> int:
    card = show.describe(customer_id, store.read_customer(customer_id), _now())
    if as_json:
        print(json.dumps(card, indent=2, ensure_ascii=False))
    else:
        _console().print(show.card_view(card))
    return 0


def _top(store: FeatureStore, count: int, segment: str | None) -> int:
    _console().print(show.top(store, count, _now(), segment))
    return 0


def _watch(store: FeatureStore, count: int, segment: str | None) -> int:
    stop = Flag()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    with Live(show.top(store, count, _now(), segment), console=_console(), auto_refresh=False) as live:
        while not stop.wait(WATCH_EVERY_S):
            live.update(show.top(store, count, _now(), segment), refresh=True)
    return 0


def _console() -> Console:
    """A terminal's own width; a file or a pipe is given enough for the tables."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
