"""`python -m kibana generate | import | check`: write the boards' file, import it into Kibana, prove it."""

import argparse
import sys
from pathlib import Path
from typing import Final

from elasticsearch import Elasticsearch

from churn import logs, settings
from kibana import boards, data_views, saved_objects, searches
from kibana.aggregations import BrokenPanel
from kibana.importing import ImportRefused, KibanaApi, KibanaUnavailable
from kibana.proof import ElasticsearchUnavailable, show

FILE: Final = Path(__file__).with_name("dashboards.ndjson")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logs.configure("kibana", settings.read(settings.LogSettings).log_format)
    try:
        options.command(options)
    except (KibanaUnavailable, ImportRefused, BrokenPanel, ElasticsearchUnavailable, OSError) as error:
        print(f"kibana: {error}", file=sys.stderr)
        return 1
    return 0


def generated() -> str:
    """The import file as it should be."""
    return saved_objects.ndjson(data_views.ALL, boards.ALL)


def _generate(options: argparse.Namespace) -> None:
    options.output.write_text(generated(), encoding="utf-8")
    print(f"{options.output}: {len(data_views.ALL)} data views, {len(boards.ALL)} boards")


def _import(options: argparse.Namespace) -> None:
    elastic = settings.read(settings.ElasticsearchSettings)
    password = elastic.elasticsearch_password
    kibana = KibanaApi(options.url, elastic.elasticsearch_username, password.get_secret_value() if password else None)
    kibana.wait_until_ready(options.timeout)
    count = kibana.import_objects(FILE.read_text(encoding="utf-8"))
    kibana.set_default_data_view(data_views.DEFAULT.id)
    kibana.change_settings({"defaultRoute": f"/app/dashboards#/view/{boards.LANDING.id}", "dateFormat:tz": "UTC"})
    print(f"{options.url}: {count} objects imported")


def _check(_: argparse.Namespace) -> None:
    with Elasticsearch(**settings.read(settings.ElasticsearchSettings).connection()) as client:
        for shown in show(client, searches.read(FILE.read_text(encoding="utf-8"))):
            state = "EMPTY" if shown.is_empty else f"{len(shown.rows)} rows"
            print(f"{shown.search.board:<24} {shown.search.panel:<48} {state}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m kibana", description=sys.modules["kibana"].__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    generate = commands.add_parser("generate", help="write the file that Kibana imports")
    generate.add_argument("--output", type=Path, default=FILE, help="where to (default: kibana/dashboards.ndjson)")
    generate.set_defaults(command=_generate)
    importing = commands.add_parser("import", help="wait for Kibana and import data views and boards")
    importing.add_argument("--url", default="http://127.0.0.1:5601", help="Kibana (default: %(default)s)")
    importing.add_argument("--timeout", type=float, default=300, help="seconds to wait for it (default: %(default)s)")
    importing.set_defaults(command=_import)
    check = commands.add_parser("check", help="run every panel's search on Elasticsearch; broken panels are an error")
    check.set_defaults(command=_check)
    return parser


if __name__ == "__main__":
    sys.exit(main())
