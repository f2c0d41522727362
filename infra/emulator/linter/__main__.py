"""The linter's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.emulator import linter
from infra.emulator.manifests import ManifestError, render


def main(arguments: Sequence[str] | None = None) -> int:
    """Lint the overlays named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.emulator.linter", description=linter.__doc__)
    parser.add_argument("overlay", nargs="+", type=Path, help="such as knative/overlays/production")
    found = 0
    for overlay in parser.parse_args(arguments).overlay:
        try:
            findings = linter.lint(render(overlay))
        except ManifestError as error:
            print(error, file=sys.stderr)
            return 2
        for finding in findings:
            print(f"{overlay}: {finding}")
        found += len(findings)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
