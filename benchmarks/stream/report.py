"""What the rounds say together."""
from typing import NamedTuple
class Run(NamedTuple):
    name: str
    events: int
    seconds: float
    cpu_seconds: float
    peak_mib: float | None
    wrong: int | None

    @classmethod
    def failed(cls, name):
        return cls(name, 0, 0.0, 0.0, None, None)
    def describe(self):
        if not self.events: return "failed"
        return f"{self.events/self.seconds:,.0f} events/s, {self.cpu_seconds/self.events*1e6:.1f} us CPU per event, {self.peak_mib} MiB, wrong {self.wrong}"
