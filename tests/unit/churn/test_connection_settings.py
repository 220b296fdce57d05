"""What the environment says of names, passwords and certificates comes to each client in its own words."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from churn import kafka_access, settings
from churn.kafka_access import OPEN, KafkaSecurity
from churn.settings import ElasticsearchSettings, KafkaSettings, RedisSettings


@pytest.mark.parametrize(
    ("is_encrypted", "username", "protocol"),
    [(False, None, "PLAINTEXT"), (True, None, "SSL"), (False, "ebb", "SASL_PLAINTEXT"), (True, "ebb", "SASL_SSL")],
)
def test_both_kinds_of_clients_are_told_the_same(is_encrypted: bool, username: str | None, protocol: str) -> None:
    security = KafkaSecurity(username, SecretStr("s3cret"), is_encrypted)
    client, librdkafka = security.client_options(), security.librdkafka_options()
    assert client["security_protocol"] == librdkafka["security.protocol"] == protocol
    assert (client["ssl_context"] is not None) == is_encrypted
    assert client.get("sasl_plain_username") == librdkafka.get("sasl.username") == username
    assert client.get("sasl_plain_password") == librdkafka.get("sasl.password") == ("s3cret" if username else None)
    assert "s3cret" not in repr(security)


def test_nothing_is_asked_for_where_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (KafkaSettings, ElasticsearchSettings):
        for name in each.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
    assert kafka_access.from_settings(settings.read(KafkaSettings)) == OPEN
    assert settings.read(ElasticsearchSettings).connection() == {"hosts": "http://127.0.0.1:9200"}


@pytest.mark.parametrize(
    ("of", "variable", "content"),
    [
        (KafkaSettings, "KAFKA_CA_FILE", None),
        (RedisSettings, "REDIS_CA_FILE", "no certificate"),
        (ElasticsearchSettings, "ELASTICSEARCH_CA_FILE", ""),
    ],
)
def test_a_wrong_file_of_certificates_stops_the_start_with_its_variable(
    of: type[BaseSettings],
    variable: str,
    content: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(variable, str(file))
    with pytest.raises(SystemExit) as ended:
        settings.read(of)
    assert ended.value.code == 78
    assert capsys.readouterr().err.startswith(f"{variable}: ")
