"""Kafka, Redis and Elasticsearch without Docker: the same real servers, started natively on 127.0.0.1."""

from stack.errors import StackError
from stack.stack import SERVICE_NAMES, Stack
from stack.waiting import wait_until

__all__ = ["SERVICE_NAMES", "Stack", "StackError", "wait_until"]
