"""What a contender is measured by follows from the events alone."""

from benchmarks.stream.workload import Workload, simulated


def test_a_ladder_ends_where_its_partition_ends_and_climbs_by_last_events() -> None:
    workload = Workload("events", simulated(3_000, 150))
    assert sum(workload.ends) == workload.events == 3_000
    for partition, ladder in enumerate(workload.ladders):
        assert ladder == sorted(ladder)
        assert ladder[-1].offset == workload.ends[partition] - 1
        for rung in ladder:
            assert workload.expected[rung.customer_id][1] == b"%d:%d" % (partition, rung.offset)


def test_the_short_part_is_the_beginning_of_the_long_one() -> None:
    payloads = simulated(3_000, 150)
    assert simulated(3_000, 150) == payloads
    assert Workload("events", payloads[:600]).payloads == payloads[:600]
