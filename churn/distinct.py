"""How many different things a customer has met, in bounded memory: exact up to 64, then HyperLogLog.

Flajolet, Fusy, Gandouet, Meunier: HyperLogLog (2007), with 256 registers: standard error 1.04 / sqrt(256) = 6.5 %;
its small-range correction (linear counting) is kept.
"""

import math
from bisect import bisect_left
from typing import Final

from xxhash import xxh32_intdigest

EXACT_UP_TO: Final = 64
_INDEX_BITS: Final = 8
_REGISTERS: Final = 1 << _INDEX_BITS
_ALPHA: Final = 0.7213 / (1 + 1.079 / _REGISTERS)
# The registers are fed with hashes of 32 bits, of which 8 choose the register.
_VALUE_BITS: Final = 32 - _INDEX_BITS


def hash_text(text: str) -> int:
    """32 bits for a text."""
    return int(xxh32_intdigest(text.encode()))


def add(known: tuple[int, ...], registers: bytes, value: int) -> tuple[tuple[int, ...], bytes]:
    """Both halves after one more 32-bit hash: `known` holds the values, sorted, while few; `registers` what follows."""
    if registers:
        return known, _register(registers, value)
    place = bisect_left(known, value)
    if place < len(known) and known[place] == value:
        return known, registers
    known = (*known[:place], value, *known[place:])
    if len(known) <= EXACT_UP_TO:
        return known, registers
    registers = bytes(_REGISTERS)
    for each in known:
        registers = _register(registers, each)
    return (), registers


def _register(registers: bytes, value: int) -> bytes:
    index, rest = value & (_REGISTERS - 1), value >> _INDEX_BITS
    rank = _VALUE_BITS - rest.bit_length() + 1
    if registers[index] >= rank:
        return registers
    return registers[:index] + bytes([rank]) + registers[index + 1 :]


def count(known: tuple[int, ...], registers: bytes) -> int:
    """How many different values were added: exact up to 64, else with a standard error of 6.5 %."""
    if not registers:
        return len(known)
    empty = registers.count(0)
    estimate = _ALPHA * _REGISTERS * _REGISTERS / sum(2.0**-rank for rank in registers)
    if estimate <= 2.5 * _REGISTERS and empty:
        estimate = _REGISTERS * math.log(_REGISTERS / empty)
    return round(estimate)
