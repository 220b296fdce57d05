"""An Elasticsearch node of the trimmed distribution, which refuses to run as root and has no `GET /`."""

import http.client
import json
import os
import pwd
import shutil
import ssl
from pathlib import Path

from stack import downloads, ports, programs
from stack.ports import HOST
from stack.service import Service

# The node attaches an agent to itself before it starts; on a busy machine that takes longer than the usual 10 s.
ELASTICSEARCH_JVM = """\
-Xms{heap}
-Xmx{heap}
-XX:+UseG1GC
-XX:+ExitOnOutOfMemoryError
-Djava.io.tmpdir=${{ES_TMPDIR}}
-Dorg.apache.lucene.store.MMapDirectory.sharedArenaMaxPermits=1
-Dsun.tools.attach.attachTimeout=60000
"""

# Only to the console, which is the service's log file: the default also writes four rolling files.
ELASTICSEARCH_LOGGING = """\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%-25c{1.}] [%node_name]%marker %m%consoleException%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


class ElasticsearchServer(Service):
    """One Elasticsearch node, reachable from this machine only; without security unless `settings` turn it on."""

    name = "elasticsearch"
    default_port = 9200
    heap = "512m"

    @property
    def url(self) -> str:
        return f"{'https' if self._is_encrypted else 'http'}://{self.address}"

    @property
    def _is_encrypted(self) -> bool:
        return self.settings.get("xpack.security.http.ssl.enabled") == "true"

    @property
    def _configuration(self) -> Path:
        return self.directory / "config"

    @property
    def _temporary(self) -> Path:
        return self.directory / "tmp"

    def prepare(self) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)  # every start leaves a few files there
        for directory in (self.data_directory, self._configuration, self._temporary):
            directory.mkdir(exist_ok=True)
        settings = {
            "cluster.name": "ebb",
            "node.name": "ebb",
            "discovery.type": "single-node",
            "network.host": HOST,
            "http.port": str(self.port),
            "transport.port": str(ports.free_port(ports.INNER_PORTS)),
            "path.data": str(self.data_directory),
            "path.logs": str(self.directory / "logs"),
            "xpack.security.enabled": "false",
            # A developer's full disk is no reason to refuse writes.
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            **self.settings,
        }
        yaml = "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())
        (self._configuration / "elasticsearch.yml").write_text(yaml)
        (self._configuration / "jvm.options").write_text(ELASTICSEARCH_JVM.format(heap=self.heap))
        (self._configuration / "log4j2.properties").write_text(ELASTICSEARCH_LOGGING)

    def command(self) -> list[str]:
        return [*_as_nobody(), str(downloads.elasticsearch_home() / "bin" / "elasticsearch")]

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ES_JAVA_HOME": str(programs.java().home),
            "ES_PATH_CONF": str(self._configuration),
            "ES_TMPDIR": str(self._temporary),
            "JDK_JAVA_OPTIONS": f'"-Djava.io.tmpdir={self._temporary}"',  # of the launcher, which ignores ES_TMPDIR
        }

    def is_ready(self) -> bool:
        connection = self._connection()
        try:
            connection.request("GET", "/_cluster/health?wait_for_status=yellow&timeout=1s")
            # 401: users are set by `settings` and files of the caller, and get in.
            return connection.getresponse().status in (http.client.OK, http.client.UNAUTHORIZED)
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self._is_encrypted:
            return http.client.HTTPConnection(HOST, self.port, timeout=5)
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE  # nothing is told to it
        return http.client.HTTPSConnection(HOST, self.port, timeout=5, context=unverified)


def _as_nobody() -> list[str]:
    """The words before a command that must not run as root; none if we are not root.

    `nobody` keeps one right of root's, to pass the permissions of files: the data and the cache lie in directories of
    root's, often closed to others, and neither their permissions nor the list of users are ours to change.
    """
    if os.geteuid() != 0:
        return []
    nobody = pwd.getpwnam("nobody")
    only = "-all,+dac_override"
    rights = [f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}"]
    user = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    # access(2) asks without the rights of a non-root user unless this bit is set; Java asks by access(2).
    return [programs.program("setpriv"), *user, *rights, "--securebits=+no_setuid_fixup"]
