"""Computes an entry's figures again, from its report alone, by the engine that made them, and compares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, get_args

from functions.recommender import daily
from functions.recommender.container import Day, Estimate
from functions.recommender.digesting import used
from functions.recommender.fitted import Constants, constants
from functions.recommender.jvm import Jvm
from functions.recommender.report import DailyDigest, Entry, Report, Window, draft, entry
from functions.recommender.rules import PERCENTILE, Rules, Strategy
from functions.recommender.sizing import RUN_TO_COMPLETION, Observed, ObservedContainer, engine, size
from shared.contracts.errors import KubeFinOpsError
from shared.contracts.events import ContainerProposal, RecommendationCreated, Resources
from shared.contracts.identity import Workload
from shared.contracts.wording import LABELS

# In a report's settings beside the rules: what the window already shows, and where the rates came from.
NO_RULES = {"history_days", "price_provider", "price_node_label", "prices_file"}
# Of a proposal: where it lies, and a time that MongoDB keeps to the millisecond; neither is a figure.
NO_FIGURES = {"report", "scanned_at"}


class NotReproducible(KubeFinOpsError):
    """The report is one that this code's engine cannot compute again; the text says why."""


@dataclass(frozen=True)
class Figure:
    """One figure, as it is stored and as it comes out again, both as in JSON: millicores, bytes, decimals.

    `container` is empty for a figure of the whole workload.
    """

    name: str
    stored: object
    again: object
    container: str = ""

    @property
    def equal(self) -> bool:
        return self.stored == self.again


@dataclass(frozen=True)
class Explanation:
    """Every figure, and in words what the report lacks, with what was taken instead."""

    figures: tuple[Figure, ...]
    lacking: tuple[str, ...] = ()

    @property
    def differing(self) -> tuple[Figure, ...]:
        return tuple(figure for figure in self.figures if not figure.equal)


def explain(report: Report, stored: Entry) -> Explanation:
    """The figures of an entry of the report, each computed again from what the entry was made of.

    What only MongoDB told (that a proposal was in flight, or refused before) is no figure: of an entry that
    was left out for that, the decision is not compared.

    Raises:
        NotReproducible: another version of the engine made it, or a strategy that this code has not.
    """
    lacking: list[str] = []
    seen = observed(report, stored, lacking)
    made = entry(seen, size(seen, _rules(report, lacking)), stored.rates or report.rates)
    return Explanation(tuple(_figures(report, stored, made)), tuple(lacking))


def told(report: Report, stored: Entry, proposal: RecommendationCreated) -> tuple[Figure, ...]:
    """The fields of a recommendation's proposal, each as it is there and as the report's entry makes it."""
    made = draft(report, stored, proposal.report).proposal.model_dump(mode="json", exclude=NO_FIGURES)
    there = proposal.model_dump(mode="json", exclude=NO_FIGURES)
    return tuple(Figure(name, there[name], made[name]) for name in made)


def observed(report: Report, stored: Entry, lacking: list[str]) -> Observed:
    """The engine's input, as the entry holds it; what an older report has not is added to `lacking`.

    Raises:
        NotReproducible: see `explain`.
    """
    estimated = _estimates(report, stored, lacking)
    used = {container.name: container for container in stored.containers}
    if stored.seen:
        containers = tuple(
            ObservedContainer(
                name=each.name,
                current=used[each.name].current if each.name in used else each.resources or Resources(),
                usage=used[each.name].usage if each.name in used else None,
                history_seconds=each.history_seconds,
                oom_killed=each.oom_killed,
                killed_limit_bytes=each.killed_limit_bytes,
                remembered=each.remembered,
                estimate=estimated.get(each.name),
                jvm=_jvm(stored, each.name),
                days=_days(stored.digests.get(each.name, ())),
                bounds=each.bounds or (Resources(), Resources()),
                torn=each.torn,
                sidecar=each.sidecar,
            )
            for each in stored.seen
        )
    else:
        containers = _as_older_reports_tell(stored, used, estimated, lacking)
    return Observed(
        workload=stored.workload,
        replicas=stored.replicas,
        pods=stored.pods,
        containers=containers,
        scales_on=frozenset(stored.scales_on),
        resized_by=stored.resized_by,
        windows_per_day=86400 / _step_seconds(report.window, stored.workload),
        nodes=tuple(name for name, pods in sorted(stored.nodes.items()) for _ in range(pods)),
        tells_kills=stored.tells_kills,
        init=stored.init_containers,
        pod_bounds=stored.pod_bounds,
        pod_least=stored.pod_least or Resources(),
        pod_ratios=stored.pod_ratios,
    )


def _step_seconds(window: Window, workload: Workload) -> int:
    """From one window that its samples are of to the next."""
    if workload.kind in RUN_TO_COMPLETION or window.cpu_step_seconds is None:
        return window.step_seconds
    return window.cpu_step_seconds * window.apart(workload.namespace)


def _as_older_reports_tell(
    stored: Entry,
    used: dict[str, ContainerProposal],
    estimated: dict[str, Estimate],
    lacking: list[str],
) -> tuple[ObservedContainer, ...]:
    if used:
        lacking.append("each container's history: the shortest of all is taken")
    if any(each.usage.oom_kills for each in used.values()):
        lacking.append("whether what was killed for its memory had the present limit: it is taken not to")
    if stored.not_measured:
        lacking.append(f"what is set for {', '.join(stored.not_measured)}, not measured: taken to be nothing")
    return tuple(
        ObservedContainer(
            name=name,
            current=used[name].current if name in used else Resources(),
            usage=used[name].usage if name in used else None,
            # Confidence is the least over containers: with the shortest history for all it is the same.
            history_seconds=stored.history_seconds if name in used else 0,
            estimate=estimated.get(name),
            jvm=_jvm(stored, name),
            days=_days(stored.digests.get(name, ())),
        )
        for name in sorted({*used, *stored.not_measured})
    )


def _jvm(stored: Entry, container: str) -> Jvm | None:
    seen = stored.jvms.get(container)
    return None if seen is None else Jvm(**dict(seen))


def _strategy(report: Report) -> str:
    """Raises NotReproducible."""
    strategy = report.engine.partition("/")[0]
    if strategy not in get_args(Strategy):
        raise NotReproducible(f"engine {report.engine} made the report: this code has no such strategy")
    if report.engine != engine(strategy):
        raise NotReproducible(f"engine {report.engine} made the report, and this code is {engine(strategy)}")
    return strategy


def _rules(report: Report, lacking: list[str]) -> Rules:
    defaults = asdict(Rules())
    if unknown := sorted(set(report.settings) - set(defaults) - NO_RULES):
        raise NotReproducible(f"the report has settings that this code does not know: {', '.join(unknown)}")
    if missing := sorted(set(defaults) - set(report.settings)):
        lacking.append(f"{', '.join(missing)}: this code's defaults are taken")
    # JSON has one kind of number: 24.0 comes back as 24.
    values: dict[str, Any] = {
        name: type(default)(report.settings.get(name, default)) for name, default in defaults.items()
    }
    return Rules(**values)


def _estimates(report: Report, stored: Entry, lacking: list[str]) -> dict[str, Estimate]:
    """What the strategy says of each container that has digests."""
    strategy = _strategy(report)
    if strategy == PERCENTILE or not stored.digests:
        return {}
    fitted = constants()[strategy]
    if not report.constants:
        lacking.append("the strategy's constants: this code's are taken")
    elif set(report.constants) != set(asdict(fitted)):
        raise NotReproducible(f"the constants of {strategy} in the report are not those of this code")
    else:
        fitted = Constants(**report.constants)
    return daily.estimates({name: _days(each) for name, each in stored.digests.items()}, strategy, fitted)


def _days(digests: tuple[DailyDigest, ...]) -> tuple[Day, ...]:
    return tuple(Day(**dict(each)) for each in digests)


def _figures(report: Report, stored: Entry, made: Entry) -> Iterator[Figure]:
    """By container the values and their sentences, then those of the workload."""
    names, made_names = ([each.name for each in one.containers] for one in (stored, made))
    yield Figure("containers", names, made_names)
    there = {each.name: each for each in stored.containers}
    again = {each.name: each for each in made.containers}
    for name in there | again:
        yield from _of_container(name, there.get(name), again.get(name))
        yield from _of_usage(there.get(name), stored.digests.get(name, ()), report)
    if made.decision == "skipped" or stored.decision == "proposed":
        yield Figure("decision", stored.decision, made.decision)
        yield Figure("reason", stored.reason, made.reason)
    # As they are written: money is a decimal string there, of which no cent gets lost.
    before, after = stored.model_dump(mode="json"), made.model_dump(mode="json")
    for name in (
        "qos",
        "confidence",
        "history_seconds",
        "monthly_cost_before",
        "monthly_cost_after",
        "monthly_saving",
        "content_hash",
    ):
        yield Figure(name, before[name], after[name])
    if stored.costs:  # older reports have none
        yield Figure("costs", before["costs"], after["costs"])


def _of_usage(
    stored: ContainerProposal | None, digests: tuple[DailyDigest, ...], report: Report
) -> Iterator[Figure]:
    """What the history was told to be, and what its days come to."""
    history = (report.window.end.date() - report.window.begin.date()).days
    made = used([day for day in _days(digests) if day.ago <= history])
    if stored is None or made is None:  # its pods run to completion, or the report is older
        return
    for field, value in asdict(made).items():
        yield Figure(field, getattr(stored.usage, field), value, stored.name)


def _of_container(
    name: str, stored: ContainerProposal | None, made: ContainerProposal | None
) -> Iterator[Figure]:
    """Each value, with its sentence behind it; one that is not there at all has neither."""
    before, after = (one.proposed if one else Resources() for one in (stored, made))
    for field in LABELS:
        yield Figure(field, getattr(before, field), getattr(after, field), name)
    sentences = [one.reasons if one else () for one in (stored, made)]
    for field, why, why_again in zip_longest(LABELS, *sentences):
        yield Figure(f"{field or 'another'}_why", why, why_again, name)
