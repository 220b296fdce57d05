"""The command line: `python -m stack up | down | status`."""

import argparse
import json
import logging
import sys
from pathlib import Path

from stack.errors import NotRunning, StackError
from stack.stack import SERVICE_NAMES, Stack

log = logging.getLogger("stack")  # under `python -m`, __name__ is not in the package

DEFAULT_DIRECTORY = Path(".ebb/stack")


class ElapsedFormatter(logging.Formatter):
    """One line per step, with the seconds since the command began."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.relativeCreated / 1000:6.1f} s  {record.getMessage()}"


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
    chosen = {name: getattr(options, f"{name}_port") for name in SERVICE_NAMES}
    ports = {name: port for name, port in chosen.items() if port is not None}
    stack = Stack(options.dir, options.services or SERVICE_NAMES, ports=ports, free_ports=options.free_ports)
    stack.start()


def _down(options: argparse.Namespace) -> None:
    stack = Stack(options.dir)
    if not stack.running:
        log.info("nothing runs in %s", stack.directory)
    if options.purge:
        stack.purge()
        log.info("removed what lay in %s", stack.directory)
    else:
        stack.stop()


def _status(options: argparse.Namespace) -> None:
    stack = Stack(options.dir)
    if not stack.running:
        raise NotRunning(f"nothing runs in {stack.directory}; start it with `python -m stack up`")
    if options.json:
        print(json.dumps(status(stack)))
    else:
        for service in stack.running:
            print(f"{service.name:<14} {service.url:<28} pid {service.pid:<8} {service.log_file}")


def status(stack: Stack) -> dict[str, object]:
    """The addresses of what runs, under the names of the project's settings, and the pids by service."""
    keys = {"kafka": "kafka", "redis": "redis_url", "elasticsearch": "elasticsearch_url"}
    addresses = {keys[service.name]: service.url for service in stack.running}
    return {**addresses, "pids": {service.name: service.pid for service in stack.running}}


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


def _show_progress() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(ElapsedFormatter())
    log.addHandler(handler)
    log.setLevel(logging.INFO)


if __name__ == "__main__":
    _show_progress()
    sys.exit(main())
