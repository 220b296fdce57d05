"""Figures count only where Redis was right, and a goal is met only by what was measured."""

import pytest

from benchmarks import pages
from benchmarks.stream import report
from benchmarks.stream.contenders import FOLD_ALONE, OURS, OURS_HELD, OURS_TWICE_HELD
from benchmarks.stream.report import Result, Run

PEER = "bare aiokafka loop"


def _result(ours: Run, peer: Run) -> Result:
    return report.summed_up([[Run(FOLD_ALONE, 70_000, 14.0, None, 0), ours, peer]], 500, 20, 100)


def test_a_peer_with_a_wrong_state_in_redis_has_no_figures() -> None:
    result = _result(Run(OURS, 50_000, 16.0, 100, 0), Run(PEER, 90_000, 15.0, 100, 1))
    assert f"| {PEER} | 500 | wrong | | | |" in report.as_markdown(result)
    assert f"| one worker / {PEER} | 0.95 | wrong | no | | |" in report.as_markdown(result)


def test_a_contender_that_did_not_end_well_is_not_right() -> None:
    assert not Run.failed(PEER).is_right


@pytest.mark.parametrize(("speed", "met"), [(48_000, "yes"), (47_000, "no")])
def test_a_goal_is_met_by_measured_speed_alone(speed: float, met: str) -> None:
    result = _result(Run(OURS, speed, 16.0, 100, 0), Run(PEER, 50_000, 15.0, 100, 0))
    row = next(line for line in report.as_markdown(result).splitlines() if f"/ {PEER}" in line)
    assert row.split(" | ")[3] == met


def test_what_lies_beyond_the_fold_is_compared_without_it() -> None:
    result = _result(Run(OURS, 50_000, 16.0, 100, 0), Run(PEER, 10_000, 34.0, 100, 0))
    ratio = next(each for each in result.ratios if PEER in each.what)
    assert ratio.beyond_fold == pytest.approx(10)


def test_a_peer_stands_beside_the_run_that_took_turns_with_it() -> None:
    other = "Bytewax"
    runs = [
        Run(OURS, 10_000, 16.0, 100, 0, beside=other),
        Run(other, 10_000, 15.0, 100, 0, beside=OURS),
        Run(OURS, 30_000, 16.0, 100, 0, beside=PEER),
        Run(PEER, 20_000, 15.0, 100, 0, beside=OURS),
    ]
    result = report.summed_up([runs], 500, 20, 100)
    assert {each.what: each.speed for each in result.ratios} == {
        f"one worker / {PEER}": pytest.approx(1.5),
        f"one worker / {other}": pytest.approx(1.0),
    }
    assert next(each.events_per_s for each in result.standings if each.name == OURS) == pytest.approx(20_000)


def test_two_workers_held_back_stand_beside_one_held_back_alike() -> None:
    held = [Run(OURS_HELD, 6_000, 26.0, 100, 0), Run(OURS_TWICE_HELD, 11_400, 27.0, 200, 0)]
    result = report.summed_up([[Run(OURS, 16_000, 26.0, 100, 0), *held]], 500, 20, 100)
    ratio = next(each for each in result.ratios if "two workers" in each.what)
    assert (ratio.what, ratio.speed) == ("two workers / one worker, 0.4 of a core each", pytest.approx(1.9))


def test_a_section_of_a_page_is_replaced_and_nothing_else(tmp_path) -> None:  # type: ignore[no-untyped-def]
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x -->\nold\n<!-- /x -->\nafter\n")
    pages.write_section("x", "new \\1", page)
    assert page.read_text() == "before\n<!-- x -->\nnew \\1\n<!-- /x -->\nafter\n"
    with pytest.raises(pages.SectionMissing):
        pages.write_section("y", "new", page)
