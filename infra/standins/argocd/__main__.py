"""`python -m infra.standins.argocd`: serves until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from infra.standins import scenario
from infra.standins.argocd.api import Api
from infra.standins.argocd.application import ApplicationError
from infra.standins.argocd.controller import Controller
from infra.standins.argocd.kube import Cluster
from infra.standins.argocd.notifications import Notifier
from infra.standins.argocd.render import Repositories
from infra.standins.argocd.server import Server


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    notifier = Notifier(options.webhook, options.webhook_token) if options.webhook else None
    try:
        controller = Controller(
            scenario.load(options.scenario).applications,
            Repositories(options.repos),
            Cluster(options.cluster),
            *((notifier.observe,) if notifier else ()),
        )
        server = Server(options.port, Api(controller, options.token))
    except (scenario.ScenarioError, ApplicationError, OSError) as error:
        print(f"argocd: {error}", file=sys.stderr)
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    loops = [
        threading.Thread(target=controller.run, args=(stop, options.poll), name="controller", daemon=True),
        threading.Thread(target=server.serve_forever, args=(0.05,), name="api", daemon=True),
    ]
    for loop in loops:
        loop.start()
    print(f"ready {server.url}", flush=True)
    while not stop.wait(1.0):  # with a timeout, so that a signal is seen
        pass
    controller.wake()
    server.shutdown()
    if notifier:
        notifier.close()
    loops[0].join(5.0)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.standins.argocd", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="0 takes any free port")
    parser.add_argument("--scenario", type=Path, required=True, help="JSON file with the Applications")
    parser.add_argument("--cluster", required=True, help="address of the Kubernetes API")
    parser.add_argument("--repos", type=Path, required=True, help="holds <owner>/<name>.git")
    parser.add_argument("--token", required=True, help="what clients send as bearer token")
    parser.add_argument("--webhook", help="where notifications go")
    parser.add_argument("--webhook-token", default="", help="sent with them as bearer token")
    parser.add_argument("--poll", type=float, default=1.0, help="seconds between passes (default: 1)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
