"""The command line: `python -m stack up | down | status`."""

import argparse
import json
import logging
import sys
from pathlib import Path

from stack.errors import NotRunning, StackError
from stack.pipeline import Pipeline
from stack.progress import show_progress
from stack.stack import SERVICE_NAMES, Stack

log = logging.getLogger("stack")  # under `python -m`, __name__ is not in the package

DEFAULT_DIRECTORY = Path(".ebb/stack")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except (StackError, OSError) as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stack: interrupted; `status` shows what runs, `down` stops it", file=sys.stderr)
        return 130
    return 0


def _up(options: argparse.Namespace) -> None:
    if options.pipeline:
        Pipeline(options.dir).start()
        return
    chosen = {name: getattr(options, f"{name}_port") for name in SERVICE_NAMES}
    ports = {name: port for name, port in chosen.items() if port is not None}
    stack = Stack(options.dir, options.services or SERVICE_NAMES, ports=ports, free_ports=options.free_ports)
    stack.start()


def _down(options: argparse.Namespace) -> None:
    pipeline = Pipeline(options.dir)
    if not pipeline.running:
        log.info("nothing runs in %s", options.dir)
    if options.purge:
        pipeline.purge()
        log.info("removed what lay in %s", options.dir)
    else:
        pipeline.stop()


def _status(options: argparse.Namespace) -> None:
    pipeline = Pipeline(options.dir)
    if not pipeline.running:
        raise NotRunning(f"nothing runs in {options.dir}; start it with `python -m stack up`")
    if options.json:
        print(json.dumps(status(pipeline)))
    else:
        for service in pipeline.running:
            print(f"{service.name:<17} {service.url:<34} pid {service.pid:<8} {service.log_file}")


def status(pipeline: Pipeline) -> dict[str, object]:
    """The addresses of the servers that run, under the names of the project's settings, and the pids of everything."""
    keys = {"kafka": "kafka", "redis": "redis_url", "elasticsearch": "elasticsearch_url"}
    addresses = {keys[server.name]: server.url for server in pipeline.servers.running}
    return {**addresses, "pids": {service.name: service.pid for service in pipeline.running}}


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--dir", type=Path, default=DEFAULT_DIRECTORY, help="where data and logs lie (default: %(default)s)"
    )
    parser = argparse.ArgumentParser(prog="python -m stack", description=sys.modules["stack"].__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    up = commands.add_parser("up", parents=[common], help="start the servers and return when they are ready")
    names = ", ".join(SERVICE_NAMES)
    up.add_argument("services", nargs="*", metavar="SERVICE", type=_service_name, help=f"{names} (default: all)")
    for name in SERVICE_NAMES:
        up.add_argument(f"--{name}-port", type=int, metavar="N", help=f"port of {name} on 127.0.0.1")
    up.add_argument("--free-ports", action="store_true", help="take any free port where none is given")
    up.add_argument("--pipeline", action="store_true", help="start the services of Ebb too, after their topics")
    up.set_defaults(command=_up)

    down = commands.add_parser("down", parents=[common], help="stop the servers; data stay")
    down.add_argument("--purge", action="store_true", help="remove the data too")
    down.set_defaults(command=_down)

    status_of = commands.add_parser("status", parents=[common], help="show what runs and where")
    status_of.add_argument("--json", action="store_true", help="for programs")
    status_of.set_defaults(command=_status)
    return parser


def _service_name(text: str) -> str:
    """Stands in for argparse's `choices`, which in Python 3.11 refuses an empty list of words."""
    if text not in SERVICE_NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(SERVICE_NAMES)}")
    return text


if __name__ == "__main__":
    show_progress()
    sys.exit(main())
