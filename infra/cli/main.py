"""`kubefinops`: the verbs, their options, and their exit codes: 0 done, 1 could not, 2 wrongly asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from shared.contracts.errors import BadSetting, KubeFinOpsError

app = typer.Typer(
    name="kubefinops",
    help="Right-sizes Kubernetes workloads through Git.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PrometheusOption = Annotated[str, typer.Option(help="Prometheus' address", envvar="PROMETHEUS_URL")]
NamespaceOption = Annotated[list[str] | None, typer.Option(help="only this namespace; may be repeated")]


@app.command()
def scan(
    prometheus: PrometheusOption,
    namespace: NamespaceOption = None,
    format: Annotated[Literal["table", "json"], typer.Option(help="how it is printed")] = "table",  # noqa: A002
) -> None:
    """Show a cluster's waste: what each container asks for, uses and should ask for. Changes nothing."""
    from infra.cli.scan import scan as run

    raise typer.Exit(run(prometheus, namespace or [], format))


@app.command()
def propose(
    repo: Annotated[
        Path, typer.Option(help="a working tree with the manifests", exists=True, file_okay=False)
    ],
    prometheus: PrometheusOption,
    path: Annotated[str, typer.Option(help="the folder in it that is deployed")] = ".",
    namespace: NamespaceOption = None,
) -> None:
    """Write the same change as a pull request would hold into a working tree."""
    from infra.cli.propose import propose as run

    raise typer.Exit(run(repo, path, prometheus, namespace or []))


@app.command()
def status(
    workload: Annotated[
        str | None, typer.Argument(help="NAMESPACE/KIND/NAME, or a part of it; default: every workload")
    ] = None,
) -> None:
    """Tell a recommendation's story: each state, when, and because of what."""
    from infra.cli.status import status as run

    raise typer.Exit(run(workload))


@app.command()
def migrate(
    policies: Annotated[
        Path | None, typer.Option(help="JSON list of policy versions to store", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Create topics, indexes and the bucket, and store policies. Repeating it changes nothing."""
    from infra.cli.migrate import migrate as run

    raise typer.Exit(run(policies))


@app.command()
def config(
    stage: Annotated[str | None, typer.Argument(help="one stage; default: all")] = None,
) -> None:
    """Print the settings as the stages read them here, secrets masked."""
    from infra.cli.config import config as run

    raise typer.Exit(run(stage))


def main() -> None:
    """The entry point: an error of ours is one line, never a traceback."""
    try:
        app()
    except BadSetting as error:
        print(f"kubefinops: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KubeFinOpsError as error:
        print(f"kubefinops: {error}", file=sys.stderr)
        raise SystemExit(1) from None
