"""The command line: the defaults, and what is refused before anything starts."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from producer import arguments
from producer.faults import Faults
from producer.simulator import Plan

NOW = datetime(2026, 1, 15, 12, 34, 56, 789, tzinfo=UTC)


def test_a_simulation_ends_at_this_minute_unless_said_otherwise() -> None:
    options = arguments.parse(["simulate", "--topic", "events"], NOW)
    assert options.until == datetime(2026, 1, 15, 12, 34, tzinfo=UTC)
    assert (options.num_customers, options.num_events, options.days, options.seed) == (2_000, 60_000, 365, 7)
    assert (options.topic, options.output, options.speed, options.live) == ("events", None, "max", False)


def test_a_replay_takes_all_rows_without_waiting_unless_said_otherwise() -> None:
    options = arguments.parse(["replay", "a.csv", "--format", "ebb", "--output", "b"], NOW)
    assert (options.file, options.output, options.topic) == (Path("a.csv"), Path("b"), None)
    assert (options.limit, options.speed, options.rate, options.shift_to_now) == (None, "max", None, False)
    assert not options.again


@pytest.mark.parametrize("line", ["replay a.csv", "replay --input a.csv", "--input a.csv", "replay a.csv --resume"])
def test_a_file_can_be_named_in_each_way_and_is_not_sent_again_unless_said_so(line: str) -> None:
    options = arguments.parse([*line.split(), "--topic", "events"], NOW)
    assert (options.command, options.file, options.format, options.again) == ("replay", Path("a.csv"), None, False)
    assert arguments.parse(["replay", "a.csv", "--topic", "events", "--again"], NOW).again


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("simulate", "name --topic, --output or both"),
        ("replay a.csv --format ebb", "name --topic, --output or both"),
        ("replay --output b", "name one FILE"),
        ("replay a.csv --input a.csv --output b", "name one FILE"),
        ("replay a.csv --output b --resume --again", "not allowed with"),
        ("inspect", "name one FILE"),
        ("replay a.csv --output b --format xml", "invalid choice: 'xml'"),
        ("replay a.csv --output b --format ebb --rate 5 --speed 2", "not allowed with"),
        ("replay a.csv --output b --format ebb --rate 0", "no number above 0"),
        ("replay a.csv --output b --format ebb --speed fast", "no number above 0"),
        ("replay a.csv --output b --format ebb --limit 0", "not above 0"),
        ("replay a.csv --output b --format ebb --encoding martian", "no encoding"),
        ("simulate --output b --num_customers 10 --num_events 29", "--num_events must be at least 30"),
        ("simulate --output b --top_share 0.3", "not between 0.5 and 0.95"),
        ("simulate --output b --duplicates 1", "no share from 0 to below 1"),
        ("simulate --output b --duplicates many", "no share from 0 to below 1"),
        ("simulate --output b --late 0.6 --future 0.6", "together at most 1"),
        ("simulate --output b --file_format xml", "invalid choice: 'xml'"),
        ("simulate --output b --live", "name it with --topic"),
        ("simulate --topic a --output b --live-only --until 2026-01-01T00:00:00Z", "leave out --output"),
        ("simulate --output b --until 2026-01-01", "needs an offset"),
        ("simulate --output b --until soon", "not written like"),
        ("simulate --topic events --until 2026-01-16T00:00:00Z", "lies ahead"),
        ("simulate --output b --rate 10", "add it"),
        ("simulate --output b --for 10", "add it"),
        ("simulate --output b --live-only", "needs the --until"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse(line.split(), NOW)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_names_may_be_written_with_underscores_or_hyphens_and_make_the_plan() -> None:
    flags = "--num{0}customers 10 --num{0}events 500 --top{0}share 0.8 --clock{0}skew 0.02 --file{0}format csv --seed 3"
    plans = []
    for mark in "_-":
        options = arguments.parse(["simulate", "--output", "b", *flags.format(mark).split()], NOW)
        assert options.file_format == "csv"
        plans.append(arguments.plan_of(options))
    until = NOW.replace(second=0, microsecond=0)
    assert plans == [Plan(10, 500, 365, 3, until, top_share=0.8, faults=Faults(clock_skew=0.02))] * 2


@pytest.mark.parametrize("command", ["simulate", "replay"])
def test_each_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments.parse([command, "--help"], NOW)
    assert ended.value.code == 0
    assert "--topic NAME" in capsys.readouterr().out
