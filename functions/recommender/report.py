"""The report of a shard: every workload looked at, and all that is needed to reproduce each figure."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from pydantic import Field

from functions.recommender import queries
from functions.recommender.container import NOTHING, Remembered, raises
from functions.recommender.init_containers import held_at_least
from functions.recommender.sizing import Observed, Sized
from shared.contracts.documents import Recommendation
from shared.contracts.events import (
    ContainerProposal,
    Moment,
    Payload,
    Rates,
    RecommendationCreated,
    ReportPointer,
    Resources,
    ScanRequested,
    Shard,
    small,
)
from shared.contracts.identity import Workload, digest, recommendation_id
from shared.contracts.money import Money
from shared.contracts.pricing import monthly, reserved, shares
from shared.contracts.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from functions.recommender.prices import Prices

# An event is to stay under 64 KiB; of this much, its sentences are left to the report.
MOST_CONTAINER_BYTES = 40 * 1024


class Query(Payload):
    """A query as it was put, and how many rows came."""

    name: str
    promql: str
    rows: int


class DailyDigest(Payload):
    """Usage of one day (UTC), `ago` days before the scan's, in the worst pod; CPU in millicores and memory at
    p25, p50, p75, p80, p85, every percent from p90 on, and most (older reports: p50, p90, p95, p99, most).
    """

    ago: int
    windows: int
    cpu_m: tuple[float, ...]
    memory_bytes: int = Field(description="the peak")
    memory_points: tuple[int, ...] = Field(default=(), description="bytes; older reports have none")
    pods: int = 0
    samples: int = Field(default=0, description="windows of all pods")
    near_limit_bytes: int = Field(default=0, description="the memory limit at its end, if use came near it")


class JvmSeen(Payload):
    """A container that runs a Java virtual machine; bytes, of the worst pod."""

    known_by: str = Field(description="its image, its metrics or its annotation")
    heap_max_bytes: int | None = None
    non_heap_bytes: int | None = None
    heap_annotated: bool = Field(default=False, description="the heap is what an annotation says")
    wrong: str | None = Field(default=None, description="what was not understood of its annotations")


class SeenContainer(Payload):
    """What the engine knew of a container beside its usage, which `Entry.containers` has.

    `oom_killed`, `killed_limit_bytes`, `remembered`, `torn`: see ObservedContainer. `resources` are what is
    set where its usage was not measured, None where `containers` has them.
    """

    name: str
    history_seconds: int = Field(ge=0)
    oom_killed: bool
    killed_limit_bytes: int = 0
    remembered: Remembered = NOTHING
    resources: Resources | None = None
    bounds: tuple[Resources, Resources] | None = Field(
        default=None, description="what LimitRanges have it request at least, and set at most, if anything"
    )
    torn: bool = False
    sidecar: bool = Field(default=False, description="a native one; older reports do not tell")


class Cost(Payload):
    """One container's part of its workload's cost in a month; the parts sum up to the whole, to the cent."""

    monthly_cost_before: Money
    monthly_cost_after: Money
    monthly_saving: Money


class NodePrice(Payload):
    """What was known of a node, and the rates that follow from it."""

    rates: Rates
    spot: bool = False
    cores: Decimal | None = None
    gib: Decimal | None = None


class Entry(Payload):
    """One workload: what was seen and what was decided.

    Costs and savings of a workload that is skipped are those of the values that sizing found, if it did:
    what it would have saved is `monthly_waste_left` then.
    """

    workload: Workload
    decision: Literal["proposed", "skipped"]
    reason: str | None = None
    replicas: int = Field(ge=0)
    pods: float = Field(
        ge=0,
        description="how many run; on average where an autoscaler sets how many, or they run to completion;"
        " the costs are for these",
    )
    qos: str
    scales_on: tuple[str, ...] = ()
    resized_by: str = Field(
        default="", description="mode of a VerticalPodAutoscaler that sets what its pods ask for"
    )
    containers: tuple[ContainerProposal, ...]
    not_measured: tuple[str, ...] = Field(
        default=(), description="containers without usage; left as they are"
    )
    seen: tuple[SeenContainer, ...] = Field(
        default=(), description="every container, measured or not; older reports have none"
    )
    tells_kills: bool = Field(
        default=True, description="OOM kills would have been seen: without, memory is not lowered"
    )
    init_containers: dict[str, Resources] = Field(
        default_factory=dict,
        description="what those ask for that end before the others begin; older reports have none",
    )
    pod_bounds: dict[str, Resources] = Field(
        default_factory=dict,
        description="what the containers of a pod may set together at most, by what bounds it: `LimitRange`,"
        " `ResourceQuota`, `ResourceQuota, shared` (what those before it in the scan leave, that are raised)"
        " or `node`, the largest less a tenth for DaemonSets; older reports have none",
    )
    pod_least: Resources | None = Field(
        default=None, description="what LimitRanges have the containers of a pod set together at least"
    )
    pod_ratios: dict[str, float] = Field(
        default_factory=dict,
        description="how many times the requests of a pod its limits may be, by LimitRanges: `cpu`, `memory`",
    )
    digests: dict[str, tuple[DailyDigest, ...]] = Field(
        default_factory=dict, description="by container; of pods that run to completion there are none"
    )
    jvms: dict[str, JvmSeen] = Field(default_factory=dict, description="by container that runs one")
    confidence: float
    history_seconds: int
    monthly_cost_before: Money
    monthly_cost_after: Money
    monthly_saving: Money
    monthly_waste_left: Money | None = Field(
        default=None,
        description="what sizing would have saved of a workload that is not changed; null: it cannot be said",
    )
    costs: dict[str, Cost] = Field(default_factory=dict, description="by container; their sums are the above")
    rates: Rates | None = Field(
        default=None, description="by which its costs were reckoned, and why by these"
    )
    nodes: dict[str, int] = Field(
        default_factory=dict, description="how many of its pods are on each node, where prices go by nodes"
    )
    content_hash: str

    @property
    def held_at_least(self) -> Resources | None:
        """See RecommendationCreated."""
        unmeasured = [each.resources for each in self.seen if each.resources is not None]
        return held_at_least(self.init_containers, unmeasured)


class Window(Payload):
    """What the figures are taken over: times in UTC, ranges in seconds."""

    begin: Moment
    end: Moment
    cpu_range_seconds: int
    step_seconds: int
    recent_cpu_range_seconds: int
    recent_step_seconds: int
    cpu_step_seconds: int | None = Field(
        default=None,
        description="of what goes on running, from one window that is looked at to the next; older: each is",
    )
    memory_step_seconds: int | None = None
    every_second_in: tuple[str, ...] = Field(
        default=(),
        description="namespaces in which every second of these is looked at, because most of their workloads"
        " run in two pods",
    )
    every_third_in: tuple[str, ...] = Field(
        default=(), description="the same of every third, because most run in three pods or more"
    )

    def apart(self, namespace: str) -> int:
        """How many of these steps lie there between two windows that are looked at."""
        if namespace in self.every_third_in:
            return 3
        return 2 if namespace in self.every_second_in else 1


class Report(Payload):
    """One object in the bucket for each shard of a scan."""

    engine: str
    cluster: str
    scan_id: str
    scanned_at: Moment
    shard: Shard
    window: Window
    settings: dict[str, float | int | str | bool]
    constants: dict[str, float] = Field(
        default_factory=dict,
        description="of a strategy that estimates: what it was fitted to; older reports have none",
    )
    rates: Rates = Field(description="of nodes of which nothing else is known; an entry has its own")
    nodes: dict[str, NodePrice] = Field(
        default_factory=dict, description="of the nodes in the entries, where prices go by nodes"
    )
    queries: tuple[Query, ...]
    workloads: tuple[Entry, ...]

    def summary(self) -> dict[str, float | int | str]:
        """Figures for the index."""
        proposed = [entry for entry in self.workloads if entry.decision == "proposed"]
        left = [entry.monthly_waste_left.amount for entry in self.workloads if entry.monthly_waste_left]
        return {
            "workloads": len(self.workloads),
            "proposed": len(proposed),
            "skipped": len(self.workloads) - len(proposed),
            "currency": self.rates.core_hour.currency,
            "monthly_cost": _sum(entry.monthly_cost_before.amount for entry in self.workloads),
            "monthly_saving": _sum(entry.monthly_saving.amount for entry in proposed),
            "monthly_waste_left": _sum(left),
        }


def _sum(amounts: Iterable[Decimal]) -> str:
    return format(sum(amounts, Decimal("0.00")), "f")


def key(scan: ScanRequested, shard: Shard) -> str:
    """`reports/<cluster>/<yyyy>/<mm>/<dd>/<scan id>-<shard>.json`."""
    name = quote(f"{scan.scan_id}-{shard.name}", safe="")
    return f"reports/{quote(scan.cluster, safe='')}/{scan.scanned_at:%Y/%m/%d}/{name}.json"


def window(at: datetime, ranges: queries.Window, apart: Mapping[str, int]) -> Window:
    """The window that ends at the scan's time; `apart` as a Reading has it."""
    return Window(
        begin=at - timedelta(seconds=ranges.history),
        end=at,
        cpu_range_seconds=ranges.cpu,
        step_seconds=ranges.step,
        recent_cpu_range_seconds=ranges.recent_cpu,
        recent_step_seconds=ranges.recent_step,
        cpu_step_seconds=ranges.cpu_step,
        memory_step_seconds=ranges.memory_step,
        every_second_in=tuple(sorted(namespace for namespace, steps in apart.items() if steps == 2)),
        every_third_in=tuple(sorted(namespace for namespace, steps in apart.items() if steps == 3)),
    )


def entry(observed: Observed, sized: Sized, rates: Rates, *, must_save: bool = True) -> Entry:
    """The workload with its costs by these rates; skipped if sizing had a reason, or if values would be
    lowered alone and nothing be saved: what is used beyond a request, or an init container's, costs as much.
    """
    pods = Decimal(repr(observed.pods))
    held = held_at_least(observed.init, observed.unmeasured)
    before, after = monthly(sized.containers, pods, rates, held)
    if (
        must_save
        and sized.skipped is None
        and after.amount >= before.amount > 0
        and not raises(sized.containers)
    ):
        alone = monthly(sized.containers, pods, rates)
        what = (
            "what it uses beyond costs"
            if alone[1].amount >= alone[0].amount
            else "an init container asks for"
        )
        sized = replace(sized, skipped=f"it would be lowered, and save nothing: {what} as much")
    measured = {container.name for container in sized.containers}
    # What is not measured stays as it is, and is paid for.
    others = {
        each.name: reserved(each.current, pods, rates)
        for each in observed.containers
        if each.name not in measured
    }
    nothing = before - before
    if others and not measured and held is not None:
        # What an init container asks for beyond them: no measured one costs it, so the first has it.
        others[next(iter(others))] += reserved(held, pods, rates)
    before, after = (sum(others.values(), each) for each in (before, after))
    return Entry(
        workload=observed.workload,
        decision="proposed" if sized.skipped is None else "skipped",
        reason=sized.skipped,
        replicas=observed.replicas,
        pods=observed.pods,
        qos=sized.qos.value,
        scales_on=tuple(sorted(observed.scales_on)),
        resized_by=observed.resized_by,
        containers=sized.containers,
        not_measured=tuple(each.name for each in observed.containers if each.name not in measured),
        seen=tuple(
            SeenContainer(
                name=each.name,
                history_seconds=each.history_seconds,
                oom_killed=each.oom_killed,
                killed_limit_bytes=each.killed_limit_bytes,
                remembered=each.remembered,
                resources=None if each.name in measured else each.current,
                bounds=each.bounds if any(bound != Resources() for bound in each.bounds) else None,
                torn=each.torn,
                sidecar=each.sidecar,
            )
            for each in observed.containers
        ),
        tells_kills=observed.tells_kills,
        init_containers=dict(observed.init),
        pod_bounds=dict(observed.pod_bounds),
        pod_least=observed.pod_least if observed.pod_least != Resources() else None,
        pod_ratios=dict(observed.pod_ratios),
        digests={
            # Of our own making: to look at each of hundreds of thousands again is a tenth of a scan.
            each.name: tuple(DailyDigest.model_construct(**vars(day)) for day in each.days)
            for each in observed.containers
            if each.days
        },
        jvms={
            each.name: JvmSeen.model_validate(asdict(each.jvm))
            for each in observed.containers
            if each.jvm is not None
        },
        confidence=sized.confidence,
        history_seconds=sized.history_seconds,
        monthly_cost_before=before,
        monthly_cost_after=after,
        monthly_saving=before - after,
        monthly_waste_left=before - after if sized.skipped is not None and sized.is_sized else None,
        costs={
            each.name: Cost(
                monthly_cost_before=cost.before,
                monthly_cost_after=cost.after,
                monthly_saving=cost.before - cost.after,
            )
            for each, cost in zip(sized.containers, shares(sized.containers, pods, rates, held), strict=True)
        }
        | {
            name: Cost(monthly_cost_before=cost, monthly_cost_after=cost, monthly_saving=nothing)
            for name, cost in others.items()
        },
        rates=rates,
        nodes=dict(Counter(observed.nodes)),
        content_hash=content_hash(observed.workload, sized.containers),
    )


def node_prices(entries: Iterable[Entry], prices: Prices) -> dict[str, NodePrice]:
    """What was known of the nodes that the entries name."""
    found = {}
    for name in sorted({name for each in entries for name in each.nodes}):
        node = prices.nodes.get(name)
        found[name] = NodePrice(
            rates=prices.of_node(name),
            spot=name in prices.spot,
            cores=node.cores if node else None,
            gib=node.gib if node else None,
        )
    return found


def skipped(entry: Entry, reason: str) -> Entry:
    """The same, not proposed after all; its figures stay to be read."""
    return entry.model_copy(
        update={"decision": "skipped", "reason": reason, "monthly_waste_left": entry.monthly_saving}
    )


def not_there(workload: Workload, rates: Rates) -> Entry:
    """A workload of the shard that was gone when its turn came."""
    nothing = Money(amount=Decimal(0), currency=rates.core_hour.currency)
    return Entry(
        workload=workload,
        decision="skipped",
        reason="it was there when the scan began, and no longer when it was read",
        replicas=0,
        pods=0.0,
        qos="unknown",
        containers=(),
        confidence=0.0,
        history_seconds=0,
        monthly_cost_before=nothing,
        monthly_cost_after=nothing,
        monthly_saving=nothing,
        rates=rates,
        content_hash=content_hash(workload, ()),
    )


def content_hash(workload: Workload, containers: tuple[ContainerProposal, ...]) -> str:
    """Over the workload, what is set and what is proposed; usage and sentences may differ."""
    content = [
        [each.name, each.current.model_dump(mode="json"), each.proposed.model_dump(mode="json")]
        for each in containers
    ]
    return digest(workload.key, json.dumps(content, sort_keys=True, separators=(",", ":")))


def drafts(report: Report, pointer: ReportPointer) -> list[Recommendation]:
    """The documents that the report's proposals make; `pointer` names the object, not yet the entry."""
    return [
        draft(report, each, pointer.model_copy(update={"pointer": f"/workloads/{index}"}))
        for index, each in enumerate(report.workloads)
        if each.decision == "proposed"
    ]


def draft(report: Report, each: Entry, pointer: ReportPointer) -> Recommendation:
    """The document that one entry makes; `pointer` leads to it."""
    identity = recommendation_id(report.scan_id, each.workload)
    proposal = RecommendationCreated(
        recommendation_id=identity,
        workload=each.workload,
        scan_id=report.scan_id,
        scanned_at=report.scanned_at,
        replicas=each.replicas,
        pods=each.pods,
        containers=small(each.containers, MOST_CONTAINER_BYTES),
        held_at_least=each.held_at_least,
        confidence=each.confidence,
        history_seconds=each.history_seconds,
        monthly_cost_before=each.monthly_cost_before,
        monthly_cost_after=each.monthly_cost_after,
        monthly_saving=each.monthly_saving,
        # A report that was stored before there were several has one for all.
        rates=each.rates or report.rates,
        content_hash=each.content_hash,
        report=pointer,
    )
    return Recommendation(
        id=identity,
        workload=each.workload,
        scan_id=report.scan_id,
        scanned_at=report.scanned_at,
        state=State.CREATED,
        slot=None,
        content_hash=each.content_hash,
        proposal=proposal,
        containers=proposal.containers,
        monthly_saving=each.monthly_saving,
    )


def read(content: bytes, sha256: str) -> Report | None:
    """The report in an object of the bucket; None if the object is not what the index says.

    Raises:
        Permanent: a newer version wrote it, in a form that this one cannot read.
    """
    if hashlib.sha256(content).hexdigest() != sha256:
        return None
    return Report.read(json.loads(content))


def entry_at(report: Report, pointer: str) -> Entry | None:
    """The entry to which a JSON pointer leads; None if it leads to none."""
    found = re.fullmatch(r"/workloads/(0|[1-9]\d{0,8})", pointer)
    index = int(found[1]) if found else len(report.workloads)
    return report.workloads[index] if index < len(report.workloads) else None
