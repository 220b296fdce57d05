"""The files of Kafka and Elasticsearch, by Maven coordinates, so that no release archive is needed.

They lie in one cache for all checkouts and test runs. A directory appears there by a rename, complete or not at
all, and a lock keeps two processes from fetching the same files at once.
"""

import hashlib
import logging
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from stack.errors import DownloadFailed
from stack.programs import program
from stack.waiting import locked

log = logging.getLogger(__name__)

KAFKA_POM = """\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>ebb</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.2.0</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.3</version>
    </dependency>
  </dependencies>
</project>
"""

# The node that Elastic publishes for integration tests; the full distribution is on no Maven repository.
ELASTICSEARCH_POM = """\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>ebb</groupId><artifactId>elasticsearch</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.elasticsearch.distribution.integ-test-zip</groupId><artifactId>elasticsearch</artifactId>
      <version>8.19.21</version><type>zip</type>
      <exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>
    </dependency>
  </dependencies>
</project>
"""


def cache_directory() -> Path:
    return Path(os.environ.get("EBB_CACHE_DIR") or Path.home() / ".cache" / "ebb")


def kafka_jars() -> Path:
    """The directory with the broker's jars, fetched on first use."""
    return _cached("kafka", KAFKA_POM, _fetch)


def elasticsearch_home() -> Path:
    """The unpacked Elasticsearch, fetched on first use; read only, every node has its own data and configuration."""
    return _cached("elasticsearch", ELASTICSEARCH_POM, _fetch_elasticsearch)


def _cached(name: str, pom: str, fetch: Callable[[str, Path], None]) -> Path:
    """The cached directory of `pom`, whose text is part of its name: a new version never meets old files."""
    cache = cache_directory().absolute()
    target = cache / f"{name}-{hashlib.sha256(pom.encode()).hexdigest()[:12]}"
    if target.is_dir():
        return target
    with locked(cache / f"{target.name}.lock"):
        if not target.is_dir():  # another process may have been faster
            log.info("%s: fetching by Maven into %s (once for this machine)", name, cache)
            with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=cache) as scratch:
                files = Path(scratch) / "files"
                fetch(pom, files)
                files.rename(target)
            log.info("%s: fetched", name)
    return target


def _fetch(pom: str, target: Path) -> None:
    pom_file = target.parent / "pom.xml"
    pom_file.write_text(pom)
    command = [program("mvn"), "--quiet", "--batch-mode", "-Dstyle.color=never", "--file", str(pom_file)]
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={target}"]
    finished = subprocess.run(command + goal, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if finished.returncode != 0:
        raise DownloadFailed(
            f"Maven ended with {finished.returncode}; it runs with your own settings.xml, so check the network and the "
            f"mirrors there, then start again:\n{finished.stdout[-3000:]}"
        )


def _fetch_elasticsearch(pom: str, target: Path) -> None:
    downloaded, unpacked = target.parent / "zip", target.parent / "unpacked"
    _fetch(pom, downloaded)
    with zipfile.ZipFile(next(downloaded.glob("elasticsearch-*.zip"))) as archive:
        archive.extractall(unpacked)
    home = next(unpacked.glob("elasticsearch-*"))
    for script in (home / "bin").iterdir():  # zipfile does not restore permissions
        script.chmod(0o755)
    home.rename(target)
