"""`kubefinops`: the verbs, their options, and their exit codes: 0 done, 1 could not, 2 wrongly asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from shared.contracts.errors import BadSetting, KubeFinOpsError

app = typer.Typer(
    name="kubefinops",
    help="Right-sizes Kubernetes workloads through Git.\n\n"
    "scan and propose need a Prometheus, status a MongoDB, migrate all the servers, config nothing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

PrometheusOption = Annotated[
    str,
    typer.Option(
        help="Prometheus' address, such as http://localhost:9090",
        envvar="PROMETHEUS_URL",
        metavar="URL",
    ),
]
NamespaceOption = Annotated[
    list[str] | None,
    typer.Option(help="look at this namespace only; may be repeated", metavar="NAME"),
]
FormatOption = Annotated[Literal["table", "json"], typer.Option(help="table for people, json for programs")]


@app.command()
def scan(
    prometheus: PrometheusOption,
    namespace: NamespaceOption = None,
    format: FormatOption = "table",  # noqa: A002
) -> None:
    """Show a cluster's waste: what each container asks for, uses and should ask for. Changes nothing."""
    from infra.cli.scan import scan as run

    raise typer.Exit(run(prometheus, namespace or [], format))


@app.command()
def propose(
    repo: Annotated[
        Path,
        typer.Option(
            help="a working tree of the repository with the manifests",
            exists=True,
            file_okay=False,
            metavar="DIR",
        ),
    ],
    prometheus: PrometheusOption,
    path: Annotated[str, typer.Option(help="the folder in it that Argo CD deploys", metavar="FOLDER")] = ".",
    namespace: NamespaceOption = None,
    policies: Annotated[
        Path | None,
        typer.Option(
            help="JSON list of policies to judge by, as migrate stores them; default: the built-in policy",
            exists=True,
            dir_okay=False,
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Edit a working tree as a pull request would, under the default policy or --policies; no commit."""
    from infra.cli.propose import propose as run

    raise typer.Exit(run(repo, path, prometheus, namespace or [], policies))


@app.command()
def status(
    workload: Annotated[
        str | None,
        typer.Argument(help="NAMESPACE/KIND/NAME or a part of it; default: an overview of all workloads"),
    ] = None,
    format: FormatOption = "table",  # noqa: A002
) -> None:
    """Show each workload's latest recommendation; of the named ones the story: state by state, and why."""
    from infra.cli.status import status as run

    raise typer.Exit(run(workload, format))


@app.command()
def migrate(
    policies: Annotated[
        Path | None,
        typer.Option(
            help="JSON list of policies to store; each version of a policy is stored once and never changes",
            exists=True,
            dir_okay=False,
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Create topics, indexes and the bucket, and store policies. Repeating it changes nothing."""
    from infra.cli.migrate import migrate as run

    raise typer.Exit(run(policies))


@app.command()
def config(
    stage: Annotated[
        str | None, typer.Argument(help="only what this stage reads, such as recommender; default: all")
    ] = None,
) -> None:
    """Print the settings that this environment gives to the functions, passwords masked."""
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
