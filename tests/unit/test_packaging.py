"""What `pip install .` puts into the user's environment."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


def test_a_wheel_holds_the_product_and_no_package_called_tests() -> None:
    files = {PurePosixPath(one.distribution_path) for one in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {path.parts[0] for path in files} == {"functions", "shared", "infra"}
    assert PurePosixPath("infra/cli/page.html.jinja") in files
