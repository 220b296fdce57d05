"""The cache holds complete trees only, fetched once, whoever asks and whatever is interrupted."""

import threading
from pathlib import Path

import pytest

from stack import downloads
from stack.errors import DownloadFailed


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EBB_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fetch_one_file(pom: str, target: Path) -> None:
    target.mkdir()
    (target / "file.jar").write_text(pom)


def test_the_cache_lies_in_the_home_directory_unless_told_otherwise(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert downloads.cache_directory() == cache
    monkeypatch.delenv("EBB_CACHE_DIR")
    assert downloads.cache_directory() == Path.home() / ".cache" / "ebb"


def test_what_is_cached_is_not_fetched_again() -> None:
    def must_not_fetch(pom: str, target: Path) -> None:
        raise AssertionError(target)

    first = downloads._cached("server", "pom", fetch_one_file)
    assert downloads._cached("server", "pom", must_not_fetch) == first
    assert (first / "file.jar").read_text() == "pom"


def test_another_version_is_another_directory() -> None:
    assert downloads._cached("server", "1.0", fetch_one_file) != downloads._cached("server", "1.1", fetch_one_file)


def test_an_interrupted_download_leaves_nothing_behind(cache: Path) -> None:
    def interrupted(pom: str, target: Path) -> None:
        fetch_one_file(pom, target)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        downloads._cached("server", "pom", interrupted)
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []
    assert downloads._cached("server", "pom", fetch_one_file).is_dir()


def test_two_at_once_fetch_once() -> None:
    fetched: list[Path] = []
    has_begun, may_end = threading.Event(), threading.Event()

    def slow(pom: str, target: Path) -> None:
        fetched.append(target)
        has_begun.set()
        assert may_end.wait(timeout=10)
        fetch_one_file(pom, target)

    threads = [threading.Thread(target=downloads._cached, args=("server", "pom", slow)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert has_begun.wait(timeout=10)
    may_end.set()
    for thread in threads:
        thread.join(timeout=10)
    assert len(fetched) == 1


def test_a_failure_of_maven_shows_what_maven_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho 'no such artefact'\nexit 3\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(DownloadFailed, match=r"ended with 3(.|\n)*no such artefact"):
        downloads.kafka_jars()


def test_the_project_names_no_registry() -> None:
    assert "http" not in downloads.KAFKA_POM + downloads.ELASTICSEARCH_POM
