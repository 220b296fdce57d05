"""The ordeal of the whole pipeline, two minutes of it; `make chaos` plays a long one."""

from pathlib import Path

import pytest

from .pipeline import play, rehearsed

SECONDS = 120.0
EVERY_S = 10.0
RATE = 300.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1_800)]


def test_redis_elasticsearch_and_the_topic_agree_after_everybody_was_killed(tmp_path: Path) -> None:
    with rehearsed(tmp_path, customers=1_000, events=30_000) as rehearsal:
        verdict = play(rehearsal, rate=RATE, seconds=SECONDS, every_s=EVERY_S)
    assert rehearsal.has_model
    assert len(verdict.kills) == 7, verdict.kills
    assert verdict.is_right, str(verdict)
