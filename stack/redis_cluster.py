"""A Redis Cluster of three primaries, to prove that nothing in the feature store needs two keys of different slots."""

from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis

from stack.errors import StartFailed
from stack.ports import HOST, INNER_PORTS, pick_free_ports
from stack.redis_server import RedisServer
from stack.waiting import wait_until

NODES: Final = 3
SLOTS: Final = 16_384
AGREED_WITHIN_S: Final = 30


class RedisCluster:
    """Three native Redis servers that share the slots; no replicas, a node keeps its data when it is killed."""

    def __init__(self, directory: Path) -> None:
        ports, inner = pick_free_ports(NODES), pick_free_ports(NODES, INNER_PORTS)
        self.nodes = [
            RedisServer(
                directory / f"node-{number}",
                port,
                settings={"cluster-enabled": "yes", "cluster-port": str(bus), "cluster-node-timeout": "5000"},
            )
            for number, (port, bus) in enumerate(zip(ports, inner, strict=True), 1)
        ]
        self._bus_ports = inner

    @property
    def url(self) -> str:
        """Of one node: clients ask it for the others."""
        return self.nodes[0].url

    def start(self) -> None:
        """Start the nodes, share out the slots, and return when all agree."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_until_ready()
        clients: list[Any] = [redis.Redis(host=HOST, port=node.port) for node in self.nodes]
        try:
            for number, client in enumerate(clients):
                first, last = SLOTS * number // NODES, SLOTS * (number + 1) // NODES - 1
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
                client.execute_command("CLUSTER MEET", HOST, self.nodes[0].port, self._bus_ports[0])
            if not wait_until(lambda: all(map(_agrees, clients)), AGREED_WITHIN_S):
                raise StartFailed(f"the nodes of the cluster do not agree; look at {self.nodes[0].log_file}")
        finally:
            for client in clients:
                client.close()

    def kill(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def _agrees(client: Any) -> bool:
    info = client.cluster("INFO")
    return bool(info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == NODES)
