"""The process: reads clock, environment and signals, connects what the command line asks for, and sums up."""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from types import FrameType

from rich.console import Console

from churn import kafka_access, logs, pages, settings
from churn.history import HistoryExists
from churn.refusal import EXIT_REFUSED, AccessRefused
from producer import arguments, history_files, simulate
from producer.errors import ProducerError
from producer.metrics import Metrics
from producer.pacing import EventTime, FixedRate, NoWait, Pace, Sleep
from producer.progress import ProgressLine
from producer.replay import Counts, Replay, shift_to
from producer.sent import Run
from producer.simulator import Simulation, arrivals
from producer.sinks import LINGER_MS, LIVE_LINGER_MS, HistorySink, KafkaSink, Sink
from producer.source import Source, open_source

log = logs.get_logger(__name__)


class Stop:
    """Set by the first SIGINT or SIGTERM: the command then ends at once, but cleanly. A second one kills."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._event = threading.Event()
        self.wait = self._event.wait
        self.is_asked = self._event.is_set
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)
        self._event.set()


def main() -> int:
    """Run one command; returns its exit code."""
    options = arguments.parse(sys.argv[1:], _now())
    logs.configure("producer", settings.read(settings.LogSettings).log_format)
    stop = Stop()
    try:
        if options.command in ("inspect", "clean"):
            from producer import quality  # what it is made of would be half of the memory of a replay

            return quality.run(options, _currency(), _now(), partial(_progress, "reading", "rows"))
        return {"simulate": _simulate, "replay": _replay}[options.command](options, stop)
    except AccessRefused as error:
        print(f"producer: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except (ProducerError, HistoryExists, OSError) as error:
        print(f"producer: {error}", file=sys.stderr)
        return 1


def _simulate(options: argparse.Namespace, stop: Stop) -> int:
    if options.output is not None:
        history_files.require_empty(options.output)
    linger_ms = LIVE_LINGER_MS if options.live else LINGER_MS
    with _topic(options.topic, linger_ms) as sinks, _summed_up(simulate.summary) as counts:
        simulation = Simulation(arguments.plan_of(options), options.processes or os.cpu_count() or 1)
        send = partial(simulate.send, sinks=sinks, counts=counts)
        try:
            said = _past(options, stop, simulation, send)
        except simulate.Stopped:
            is_partial = options.output is not None and options.output.exists()
            left = f"; what lies in {options.output} is only a part: remove it" if is_partial else ""
            print(f"producer: stopped before the history was complete{left}", file=sys.stderr)
            return _exit_code(stop)
        if options.live and not stop.is_asked():
            _live(options, stop, simulation, send, sinks[0])
            return 0
        counts.events = counts.events or simulation.num_events
    print(said)
    return _exit_code(stop)


def _past(options: argparse.Namespace, stop: Stop, simulation: Simulation, send: Callable[..., None]) -> str:
    """Simulate the history, write and send it where that is wanted; returns what came out, for people."""
    expected = simulation.plan.num_events
    with _progress("simulating", "events") as progress:
        lived = simulation.tables(simulate.watched(progress, expected, stop.is_asked))
    if options.output is not None:
        with _progress("writing", "events") as progress:
            written = simulate.watched(progress, expected, stop.is_asked)
            history_files.write(options.output, lived, simulation.shop, options.file_format, written)
    if options.topic is not None and not options.live_only:
        past = simulate.at_their_time(arrivals(lived.events), _pace(options.speed, stop.wait))
        with _progress("sending", "events") as progress:
            send(past, progress=progress, expected=lived.events.num_rows, must_stop=stop.is_asked)
    return simulate.described(lived)


def _live(
    options: argparse.Namespace, stop: Stop, simulation: Simulation, send: Callable[..., None], sink: KafkaSink
) -> None:
    own = settings.read(settings.ProducerSettings)
    metrics = Metrics(sink, time.monotonic, time.time)
    ends = time.monotonic() + (options.for_s or float("inf"))
    pace = FixedRate(options.rate, time.monotonic, lambda seconds: stop.wait(min(seconds, ends - time.monotonic())))
    present = simulate.as_of_now(simulation.live(_now()), pace, _now)
    with (
        pages.shown(own.producer_web_bind, own.producer_web_port, metrics.registry, metrics.progress) as port,
        _progress("live", "events") as progress,
    ):
        log.info("started", pages=f"{own.producer_web_bind}:{port}", rate=options.rate)
        send(
            metrics.watched(present),
            progress=progress,
            expected=None,
            must_stop=lambda: stop.is_asked() or time.monotonic() >= ends,
        )


def _replay(options: argparse.Namespace, stop: Stop) -> int:
    currency = _currency()
    source = open_source(options.file, options.format, options.encoding, currency)
    with _sinks(options) as sinks, _summed_up(Counts.summary) as counts, _progress("replaying", "rows") as progress:
        run = _run_of(options, source, sinks, stop)
        pace = _pace_of(options, stop)
        replay = Replay(source, sinks, counts, run=run, pace=pace, currency=currency)
        replay.run(options.limit, progress, stop.is_asked)
    if stop.is_asked():
        print("producer: stopped; the same command sends the rest", file=sys.stderr)
    elif counts.rows and counts.rows == counts.rows_held:
        print(f"All these rows were on topic {options.topic} already, so none was sent; --again sends them once more.")
    return _exit_code(stop)


def _run_of(options: argparse.Namespace, source: Source, sinks: list[Sink], stop: Stop) -> Run:
    """The run to go on with, or a new one; the sink knows from now on what is there already."""
    fingerprint = source.fingerprint()
    kafka = next((sink for sink in sinks if isinstance(sink, KafkaSink)), None)
    sent = kafka.look_up(fingerprint) if kafka else None
    if sent and not options.again:
        run, last = sent.run, sent.last
        log.info("going on", run=run.number, rows_sent_before=max(last.values()).row, shift_days=run.shift_days)
    else:
        began_at = _now().replace(microsecond=0)
        shift = shift_to(began_at, source, stop.is_asked) if options.shift_to_now else timedelta(0)
        run, last = Run(fingerprint, sent.run.number + 1 if sent else 1, began_at, shift.days), {}
    if kafka:
        kafka.go_on(run, last)
    return run


def _pace_of(options: argparse.Namespace, stop: Stop) -> Pace:
    if options.rate:
        return FixedRate(options.rate, time.monotonic, stop.wait)
    return _pace(options.speed, stop.wait)


def _currency() -> str:
    return settings.read(settings.ShopSettings).shop_currency


def _kafka_sink(topic: str, linger_ms: int) -> KafkaSink:
    kafka = settings.read(settings.KafkaSettings)
    security = kafka_access.from_settings(kafka)
    return KafkaSink(kafka.kafka_bootstrap_servers, topic, linger_ms=linger_ms, security=security)


@contextmanager
def _topic(name: str | None, linger_ms: int) -> Iterator[list[KafkaSink]]:
    if name is None:
        yield []
        return
    sink = _kafka_sink(name, linger_ms)
    try:
        yield [sink]
    finally:
        sink.close()


@contextmanager
def _sinks(options: argparse.Namespace) -> Iterator[list[Sink]]:
    with ExitStack() as opened:
        sinks: list[Sink] = []
        if options.topic is not None:
            linger_ms = LIVE_LINGER_MS if options.rate else LINGER_MS
            sinks.append(_kafka_sink(options.topic, linger_ms))
            opened.callback(sinks[-1].close)
        if options.output is not None:
            sinks.append(HistorySink(options.output))
            opened.callback(sinks[-1].close)
        yield sinks


def _pace(speed: float | str, sleep: Sleep) -> Pace:
    return NoWait() if isinstance(speed, str) else EventTime(speed, time.monotonic, sleep)


def _progress(action: str, unit: str) -> ProgressLine:
    return ProgressLine(action, unit, time.monotonic, Console(stderr=True))


@contextmanager
def _summed_up(summary: Callable[[Counts, float], str]) -> Iterator[Counts]:
    """Counts whose summary is printed at the end, also when the end came early."""
    counts, started = Counts(), time.monotonic()
    try:
        yield counts
    finally:
        print(summary(counts, time.monotonic() - started))


def _exit_code(stop: Stop) -> int:
    return 0 if stop.signal is None else 128 + stop.signal


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
