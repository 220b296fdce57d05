"""A taken port is told with its holder, and a free one stays free until its server is back."""

import os
import socket

import pytest

from stack import ports
from stack.errors import PortTaken


def test_the_holder_of_a_port_is_named() -> None:
    with socket.create_server((ports.HOST, ports.free_port())) as server:
        assert f"pid {os.getpid()} " in (ports.holder(server.getsockname()[1]) or "")


def test_a_taken_port_is_an_error_with_the_flags_that_help() -> None:
    with socket.create_server(("", ports.free_port())) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            PortTaken, match=rf"port {port} .* kafka, .* pid {os.getpid()} .*--kafka-port N .*--free-ports"
        ):
            ports.require_free(port, "kafka")


def test_a_free_port_is_free_and_never_one_that_the_kernel_lends_to_clients() -> None:
    port = ports.free_port()
    ports.require_free(port, "kafka")
    assert ports.holder(port) is None
    assert not ports.is_listening(port)
    assert port < 32_768


def test_a_port_of_a_closed_connection_is_free() -> None:
    with socket.create_server((ports.HOST, ports.free_port())) as server:
        port = server.getsockname()[1]
        with socket.create_connection((ports.HOST, port)):
            server.accept()[0].close()  # the side that closes first keeps the port in TIME_WAIT
    ports.require_free(port, "redis")
