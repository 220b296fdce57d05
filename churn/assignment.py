"""Who is in which group of an experiment: decided by a hash, so that it never changes and needs no table."""

from typing import Final

from xxhash import xxh3_64_intdigest

BUCKETS: Final = 10_000


def bucket(salt: str, customer_id: str) -> int:
    """A number from 0 to 9,999, always the same for a customer and a salt; other salts draw independently."""
    return xxh3_64_intdigest(f"{salt}:{customer_id}".encode()) % BUCKETS


def is_chosen(salt: str, customer_id: str, share: float) -> bool:
    """Whether the customer is in the part of this size (0 to 1) of all customers."""
    return bucket(salt, customer_id) < share * BUCKETS
