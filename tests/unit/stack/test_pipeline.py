"""Pipelines beside each other keep to ports of their own."""

from pathlib import Path

from stack.pipeline import Pipeline

USUAL = {6066, 6067, 6068, 6379, 9092, 9200}


def ports(pipeline: Pipeline) -> list[int]:
    return [service.port for service in pipeline.services]


def test_a_pipeline_on_free_ports_takes_none_of_the_usual_ones(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, free_ports=True)
    found = ports(pipeline)
    assert len(set(found)) == len(USUAL)
    assert not USUAL & set(found)
    assert ports(pipeline) == found


def test_a_pipeline_of_its_own_stands_on_the_usual_ports(tmp_path: Path) -> None:
    found = set(ports(Pipeline(tmp_path)))
    assert len(found) == len(USUAL)
    assert all(port in USUAL or 20_000 <= port < 26_000 for port in found)  # another pipeline may hold the usual ones
