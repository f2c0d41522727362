"""The image, as far as it can be known without an engine that builds it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "infra" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments, continued lines joined and comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def arguments(instruction: str) -> list[str]:
    return [rest for name, rest in instructions() if name == instruction]


def test_both_stages_stand_on_one_base_pinned_to_a_patch_release() -> None:
    bases = {base.removesuffix(" AS packages") for base in arguments("FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.12\.\d+-slim-[a-z]+", bases.pop())


def test_packages_are_installed_by_hash_alone_and_the_lock_names_no_registry() -> None:
    [install] = [run for run in arguments("RUN") if "pip install" in run]
    assert "--require-hashes" in install
    lock = (ROOT / "requirements.txt").read_text()
    assert "://" not in lock
    pinned = re.findall(r"^[a-z0-9][^ =]*==\S+.*\\$", lock, re.MULTILINE)
    assert pinned
    assert len(pinned) == len(re.findall(r"^[a-z0-9].*$", lock, re.MULTILINE))


def test_it_runs_as_a_number_that_is_not_root() -> None:
    [user] = arguments("USER")
    assert int(user.split(":")[0]) > 0


def test_every_source_exists_and_nothing_it_needs_is_kept_out_of_the_build() -> None:
    ignored = (ROOT / "infra" / "Dockerfile.dockerignore").read_text().split("\n")
    copied = [rest.split()[0] for rest in arguments("COPY") if not rest.startswith("--from")]
    assert copied
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored
    excluded = [line for line in ignored if line and not line.startswith(("#", "!", "*"))]
    assert excluded
    assert all((ROOT / path).is_dir() for path in excluded), "an exclusion names a folder that is not there"


def test_the_functions_and_the_command_line_import_nothing_that_is_kept_out() -> None:
    ignored = (ROOT / "infra" / "Dockerfile.dockerignore").read_text().split("\n")
    kept_out = {line.replace("/", ".") for line in ignored if line.startswith("infra/")}
    for folder in ("shared", "functions", "infra/cli"):
        for source in (ROOT / folder).rglob("*.py"):
            for module in re.findall(r"^\s*(?:from|import) (infra[\w.]*)", source.read_text(), re.MULTILINE):
                assert not any(f"{module}.".startswith(f"{name}.") for name in kept_out), (
                    f"{source.relative_to(ROOT)} imports {module}, which is not in the image"
                )


def test_the_images_command_line_knows_migrate() -> None:
    [script] = re.findall(r"printf '#!/venv/bin/python(.*?)'", DOCKERFILE.read_text())
    shown = subprocess.run(
        [sys.executable, "-c", script.replace("\\n", "\n"), "migrate", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "topics" in shown.stdout


def test_the_entry_point_replaces_its_shell() -> None:
    # That it serves: tests/integration/test_dockerfile_entry.py starts this line.
    [entry] = arguments("CMD")
    command = json.loads(entry)
    assert command[:2] == ["sh", "-c"]
    assert command[2].startswith("exec functions-framework ")
