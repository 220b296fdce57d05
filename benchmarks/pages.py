"""Brings what a benchmark printed into `docs/performance.md`, between the two marks of its section."""

import os
import re
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGE: Final = DOCS / "performance.md"


class SectionMissing(ValueError):
    """The page has no place for this benchmark."""


def machine() -> str:
    """`2 cores, 24 GiB`: all that is said of where a benchmark ran."""
    cores = len(os.sched_getaffinity(0))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cores} cores, {memory_gib:.0f} GiB"


def write_section(name: str, text: str, page: Path = PAGE) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->`; raises `SectionMissing`."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    old = page.read_text()
    if begin not in old or end not in old:
        raise SectionMissing(f"{page.name} lacks the marks {begin} and {end}: put them where the figures belong")
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    page.write_text(pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", old))
