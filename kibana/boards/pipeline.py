"""Board "Pipeline health": whether everything that happens arrives, how soon, and what could not be read."""

from typing import Final

from churn.events import Reason
from kibana.data_views import ARRIVALS, CUSTOMERS, DEAD_LETTERS, PIPELINE
from kibana.shapes import (
    FAINT,
    NEUTRAL,
    SECOND,
    THIRD,
    XY,
    Board,
    Measure,
    Metric,
    OverTime,
    Row,
    Table,
    Terms,
    by_value,
    count,
    highest,
    total,
)

NOTE: Final = """\
Everything is counted by the time at which it **arrived** (UTC), whenever it happened. *Waiting* are messages that \
are in Kafka and not yet in Elasticsearch; *freshness* is the time from a message's arrival in Kafka until it can be \
searched. Every 30 seconds the indexing tells both, of each topic, even when nothing came: if the lines below end \
before now, nothing is indexed.

A **dead letter** is a message that could not be read; it is kept with its reason, and nothing else is lost by it. \
No list of values stands above this board, because its indices have no field in common but the time."""

_TIME: Final = OverTime("auto", "Time")
_REASONS: Final = {
    Reason.INVALID_FIELD: NEUTRAL,
    Reason.UNKNOWN_TYPE: SECOND,
    Reason.MISSING_FIELD: THIRD,
    Reason.BROKEN_JSON: FAINT,
    Reason.FUTURE_TIME: "#D6BF57",
    Reason.UNKNOWN_CURRENCY: "#AA6556",
    Reason.NAIVE_TIME: "#1F5A99",
    Reason.EMPTY: "#BBA8D6",
    Reason.TOO_LARGE: "#69707D",
    Reason.WRONG_PARTITION: "#E2C4D4",
    Reason.INVALID_ROW: "#7A4A3F",
    "refused_by_index": "#343741",
}
_KINDS: Final = {"events": NEUTRAL, "risk": SECOND, "dead-letters": THIRD}

PIPELINE_HEALTH: Final = Board(
    id="pipeline-health",
    title="Pipeline health",
    description="Whether everything that happens in the shop arrives, how soon, and what could not be read.",
    time_from="now-24h",
    controls=(),
    note=NOTE,
    refresh_s=30,
    rows=(
        Row(
            5,
            (
                Metric(
                    "Last event arrived",
                    ARRIVALS,
                    highest("ingested_at", "Last event arrived", format="moment"),
                    subtitle="UTC",
                    about="when the newest event came into Kafka.",
                ),
                Metric(
                    "Last risk card made",
                    CUSTOMERS,
                    highest("scored_at", "Last risk card made", format="moment"),
                    subtitle="UTC",
                    about="when the scorer made its newest card.",
                ),
                Metric(
                    "Events arrived",
                    ARRIVALS,
                    count("Events arrived"),
                    subtitle="in the time range",
                    about="events that came in the time range.",
                ),
                Metric(
                    "Most waiting",
                    PIPELINE,
                    highest("lag", "Most waiting", format="whole"),
                    subtitle="messages of one topic",
                    about="the largest number of messages of a topic that waited for one indexing process.",
                ),
                Metric(
                    "Slowest freshness",
                    PIPELINE,
                    highest("freshness_p99_s", "Slowest freshness", format="decimal"),
                    subtitle="seconds, 99 % of messages",
                    about="the worst half-minute: seconds within which 99 % of its messages could be searched.",
                ),
                Metric(
                    "Dead letters",
                    DEAD_LETTERS,
                    count("Dead letters"),
                    subtitle="could not be read",
                    about="messages and rows that could not be read.",
                ),
            ),
            widths=(10, 10, 7, 7, 7, 7),
        ),
        Row(
            11,
            (
                XY(
                    "Events by arrival",
                    ARRIVALS,
                    "bar",
                    (count("Events", colour=NEUTRAL),),
                    over=_TIME,
                    about="events by when they came into Kafka.",
                ),
                XY(
                    "Documents indexed",
                    PIPELINE,
                    "bar_stacked",
                    by_value(total("documents", "Documents", format="whole"), "kind", _KINDS),
                    over=_TIME,
                    about="documents newly written to Elasticsearch, by topic; repeated messages write none.",
                ),
            ),
        ),
        Row(
            11,
            (
                XY(
                    "Waiting",
                    PIPELINE,
                    "line",
                    by_value(highest("lag", "Waiting", format="whole"), "kind", _KINDS),
                    over=_TIME,
                    about="the most messages of each topic that waited for one indexing process.",
                ),
                XY(
                    "Freshness in seconds",
                    PIPELINE,
                    "line",
                    (
                        highest("freshness_p50_s", "Half of the messages within", colour=NEUTRAL),
                        highest("freshness_p99_s", "99 % of the messages within", colour=SECOND),
                    ),
                    over=_TIME,
                    about="seconds from Kafka to Elasticsearch, the slowest half-minute of each bar of time.",
                ),
            ),
        ),
        Row(
            10,
            (
                XY(
                    "How late events arrive",
                    ARRIVALS,
                    "line",
                    (
                        Measure("median", "delay_s", "Half within", format="duration", colour=NEUTRAL),
                        Measure("percentile", "delay_s", "95 % within", format="duration", colour=SECOND),
                    ),
                    over=_TIME,
                    about="from what happened to its arrival in Kafka; a replayed history arrives years late. "
                    "Percentiles are estimates, within about 1 %.",
                ),
                Table(
                    "Dead letters by reason",
                    DEAD_LETTERS,
                    (Terms("reason", "Reason", size=20), Terms("stage", "Found by", size=5)),
                    (count("Dead letters"), highest("@timestamp", "Last", format="moment")),
                    widths={"Dead letters": 110, "Last": 160},
                    about="why messages could not be read, who found out, and when last.",
                ),
            ),
        ),
        Row(
            9,
            (
                XY(
                    "Dead letters over time",
                    DEAD_LETTERS,
                    "bar_stacked",
                    by_value(count("Dead letters"), "reason", _REASONS),
                    over=_TIME,
                    about="dead letters by reason and by when they failed.",
                ),
            ),
        ),
    ),
)
