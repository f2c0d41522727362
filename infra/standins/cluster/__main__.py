"""`python -m infra.standins.cluster`: serve the cluster, or write its history for Prometheus."""

from __future__ import annotations

import argparse
import pickle
import signal
import sys
import threading
from pathlib import Path

from infra.standins.cluster.kinds import ApiError
from infra.standins.cluster.traces import TraceError
from infra.standins.scenario import Scenario, ScenarioError, load


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.standins.cluster", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["serve", "history"], default="serve")
    parser.add_argument("--scenario", type=Path, required=True, help="the scenario's JSON file")
    parser.add_argument("--host", default="127.0.0.1", help="serve: the address to listen on")
    parser.add_argument("--port", type=int, default=0, help="serve: the port, 0 for any free one")
    parser.add_argument("--out", type=Path, help="history: the OpenMetrics file to write")
    parser.add_argument("--end", type=float, help="history: Unix time at which it ends (the scenario's now)")
    parser.add_argument("--lived", type=Path, help="serve: the same cluster, as the demo kept it")
    options = parser.parse_args(arguments)
    if options.command == "history" and options.out is None:
        parser.error("history needs --out FILE")
    try:
        scenario = load(options.scenario)
        if options.command == "history":
            return _history(scenario, options.out, options.end)
        return _serve(scenario, options.lived, options.host, options.port)
    except (ScenarioError, TraceError, ApiError, OSError) as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 2


def _history(scenario: Scenario, out: Path, end: float | None) -> int:
    from infra.standins.cluster.cluster import Cluster  # noqa: PLC0415  (a wrong option is told at once)
    from infra.standins.cluster.history import write  # noqa: PLC0415  (serving does not need it)

    if end is not None:
        scenario = scenario.model_copy(update={"now": end})
    samples = write(Cluster(scenario, lived=False), out)
    print(f"{out}: {samples} samples")
    return 0


def _serve(scenario: Scenario, lived: Path | None, host: str, port: int) -> int:
    from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: PLC0415

    from infra.standins.cluster.api import Application  # noqa: PLC0415
    from infra.standins.cluster.cluster import Cluster  # noqa: PLC0415

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Nobody reads a line for every scrape."""

    # Living through weeks takes seconds: what the demo's own history lived through is not lived again.
    cluster = pickle.loads(lived.read_bytes()) if lived else Cluster(scenario)  # noqa: S301  (the demo's)
    application = Application(cluster)
    server = make_server(host, port, application, threaded=True, request_handler=Handler)
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the loop that this handler interrupts: it must come from elsewhere.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"ready http://{host}:{server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.05)  # so long does it take to notice that it shall end
    server.server_close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
