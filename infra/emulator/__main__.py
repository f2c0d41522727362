"""`python -m infra.emulator run|up|down`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from infra.emulator.manifests import ManifestError
from infra.emulator.run import run
from infra.emulator.servers.errors import ServerError, SetupError
from infra.emulator.stack import Usage
from infra.emulator.up import down, keep, up
from shared.contracts.errors import BadSetting, KubeFinOpsError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.emulator", description=__doc__)
    parser.add_argument("verb", choices=("run", "up", "keep", "down"))
    parser.add_argument("--traces", type=Path, help="folder of measured usage; default: generated profiles")
    parser.add_argument("--seed", type=int, default=7, help="of the generated profiles")
    parser.add_argument("--past", type=Path, help="folder of a demo and its history that were made before")
    arguments = parser.parse_args()
    usage = Usage(arguments.traces, arguments.past, arguments.seed)
    if arguments.traces is not None and not arguments.traces.is_dir():
        print(f"emulator: TRACES: {arguments.traces} is no folder", file=sys.stderr)
        return 2
    # SIGTERM ends it as Ctrl-C does: every child first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    verbs: dict[str, Callable[[], int]] = {
        "run": lambda: run(usage),
        "up": lambda: up(usage),
        "keep": lambda: keep(usage),
        "down": down,
    }
    try:
        return verbs[arguments.verb]()
    except KeyboardInterrupt:
        print("emulator: interrupted; everything that it started has ended", file=sys.stderr)
        return 130
    except (SetupError, BadSetting) as error:
        print(f"emulator: {error}", file=sys.stderr)
        return 2
    except (ServerError, ManifestError, KubeFinOpsError) as error:
        print(f"emulator: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
