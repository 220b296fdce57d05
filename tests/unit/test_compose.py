"""docker-compose.yml and .env.example against what the project promises of them and what its settings are."""

import os
import re
import shutil
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from churn import settings
from es_ingest import templates

ROOT = Path(__file__).parents[2]
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_TEXT)["services"]
OWN_IMAGE = "ebb:local"
OWN = {name: service for name, service in SERVICES.items() if service["image"] == OWN_IMAGE}
ONE_SHOTS = {"topics", "templates", "history", "training", "replay-history"}
SERVERS = {
    "kafka": "apache/kafka:4.2.0",
    "redis": "redis:8-alpine",
    "elasticsearch": "elasticsearch:8.19.21",
    "kibana": "kibana:8.19.21",
}
ACCESS = ROOT / "stack" / "access"
PASSWORDS = {
    "REDIS_ADMIN_PASSWORD",
    "REDIS_STREAM_PROCESSOR_PASSWORD",
    "REDIS_SCORER_PASSWORD",
    "REDIS_SUCCESS_PASSWORD",
    "ELASTICSEARCH_ADMIN_PASSWORD",
    "ELASTICSEARCH_INGEST_PASSWORD",
    "ELASTICSEARCH_ANALYTICS_PASSWORD",
    "ELASTICSEARCH_BOARDS_PASSWORD",
    "ELASTICSEARCH_READER_PASSWORD",
    "KIBANA_PASSWORD",
}
# The user of each service; the servers, which make the users, know all of theirs.
USERS = {
    "analytics": ("ELASTICSEARCH_ANALYTICS_PASSWORD", "analytics"),
    "training": ("ELASTICSEARCH_ANALYTICS_PASSWORD", "analytics"),
    "stream_processor": ("REDIS_STREAM_PROCESSOR_PASSWORD", "redis://stream_processor:"),
    "scorer": ("REDIS_SCORER_PASSWORD", "redis://scorer:"),
    "es_ingest": ("ELASTICSEARCH_INGEST_PASSWORD", "es_ingest"),
    "templates": ("ELASTICSEARCH_INGEST_PASSWORD", "es_ingest"),
    "kibana-import": ("ELASTICSEARCH_BOARDS_PASSWORD", "boards"),
    "kibana": ("KIBANA_PASSWORD", "ebb-kibana"),
}
# What compose chooses for its containers, whatever .env says of the host.
CHOSEN_BY_COMPOSE = {"LOG_FORMAT"}

VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([-?])([^}]*))?\}")
EXAMPLE_LINE = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]*)=(.*)$")


def example() -> dict[str, str]:
    """Every variable of .env.example, set or commented out, with its value."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    return {found[1]: found[2] for found in map(EXAMPLE_LINE.match, lines) if found}


def setting_defaults() -> dict[str, str]:
    """Every variable that churn.settings reads, with its default as .env would say it."""
    return {name.upper(): _as_text(field.default) for each in settings.ALL for name, field in each.model_fields.items()}


def _as_text(default: object) -> str:
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return "" if default is None else str(default)


def passed_on() -> set[str]:
    """Variables that a container is given under their own name, if .env sets them."""
    return {
        name for service in SERVICES.values() for name, value in service.get("environment", {}).items() if value is None
    }


# --- images -----------------------------------------------------------------------------------------------------------


def test_servers_run_the_pinned_images() -> None:
    assert {name: service["image"] for name, service in SERVICES.items() if name not in OWN} == SERVERS


def test_our_image_is_built_here_once_on_the_pinned_python() -> None:
    assert [name for name, service in OWN.items() if "build" in service] == ["topics"]
    bases = re.findall(r"^FROM\s+(\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert bases == ["python:3.12-slim"]


def test_no_image_is_looked_up_anew_at_every_start() -> None:
    assert not [name for name, service in SERVICES.items() if "pull_policy" in service]


def test_the_image_installs_only_what_the_lock_file_names_with_its_hash() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"pip install .*", text) == [
        "pip install --no-cache-dir --only-binary=:all: --require-hashes -r /app/requirements.lock"
    ]


@pytest.mark.parametrize("name", sorted(OWN))
def test_what_a_container_runs_is_copied_into_the_image(name: str) -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    modules = re.findall(r"python -m (\w+)", " ".join(OWN[name]["command"]))
    assert modules
    for module in modules:
        assert f"COPY {module} /app/{module}\n" in text
        assert f"!{module}/" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


# --- what a container may do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_port_is_open_to_this_machine_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z]+_PORT:-\d+\}:\d+", port)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_has_a_limit_of_memory_and_no_rights_of_root(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid"} & set(service)


@pytest.mark.parametrize("name", sorted(OWN))
def test_our_containers_run_as_the_user_of_the_image_and_write_to_their_volumes_only(name: str) -> None:
    assert OWN[name]["user"] == "10001:10001"
    assert "useradd --uid 10001 " in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert OWN[name]["read_only"] is True
    assert OWN[name]["tmpfs"] == ["/tmp"]


# --- users and passwords ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"redis", "elasticsearch"}))
def test_a_service_knows_the_password_of_its_own_user_alone(name: str) -> None:
    environment = {key: value or "" for key, value in SERVICES[name].get("environment", {}).items()}
    known = set(re.findall(r"\w+_PASSWORD", " ".join(map(str, environment.values()))))
    password, said = USERS.get(name, (None, ""))
    assert known == ({password} if password else set())
    who = environment.get("ELASTICSEARCH_USERNAME") or environment.get("REDIS_URL", "")
    assert who.startswith(said)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_password_is_an_argument_of_a_process(name: str) -> None:
    """Compose would put it in before Docker sees it; `$$` is left to the shell inside, whose words are no arguments."""
    service = SERVICES[name]
    said = [*service.get("command", []), *service.get("healthcheck", {}).get("test", [])]
    assert not [word for word in said if re.search(r"(?<!\$)\$\{?\w*PASSWORD", word)]
    assert not [word for word in said if re.search(r"(-u|-p|--pass|-a)\s+\S*PASSWORD", word)]


def test_the_users_of_redis_are_those_of_the_services_and_nobody_else_gets_in() -> None:
    lines = (ACCESS / "redis-users.acl").read_text(encoding="utf-8").splitlines()
    users = {line.split()[1]: line for line in lines}
    assert set(users) == {"default", "admin", "stream_processor", "scorer", "success"}
    assert users.pop("default").split()[2] == "off"
    for name, rules in users.items():
        assert f">$REDIS_{name.upper()}_PASSWORD" in rules
        assert "nopass" not in rules
        assert ("+@all" in rules) == (name == "admin")


def test_every_role_given_to_a_user_of_elasticsearch_exists() -> None:
    given = re.findall(r"^user (\S+) (\S+) (\S+)$", (ACCESS / "elasticsearch.sh").read_text(encoding="utf-8"), re.M)
    roles = yaml.safe_load((ACCESS / "roles.yml").read_text(encoding="utf-8"))
    assert {role for _, role, _ in given} == {"superuser", "kibana_system", *roles}
    assert {variable for *_, variable in given} == {each for each in PASSWORDS if not each.startswith("REDIS")}
    assert len({name for name, *_ in given}) == len(given)


def test_the_roles_name_every_index_of_the_templates() -> None:
    roles = yaml.safe_load((ACCESS / "roles.yml").read_text(encoding="utf-8"))
    for role in ("ebb_ingest", "ebb_reader", "ebb_boards"):
        named = [name for each in roles[role]["indices"] for name in each["names"]]
        for template in templates.ALL:
            assert any(fnmatchcase(template.pattern, name) for name in named), (role, template.pattern)


def make_env(directory: Path) -> subprocess.CompletedProcess[str]:
    """`make env` in a project of its own, below a user's generous umask."""
    (directory / "stack" / "access").mkdir(parents=True, exist_ok=True)
    for name in (".env.example", "stack/access/env.sh", "Makefile"):
        shutil.copy(ROOT / name, directory / name)
    return subprocess.run(
        ["make", "env"], cwd=directory, capture_output=True, text=True, check=False, preexec_fn=lambda: os.umask(0o022)
    )


def test_make_env_sets_every_password_at_random_for_its_owner_alone(tmp_path: Path) -> None:
    done = [make_env(tmp_path / name) for name in ("one", "other")]
    written = [tmp_path / name / ".env" for name in ("one", "other")]
    values = [line.partition("=")[2] for each in written for line in lines_of(each) if "_PASSWORD=" in line[:40]]
    values = [value for value in values if value]
    assert [each.returncode for each in done] == [0, 0]
    assert len(set(values)) == len(values) == 2 * len(PASSWORDS)
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in values)
    assert {each.stat().st_mode & 0o777 for each in written} == {0o600}
    assert not [value for value in values for each in done if value in each.stdout + each.stderr]
    assert not [left for left in (tmp_path / "one").glob(".env.*") if left.name != ".env.example"]


def test_make_env_changes_nothing_that_is_there_and_names_what_it_lacks(tmp_path: Path) -> None:
    make_env(tmp_path)
    before = (tmp_path / ".env").read_text(encoding="utf-8")
    assert make_env(tmp_path).returncode == 0
    assert (tmp_path / ".env").read_text(encoding="utf-8") == before
    (tmp_path / ".env").write_text("REDIS_ADMIN_PASSWORD=own\nKIBANA_PASSWORD=\n", encoding="utf-8")
    refused = make_env(tmp_path)
    assert refused.returncode != 0
    assert set(re.findall(r"\w+_PASSWORD", refused.stderr)) == PASSWORDS - {"REDIS_ADMIN_PASSWORD"}
    assert lines_of(tmp_path / ".env") == ["REDIS_ADMIN_PASSWORD=own", "KIBANA_PASSWORD="]


def lines_of(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


# --- starting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOTS - {"kibana-import"}))
def test_a_service_tells_its_health_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(ONE_SHOTS))
def test_a_one_shot_ends_and_somebody_waits_for_its_success(name: str) -> None:
    """`docker compose up --wait` takes the end of a container for a fault unless another one waits for it."""
    assert SERVICES[name]["restart"] == "no"
    waiting = [service["depends_on"][name] for service in SERVICES.values() if name in service.get("depends_on", {})]
    assert waiting
    assert {each["condition"] for each in waiting} == {"service_completed_successfully"}


def test_everything_starts_without_kibana() -> None:
    only_with_kibana = {name for name, service in SERVICES.items() if service.get("profiles") == ["kibana"]}
    assert only_with_kibana == {"kibana", "kibana-import"}
    for name in set(SERVICES) - only_with_kibana:
        assert not only_with_kibana & set(SERVICES[name].get("depends_on", {}))


def test_only_a_healthy_server_is_waited_for() -> None:
    """But Kibana, which its import waits for by itself, to say so when it does not come."""
    for service in SERVICES.values():
        for other, dependency in service.get("depends_on", {}).items():
            if other in set(SERVERS) - {"kibana"}:
                assert dependency["condition"] == "service_healthy"


# --- variables --------------------------------------------------------------------------------------------------------


def test_nothing_starts_before_the_passwords_are_set() -> None:
    required = {name for name, kind, _ in VARIABLE.findall(COMPOSE_TEXT) if kind == "?"}
    assert required == PASSWORDS
    assert all(example()[name] == "" for name in PASSWORDS)
    assert not [name for name, kind, _ in VARIABLE.findall(COMPOSE_TEXT) if name in PASSWORDS and kind != "?"]


def test_every_variable_of_compose_is_in_the_example() -> None:
    used = {name for name, _, _ in VARIABLE.findall(COMPOSE_TEXT)} | passed_on()
    assert used - set(example()) == set()


def test_a_default_is_the_same_in_compose_and_in_the_example() -> None:
    defaults = {
        name: default
        for name, kind, default in VARIABLE.findall(COMPOSE_TEXT)
        if kind == "-" and name not in CHOSEN_BY_COMPOSE
    }
    assert defaults == {name: example()[name] for name in defaults}


def test_every_setting_is_in_the_example_with_its_default() -> None:
    assert {name: example().get(name) for name in setting_defaults()} == setting_defaults()


def test_every_variable_of_the_example_is_used() -> None:
    used = {name for name, _, _ in VARIABLE.findall(COMPOSE_TEXT)} | passed_on()
    assert set(example()) - used - set(setting_defaults()) == {"COMPOSE_PROFILES"}


def test_every_variable_of_the_example_is_explained() -> None:
    text = (ROOT / ".env.example").read_text(encoding="utf-8")
    for paragraph in text.split("\n\n"):
        lines = paragraph.splitlines()
        if any(EXAMPLE_LINE.match(line) for line in lines):
            assert lines[0].startswith("# ")
            assert not EXAMPLE_LINE.match(lines[0])


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_container_is_given_settings_that_exist(name: str) -> None:
    of_the_service = {"HEALTH_GROUP", "APP_DATADIR", "RATE", "CUSTOMERS", "EVENTS", "DAYS", "SEED", "TIMEOUT"}
    assert set(OWN[name]["environment"]) - of_the_service <= set(setting_defaults())
