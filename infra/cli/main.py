"""`kubefinops`: the verbs, their options, and their exit codes: 0 done, 1 could not, 2 wrongly asked; of
scan, 3 too much waste, 4 read in part, 5 nothing measured; of doctor, 3 something is missing.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from functions.recommender.rules import Peer, Strategy
from infra.cli.plain import tell
from shared.contracts.errors import BadSetting, KubeFinOpsError
from shared.contracts.providers import Provider

# What comes of writing to what is full, or gone.
_UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)

app = typer.Typer(
    name="kubefinops",
    help="Right-sizes Kubernetes workloads through Git.\n\n"
    "scan, propose and doctor need a Prometheus, backtest one or traces, status a MongoDB, explain object"
    " storage too, migrate all the servers, config nothing.",
    no_args_is_help=True,
    # Else a line of the source ends a line of the help, after however few words.
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import PackageNotFoundError, version  # heavy, and asked for here alone

    try:
        print(f"kubefinops {version('kubefinops-autopilot')}")
    except PackageNotFoundError:
        print("kubefinops, run from its source")
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="print the version", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


PrometheusOption = Annotated[
    str,
    typer.Option(
        help="Prometheus' address, such as http://localhost:9090",
        envvar="PROMETHEUS_URL",
        metavar="URL",
    ),
]


def _named(namespaces: list[str] | None) -> list[str] | None:
    """Raises BadSetting where one can be no namespace's name."""
    for each in namespaces or ():
        if not each.strip():
            raise BadSetting("--namespace: a name is needed")
        if not re.fullmatch(r"[a-z0-9*?-]{1,63}", each):
            raise BadSetting(
                f"--namespace: {each[:80]!r} is no namespace's name, nor a pattern: a-z, 0-9, -, * and ?"
            )
    return namespaces


NamespaceOption = Annotated[
    list[str] | None,
    typer.Option(
        "--namespace",
        "-n",
        help="look at this namespace only, or at those that match team-*; may be repeated",
        metavar="NAME",
        callback=_named,
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        help="read only series with this label, where one Prometheus has several clusters; may be repeated;"
        " default: those in PROMETHEUS_LABELS",
        metavar="KEY=VALUE",
    ),
]
FormatOption = Annotated[Literal["table", "json"], typer.Option(help="table for people, json for programs")]

StrategyOption = Annotated[
    Literal[Strategy, Peer] | None,
    typer.Option(
        help="how requests are found: balanced (the default), cautious or lean, the estimator's trade-offs,"
        " or percentile; see backtest."
        " krr, vpa, goldilocks, crane and kubecost are those tools' published rules: scan shows what they"
        " say, for comparison only"
    ),
]

ProviderOption = Annotated[
    Provider | None,
    typer.Option(
        help="reckon with this provider's default prices; default: KUBEFINOPS_PRICE_PROVIDER, else unknown"
    ),
]
PricesOption = Annotated[
    Path | None,
    typer.Option(
        help="prices of nodes, a CSV file in OpenCost's format; default: KUBEFINOPS_PRICES_FILE",
        metavar="FILE",
    ),
]


@app.command()
def scan(
    prometheus: PrometheusOption,
    namespace: NamespaceOption = None,
    *,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            "-k",
            help="look at workloads of this kind only, such as Deployment; may be repeated",
            metavar="KIND",
        ),
    ] = None,
    format: Annotated[  # noqa: A002  (the option is --format)
        Literal["table", "json", "csv", "yaml", "html"] | None,
        typer.Option(
            help="default: by the ending of --output, else table; table for people; json and yaml: the same"
            " document for programs; csv: a row for each container, in millicores and bytes; html: one page"
            " with a plot for each container, which opens offline"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="write it to this file, all or nothing; default, and -: standard output", metavar="FILE"
        ),
    ] = None,
    fail_on_waste: Annotated[
        str | None,
        typer.Option(
            help="exit with 3 if what is proposed saves more than this a month, in the currency of the"
            " prices: 200",
            metavar="AMOUNT",
        ),
    ] = None,
    label: LabelOption = None,
    strategy: StrategyOption = None,
    provider: ProviderOption = None,
    prices: PricesOption = None,
) -> None:
    """Show a cluster's waste: what each container asks for, uses and should ask for. Changes nothing.

    Exit codes:

    * 0: done

    * 1: could not: no Prometheus answers, or for no namespace, nothing is there to look at, the file cannot
    be written

    * 2: wrongly asked

    * 3: done, and the waste is above --fail-on-waste

    * 4: done in part: what could not be read is named with the reason, and nothing is proposed there

    * 5: done, and nothing was measured of any workload, so that no waste is known: see doctor
    """
    from infra.cli.scan import scan as run

    raise typer.Exit(
        run(
            prometheus,
            namespace or [],
            format,
            output,
            fail_on_waste,
            kinds=kind or [],
            labels=label or [],
            strategy=strategy,
            provider=provider,
            prices=prices,
        )
    )


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
    *,
    label: LabelOption = None,
    strategy: StrategyOption = None,
    provider: ProviderOption = None,
    prices: PricesOption = None,
) -> None:
    """Edit a working tree as a pull request would, under the default policy or --policies; no commit.

    Run again, it says what the working tree has already, and leaves that as it is.

    Exit codes:

    * 0: done: manifests have proposed values, by this run or by one before

    * 1: nothing is proposed for these manifests, or could be written: each reason is told; or could not: no
    Prometheus answers, or it tells of no workload, or of no use of any

    * 2: wrongly asked
    """
    from infra.cli.propose import propose as run

    raise typer.Exit(
        run(
            repo,
            path,
            prometheus,
            namespace or [],
            policies=policies,
            labels=label or [],
            strategy=strategy,
            provider=provider,
            prices=prices,
        )
    )


@app.command()
def backtest(
    traces: Annotated[
        Path | None,
        typer.Option(
            help="a folder of recorded usage: *.csv or *.csv.gz with timestamp_s, workload, pod, container,"
            " cpu_cores, memory_bytes",
            exists=True,
            file_okay=False,
            metavar="DIR",
        ),
    ] = None,
    prometheus: Annotated[
        str | None,
        typer.Option(
            help="or the address of your Prometheus, such as http://localhost:9090, whose last weeks are"
            " walked through; default: PROMETHEUS_URL, where there is no --traces",
            metavar="URL",
        ),
    ] = None,
    namespace: NamespaceOption = None,
    label: LabelOption = None,
    weeks: Annotated[
        int | None,
        typer.Option(
            help="so many weeks of Prometheus' history; default: 4, or as many as there are",
            min=1,
            max=52,
            metavar="N",
        ),
    ] = None,
    *,
    strategy: Annotated[
        list[str] | None, typer.Option(help="only this way of sizing; may be repeated", metavar="NAME")
    ] = None,
    learn_days: Annotated[float, typer.Option(help="days watched before the first sizes", metavar="N")] = 14,
    hold_days: Annotated[float, typer.Option(help="days for which sizes are kept", metavar="N")] = 7,
    start: Annotated[
        Literal["set", "nothing"] | None,
        typer.Option(
            help="walk from what was set, of which we raise nothing that use fits in, or from nothing;"
            " default: of Prometheus what is set now, of traces nothing"
        ),
    ] = None,
    format: FormatOption = "table",  # noqa: A002  (the option is --format)
    emit: Annotated[
        Path | None,
        typer.Option(help="write every recommendation that was made to this CSV file", metavar="FILE"),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="draw memory requested against weeks in which it was exceeded, into this SVG file",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Walk every way of sizing, ours and its peers', through past usage: what it would have saved and broken.

    The past is a folder of traces, or that of your own Prometheus: then what is provisioned now is shown
    beside them, before anything is installed. Changes nothing.

    Exit codes:

    * 0: done

    * 1: could not: no Prometheus answers, a trace cannot be read, there is too little to walk through

    * 2: wrongly asked
    """
    from infra.backtest.walking import Pace
    from infra.cli.backtest import Outputs, source
    from infra.cli.backtest import backtest as run

    past = source(traces, prometheus, namespace or [], label or [], weeks)
    pace, outputs = Pace(learn_days, hold_days), Outputs(emit, plot)
    starts_as_set = None if start is None else start == "set"
    raise typer.Exit(run(past, strategy or [], pace, format, outputs, starts_as_set=starts_as_set))


@app.command()
def doctor(prometheus: PrometheusOption, label: LabelOption = None, format: FormatOption = "table") -> None:  # noqa: A002  (the option is --format)
    """Tell whether a Prometheus has what is read: which series, how often, how far back, and what is off.

    Exit codes:

    * 0: all that is required is there

    * 1: no Prometheus answers

    * 2: wrongly asked

    * 3: something that is required is missing, or what is measured has no owner
    """
    from infra.cli.doctor import doctor as run

    raise typer.Exit(run(prometheus, label or [], format))


@app.command()
def status(
    workload: Annotated[
        str | None,
        typer.Argument(help="NAMESPACE/KIND/NAME or a part of it; default: an overview of all workloads"),
    ] = None,
    format: FormatOption = "table",  # noqa: A002  (the option is --format)
) -> None:
    """Show each workload's latest recommendation; of the named ones the story: state by state, and why."""
    from infra.cli.status import status as run

    raise typer.Exit(run(workload, format))


@app.command()
def explain(
    recommendation: Annotated[
        str,
        typer.Argument(
            help="the beginning of a recommendation's id, or NAMESPACE/KIND/NAME of a workload: its latest"
        ),
    ],
    format: FormatOption = "table",  # noqa: A002  (the option is --format)
) -> None:
    """Show what a recommendation's figures rest on, and compute each again from the stored report alone.

    Exit codes:

    * 0: each figure came out again as it is stored

    * 1: one differs, or could not: another engine's report, MongoDB or object storage does not answer

    * 2: wrongly asked: no recommendation, or several
    """
    from infra.cli.explain import run

    raise typer.Exit(run(recommendation, format))


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
    """The entry point: an error of ours is one line, never a traceback, and so is an output that is full."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by >&-
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  (for good)
        # Not each terminal has each letter, nor the lines of a table.
        getattr(sys, name).reconfigure(errors="replace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # not as the interpreter ends, where an error can no longer be told
    except BadSetting as error:
        tell(str(error))
        raise SystemExit(2) from None
    except KubeFinOpsError as error:
        tell(str(error))
        raise SystemExit(1) from None
    except OSError as error:
        if error.filename is not None or error.errno not in _UNWRITTEN:
            raise
        from infra.cli.writing import forget_stdout

        forget_stdout()
        if error.errno != errno.EPIPE:  # who reads has enough
            tell(f"cannot write standard output: {os.strerror(error.errno).lower()}")
        raise SystemExit(1) from None
