"""How often a service looks for garbage in cycles."""

import gc


def spare_the_collector() -> None:
    """Leave what is there out of it for good, and look seldom: customers pass by the thousand, and hold no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1_000)
