"""Starts the stand-in: `python -m infra.standins.github --port P --root DIR --token T`."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import threading
from pathlib import Path

from werkzeug.serving import WSGIRequestHandler, make_server

from infra.standins.github.app import create_app
from infra.standins.github.webhook import Webhook

DEFAULT_LOGIN = "kubefinops-bot"
LOOPBACK = "127.0.0.1"


class QuietRequestHandler(WSGIRequestHandler):
    """Logs no requests: callers log their own, and the emulator's output stays readable."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Says nothing."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m infra.standins.github",
        description="A stand-in of the GitHub REST API over bare Git repositories, on the loopback address.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--root", type=Path, required=True, help="holds <owner>/<name>.git")
    parser.add_argument(
        "--token",
        action="append",
        required=True,
        metavar="[LOGIN=]TOKEN",
        help=f"may be given again; without LOGIN it is {DEFAULT_LOGIN}'s",
    )
    parser.add_argument("--webhook", metavar="URL", help="where events go: pull_request and push")
    parser.add_argument("--webhook-secret", metavar="SECRET", help="signs the deliveries")
    return parser.parse_args(arguments)


def logins_by_token(tokens: list[str]) -> dict[str, str]:
    """Reads LOGIN=TOKEN or TOKEN; a plain token belongs to the bot."""
    pairs = (token.split("=", 1) if "=" in token else (DEFAULT_LOGIN, token) for token in tokens)
    return {token: login for login, token in pairs}


def main(arguments: list[str]) -> int:
    options = parse_arguments(arguments)
    if not options.root.is_dir():
        print(f"--root: {options.root} is no directory", file=sys.stderr)
        return 2
    emit = Webhook(options.webhook, options.webhook_secret).emit if options.webhook else None
    app = create_app(options.root, logins_by_token(options.token), emit)
    try:
        listening = socket.create_server((LOOPBACK, options.port))
    except OSError as error:
        print(f"--port: {options.port} cannot be used: {error.strerror}", file=sys.stderr)
        return 2
    with listening:
        server = make_server(
            LOOPBACK,
            options.port,
            app,
            threaded=True,
            request_handler=QuietRequestHandler,
            fd=listening.fileno(),
        )

    def stop(_number: int, _frame: object) -> None:
        # shutdown() waits for serve_forever(), which runs in this very thread.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"ready http://{LOOPBACK}:{server.port}", flush=True)
    server.serve_forever(poll_interval=0.05)  # how long a shutdown may wait, in seconds
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
