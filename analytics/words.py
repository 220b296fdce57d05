"""Numbers and lists as words, the same everywhere in the report."""

from collections.abc import Sequence


def percent(share: float, digits: int = 1) -> str:
    """A share of 0.1234 is 12.3 %."""
    return f"{100 * share:.{digits}f} %"


def money(amount: float, currency: str) -> str:
    """Large amounts without cents."""
    return f"{amount:,.0f} {currency}" if abs(amount) >= 1_000 else f"{amount:,.2f} {currency}"


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def counted(number: int, one: str, many: str = "") -> str:
    """1 customer, 2 customers."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
