"""`python -m infra.generate [--check]`: writes what is generated, or says what differs and exits 1."""

from __future__ import annotations

import argparse
import sys

from infra.generate.files import ROOT, differing, generated
from shared.contracts.errors import BadSetting


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if something differs")
    check = parser.parse_args().check
    try:
        files = generated(ROOT)
    except BadSetting as error:
        print(f"generate: {error}", file=sys.stderr)
        return 2
    different = differing(ROOT, files)
    if check:
        for path in different:
            print(f"{path} is not what the code says: run `python -m infra.generate`", file=sys.stderr)
        return 1 if different else 0
    for path in different:
        if path in files:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(files[path])
        else:
            (ROOT / path).unlink()
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
