"""`make compose-trial`: bring everything up by docker compose, kill it, start it again, and show what became of it.

A project of its own beside yours, on free ports, removed at the end. It kills processes of containers by their id, so
the engine must run on this machine and the caller must be root. Kibana stays out, but for a silent one at the end; the
rest is as compose has it.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from stack.ports import pick_free_ports
from stack.waiting import wait_until

ROOT = Path(__file__).parents[2]
COMPOSE = ["docker", "compose", "--project-name", "ebb-trial"]
SERVERS = ("kafka", "redis", "elasticsearch")
KILLED = (*SERVERS, "stream_processor", "scorer", "es_ingest", "producer")
SERVICES = (*KILLED, "analytics")
WAIT_S = 240
SHOP = {"SIMULATED_CUSTOMERS": "400", "SIMULATED_EVENTS": "12000", "EVENTS_PER_SECOND": "2"}

TOPIC_ENDS = """
from kafka import KafkaConsumer, TopicPartition
import os
consumer = KafkaConsumer(bootstrap_servers=os.environ["KAFKA_BOOTSTRAP_SERVERS"])
for topic in ("events", "dead-letters"):
    ends = consumer.end_offsets([TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)])
    print(topic, sum(ends.values()))
"""


class StepFailed(RuntimeError):
    """A command of a step failed; says which, and what it and the containers said."""


class Counts(NamedTuple):
    """What lies in the servers: messages of topic events, customers and rank of Redis, documents of Elasticsearch."""

    topic_events: int
    redis_customers: int
    redis_ranked: int
    index_events: int
    index_customers: int

    @property
    def are_settled(self) -> bool:
        """Whether every event has come everywhere."""
        return self.index_events == self.topic_events and self.index_customers == self.redis_customers


def compose(*arguments: str, check: bool = True, timeout_s: float = 1200) -> subprocess.CompletedProcess[str]:
    """Run docker compose on the project; its output is kept, and shown where it fails."""
    done = subprocess.run(
        [*COMPOSE, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout_s
    )
    if check and done.returncode:
        said = done.stderr[-1000:] + compose("logs", "--tail", "5", check=False).stdout[-20_000:]
        raise StepFailed(f"docker compose {' '.join(arguments)} ended with {done.returncode}:\n{said}")
    return done


def inside(service: str, script: str, check: bool = True) -> str:
    """What a shell in the service's container prints."""
    return compose("exec", "-T", service, "sh", "-c", script, check=check).stdout.strip()


def up(*more: str) -> None:
    compose("up", "-d", "--wait", "--wait-timeout", "600", *more)


def containers() -> dict[str, dict[str, object]]:
    """What the engine says of every container, by service."""
    ids = compose("ps", "--all", "--quiet").stdout.split()
    found = json.loads(subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True).stdout)
    return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in found}


def as_redis(user: str, command: str) -> str:
    return inside("redis", f"REDISCLI_AUTH=$REDIS_{user.upper()}_PASSWORD redis-cli --user {user} {command}")


def as_reader(request: str) -> dict[str, object]:
    """Elasticsearch's answer to a person who reads boards."""
    script = f"""printf 'user = "reader:%s"' "$ELASTICSEARCH_READER_PASSWORD" | curl -sS --config - {request}"""
    answer: dict[str, object] = json.loads(inside("elasticsearch", script))
    return answer


def index_count(index: str) -> int:
    return int(str(as_reader(f"'http://localhost:9200/{index}/_count?ignore_unavailable=true'").get("count", 0)))


def counts() -> Counts:
    ends = dict(
        line.split() for line in compose("exec", "-T", "scorer", "python", "-c", TOPIC_ENDS).stdout.splitlines()
    )
    return Counts(
        int(ends["events"]),
        len(as_redis("admin", "--scan --pattern 'customer:*'").split()),
        int(as_redis("success", "ZCARD risk:ranking")),
        index_count("events-*"),
        index_count("customers"),
    )


def settled() -> Counts:
    """The counts, once nothing is under way any more; with the producer stopped."""
    found = [counts()]

    def are_settled() -> bool:
        found.append(counts())
        return found[-1].are_settled and found[-1] == found[-2]

    if not wait_until(are_settled, WAIT_S, poll_s=2):
        raise StepFailed(f"not settled after {WAIT_S} s: {found[-1]}")
    return found[-1]


def state_of(service: str) -> tuple[int, str]:
    container = containers()[service]
    state = container["State"]
    assert isinstance(state, dict)
    return int(str(container["RestartCount"])), str(state.get("Health", {}).get("Status", state["Status"]))


class Trial:
    """The rows of the table, and whether every one of them is right."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.rows: list[tuple[str, str, bool, float]] = []
        self._began = time.monotonic()

    def row(self, what: str, found: str, is_right: bool) -> None:
        """Note a row and say it at once."""
        elapsed_s, self._began = time.monotonic() - self._began, time.monotonic()
        self.rows.append((what, found, is_right, elapsed_s))
        self._console.print(f"{'right' if is_right else 'WRONG'}  {what}: {found} ({elapsed_s:.0f} s)", soft_wrap=True)

    def show(self) -> None:
        table = Table("step", "found", "is right", "seconds")
        for what, found, is_right, elapsed_s in self.rows:
            table.add_row(what, found[:300], "yes" if is_right else "NO", f"{elapsed_s:.0f}")
        self._console.print(table)


def starts(trial: Trial) -> None:
    up("--build")
    health = {name: state_of(name)[1] for name in SERVICES}
    trial.row("first `up --build --wait`", f"{len(SERVICES)} services healthy", set(health.values()) == {"healthy"})


def is_restricted(trial: Trial) -> None:
    """Nobody is root, nobody has rights of root, and no password is in a log or in an argument."""
    users = {name: inside(name, "id -u; grep CapEff /proc/1/status | cut -f2").split() for name in SERVICES}
    root = [name for name, (user, rights) in users.items() if user == "0" or int(rights, 16)]
    trial.row("users and rights", f"as root or with rights: {root or 'none'}", not root)
    text = (ROOT / ".env").read_text(encoding="utf-8")
    passwords = [value for value in re.findall(r"^\w+_PASSWORD=(.+)$", text, re.MULTILINE) if value]
    logs = compose("logs", "--no-color").stdout
    arguments = "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in process_ids())
    seen = [value[:4] for value in passwords if value in logs or value in arguments]
    trial.row(f"{len(passwords)} passwords", f"in logs or arguments: {seen or 'none'}", bool(passwords) and not seen)
    written = as_redis("success", "HSET customer:x risk 0"), as_redis("success", "KEYS '*'")
    index = as_reader("-X DELETE http://localhost:9200/customers").get("status")
    refused = all(answer.startswith("NOPERM") for answer in written) and index == 403
    trial.row("`success` and `reader` cannot write", f"{written[0][:40]}…, Elasticsearch: {index}", refused)


def process_ids() -> list[int]:
    """The processes of every container, as this machine numbers them."""
    found = []
    for name in SERVICES:
        ids = compose("ps", "--quiet", name).stdout.split()
        listed = subprocess.run(["docker", "top", *ids, "-eo", "pid"], capture_output=True, text=True, check=True)
        found += [int(line) for line in listed.stdout.split()[1:]]
    return [pid for pid in found if Path(f"/proc/{pid}").exists()]


def heals(trial: Trial, service: str) -> None:
    """Kill the container's first process as a crash would; the engine must start it, and the events go on."""
    container = containers()[service]
    restarts, _ = state_of(service)
    state = container["State"]
    assert isinstance(state, dict)
    os.kill(int(state["Pid"]), signal.SIGKILL)
    is_back = wait_until(lambda: state_of(service) == (restarts + 1, "healthy"), WAIT_S, poll_s=2)
    goal = counts().topic_events
    goes_on = wait_until(lambda: counts().topic_events > goal, WAIT_S, poll_s=2)
    goal = counts().topic_events
    arrives = wait_until(lambda: index_count("events-*") >= goal, WAIT_S, poll_s=2)
    # A worker ends and is started again when it cannot be sure of what it wrote.
    is_well = wait_until(lambda: {state_of(name)[1] for name in SERVICES} == {"healthy"}, WAIT_S, poll_s=2)
    is_right = is_back and goes_on and arrives and is_well
    trial.row(f"kill -9 {service}", f"came back: {is_back}, events go on: {goes_on and arrives}", is_right)


def second_up_changes_nothing(trial: Trial) -> None:
    before, ids = counts(), {name: each["Id"] for name, each in containers().items()}
    began = {name: each["State"]["StartedAt"] for name, each in containers().items() if name in SERVICES}  # type: ignore[index]
    up()
    after, now = counts(), containers()
    is_same = ids == {name: each["Id"] for name, each in now.items()}
    is_same &= began == {name: now[name]["State"]["StartedAt"] for name in SERVICES}  # type: ignore[index]
    # The producer goes on; a replay of the history, or a second shop, would be thousands of events and new customers.
    grown = after.topic_events - before.topic_events
    is_right = is_same and grown < 1000 and after.redis_customers - before.redis_customers < 20
    trial.row("second `up`", f"{len(ids)} containers the same: {is_same}, {grown} live events meanwhile", is_right)


def survives_reboot(trial: Trial) -> None:
    compose("stop", "producer")
    before = settled()
    trial.row("settled", f"{before}", True)
    compose("down")
    up("--scale", "producer=0")
    after = settled()
    trial.row("`down`, `up`", f"{after}", before == after)


def comes_up_without_kibana(trial: Trial) -> None:
    """A Kibana that starts and never answers: the import says so and ends, everything else runs."""
    compose("down")
    override = ROOT / "tests" / "compose" / "silent_kibana.yml"
    os.environ["KIBANA_IMPORT_TIMEOUT_S"] = "5"
    with_kibana = ["-f", "docker-compose.yml", "-f", str(override), "--profile", "kibana"]
    done = compose(*with_kibana, "up", "-d", "--wait", "--wait-timeout", "600", check=False)
    said = compose(*with_kibana, "logs", "--no-color", "--no-log-prefix", "kibana-import").stdout.strip().splitlines()
    is_well = wait_until(lambda: {state_of(name)[1] for name in SERVICES} == {"healthy"}, WAIT_S, poll_s=2)
    is_right = done.returncode == 1 and "was not ready after 5 s" in said[-1] and is_well
    trial.row("silent Kibana", f"`up` ended with {done.returncode}, {said[-1]}; the rest runs: {is_well}", is_right)


@contextmanager
def project() -> Iterator[None]:
    """The project of the trial alone, before and after."""
    ports = dict(zip(("KAFKA", "REDIS", "ELASTICSEARCH", "KIBANA"), pick_free_ports(4), strict=True))
    os.environ.update({f"{name}_PORT": str(port) for name, port in ports.items()}, COMPOSE_PROFILES="", **SHOP)
    compose("down", "--volumes", "--remove-orphans")
    try:
        yield
    finally:
        compose("down", "--volumes", "--remove-orphans", check=False)


def main() -> int:
    """0: everything is as promised; 1: the table says what is not."""
    if not (ROOT / ".env").exists():
        raise SystemExit("there is no .env: run `make env`")
    trial = Trial(Console(width=None if sys.stdout.isatty() else 150))
    steps: dict[str, Callable[[Trial], None]] = {"first `up`": starts, "users": is_restricted}
    steps |= {f"kill -9 {name}": partial(heals, service=name) for name in KILLED}
    steps |= {"second `up`": second_up_changes_nothing, "reboot": survives_reboot, "Kibana": comes_up_without_kibana}
    with project():
        for name, step in steps.items():
            try:
                step(trial)
            except StepFailed as error:
                trial.row(name, str(error), False)
    trial.show()
    return 0 if all(is_right for _, _, is_right, _ in trial.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
