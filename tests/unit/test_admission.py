"""Whatever bounds a pod, what is proposed is admitted and scheduled, and its rollout ends.

As in kubernetes: plugin/pkg/admission/limitranger, pkg/quota/v1/evaluator/core/pods.go, and for how init
containers and native sidecars count staging/src/k8s.io/component-helpers/resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from functions.recommender.bounds import Bounds, Pods
from functions.recommender.rules import Rules
from functions.recommender.sizing import (
    Estimate,
    Observed,
    ObservedContainer,
    qos_class,
    size,
    size_all,
)
from shared.contracts.events import Resources, Usage
from shared.contracts.identity import Workload
from shared.contracts.prometheus import Series
from shared.contracts.quantities import MIB
from shared.contracts.wording import LABELS

RULES = Rules()
REQUEST = {"cpu": "cpu_request_m", "memory": "memory_request_bytes"}
LIMIT = {"cpu": "cpu_limit_m", "memory": "memory_limit_bytes"}


@dataclass(frozen=True)
class Of:
    """A container as a manifest has it."""

    name: str
    values: Resources
    runs: bool = True  # not an init container that ends
    sidecar: bool = False


@dataclass(frozen=True)
class Range:
    """An item of a LimitRange, by constraint and resource."""

    kind: str
    constraints: Mapping[tuple[str, str], Fraction]


def counted(pod: Sequence[Of], name: str) -> int | None:
    """What counts of a pod: None where nothing is set."""
    values = [each for each in pod if getattr(each.values, name) is not None]
    if not values:
        return None
    total: int = sum(getattr(each.values, name) for each in values if each.runs)
    beside, most = 0, 0
    for each in values:
        if each.sidecar:
            beside += getattr(each.values, name)
            most = max(most, beside)
        elif not each.runs:
            most = max(most, beside + getattr(each.values, name))
    return max(total, most)


def is_in_ranges(pod: Sequence[Of], ranges: Sequence[Range]) -> bool:
    def fits(constraint: str, bound: Fraction, request: int | None, limit: int | None) -> bool:
        if constraint == "min":
            return request is not None and request >= bound and (limit is None or limit >= bound)
        if constraint == "max":
            return limit is not None and limit <= bound and (request is None or request <= bound)
        return bool(request and limit) and Fraction(limit or 0, request or 1) <= bound

    return all(
        fits(constraint, bound, request, limit)
        for item in ranges
        for (constraint, resource), bound in item.constraints.items()
        for request, limit in (
            [(counted(pod, REQUEST[resource]), counted(pod, LIMIT[resource]))]
            if item.kind == "Pod"
            else [
                (getattr(each.values, REQUEST[resource]), getattr(each.values, LIMIT[resource]))
                for each in pod
            ]
        )
    )


def ends(old: Sequence[Of], new: Sequence[Of], pods: Pods, room: Mapping[str, int]) -> bool:
    """Whether a rollout does, where quotas have so much room."""
    for name, free in room.items():
        was, is_now = counted(old, name) or 0, counted(new, name) or 0
        olds, news = pods.wanted, 0
        while news < pods.wanted:
            # All of a Rollout that are added are waited for; of others one new pod lets one old end.
            if not pods.added:
                olds -= 1
            step = max(1, pods.added)
            for _ in range(min(step, pods.wanted - news)):
                news += 1
                if olds * was + news * is_now > pods.wanted * was + free:
                    return False
            if pods.added:
                olds = max(0, olds - step)
    return True


amounts = st.integers(16, 2048)


@st.composite
def values(draw: st.DrawFn) -> Resources:
    cpu, memory = draw(st.none() | st.integers(5, 3000)), draw(st.none() | amounts)
    cpu_limit = None if cpu is None else draw(st.none() | st.just(cpu) | st.integers(cpu, 6000))
    memory_limit = None if memory is None else draw(st.none() | st.just(memory) | st.integers(memory, 4096))
    return Resources(
        cpu_request_m=cpu,
        cpu_limit_m=cpu_limit,
        memory_request_bytes=None if memory is None else memory * MIB,
        memory_limit_bytes=None if memory_limit is None else memory_limit * MIB,
    )


@st.composite
def uses(draw: st.DrawFn) -> Usage:
    cpu, peak = draw(st.integers(1, 4000)), draw(amounts)
    return Usage(
        cpu_p95_m=cpu,
        cpu_max_m=cpu * draw(st.sampled_from((1, 1.2, 3))),
        memory_p95_bytes=peak * MIB // 2,
        memory_max_bytes=peak * MIB,
        samples=4032,
        pods=1,
        oom_kills=draw(st.sampled_from((0, 0, 1))),
    )


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    memory = draw(amounts) * MIB
    return Estimate(
        strategy="balanced",
        cpu_request_m=draw(st.integers(1, 4000)),
        memory_request_bytes=memory,
        memory_raise_bytes=memory,
        memory_limit_bytes=memory * 2,
        why_cpu="cpu",
        why_memory="memory",
    )


@st.composite
def ranges_of(draw: st.DrawFn, pod: Sequence[Of]) -> list[Range]:
    """Mostly such that admit the pod, and not much more."""
    slack = st.sampled_from([Fraction(share) for share in ("1", "1.05", "1.5", "4")])
    found = []
    for kind in draw(st.lists(st.sampled_from(("Container", "Pod")), max_size=3)):
        constraints: dict[tuple[str, str], Fraction] = {}
        for resource in draw(st.sets(st.sampled_from(("cpu", "memory")))):
            names = REQUEST[resource], LIMIT[resource]
            asked = (
                [tuple(counted(pod, name) for name in names)]
                if kind == "Pod"
                else [tuple(getattr(each.values, name) for name in names) for each in pod]
            )
            least = min((request or 0 for request, _ in asked), default=0)
            most = max((limit or request or 1 for request, limit in asked), default=1)
            ratio = max((Fraction(limit or 1, request or 1) for request, limit in asked), default=Fraction(1))
            for constraint in draw(st.sets(st.sampled_from(("min", "max", "maxLimitRequestRatio")))):
                by = draw(slack)
                bound = {
                    "min": Fraction(int(least / by)),
                    "max": Fraction(int(most * by)),
                    # As kube-state-metrics tells it: in thousandths.
                    "maxLimitRequestRatio": Fraction(-(-max(ratio * by, Fraction(1)) * 1000 // 1), 1000),
                }[constraint]
                constraints[constraint, resource] = bound
        found.append(Range(kind, constraints))
    return found


def base(resource: str, value: float | Fraction) -> float:
    """In cores or bytes, as kube-state-metrics tells it."""
    return float(value) / 1000 if resource.endswith("cpu") else float(value)


def rows_of_ranges(ranges: Sequence[Range]) -> list[Series]:
    return [
        Series(
            {
                "__name__": "kube_limitrange",
                "namespace": "shop",
                "limitrange": str(index),
                "type": item.kind,
                "resource": resource,
                "constraint": constraint,
            },
            float(bound) if "Ratio" in constraint else base(resource, bound),
        )
        for index, item in enumerate(ranges)
        for (constraint, resource), bound in item.constraints.items()
    ]


def rows_of_quota(room: Mapping[str, int], used: Mapping[str, int]) -> list[Series]:
    quota = {"__name__": "kube_resourcequota", "namespace": "shop", "resourcequota": "compute"}
    names = {name: f"requests.{resource}" for resource, name in REQUEST.items()}
    names |= {name: f"limits.{resource}" for resource, name in LIMIT.items()}
    return [
        Series({**quota, "resource": names[name], "type": kind}, base(names[name], value))
        for name, free in room.items()
        for kind, value in (("hard", used[name] + free), ("used", used[name]))
    ]


def rows_of_nodes(nodes: Sequence[Resources]) -> list[Series]:
    return [
        Series(
            {"__name__": "kube_node_status_allocatable", "node": str(index), "resource": resource},
            base(resource, getattr(node, name)),
        )
        for index, node in enumerate(nodes)
        for resource, name in REQUEST.items()
    ]


@dataclass(frozen=True)
class Scene:
    observed: Observed
    pod: list[Of]
    ranges: list[Range]
    pods: Pods
    room: dict[str, int]
    nodes: list[Resources]


@st.composite
def pods_of(draw: st.DrawFn) -> list[Of]:
    """In the order in which they begin."""
    running = [
        Of(f"c{index}", draw(values()), sidecar=bool(index) and draw(st.booleans()))
        for index in range(draw(st.integers(1, 3)))
    ]
    init = [
        Of(f"i{index}", draw(values()), runs=False) for index in range(draw(st.sampled_from((0, 0, 1, 2))))
    ]
    first = draw(st.permutations([*init, *(each for each in running if each.sidecar)]))
    return [*first, *(each for each in running if not each.sidecar)]


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    pod = draw(pods_of())
    running, init = [each for each in pod if each.runs], [each for each in pod if not each.runs]
    ranges = draw(ranges_of(pod))
    wanted = draw(st.integers(1, 5))
    pods = Pods(wanted, draw(st.sampled_from((0, 1, wanted))))
    room = {
        name: int((counted(pod, name) or 0) * draw(st.sampled_from((-0.5, 0, 0.3, 1, 2, 8))))
        for name in draw(st.sets(st.sampled_from(sorted(LABELS)), max_size=2))
    }
    used = {name: (counted(pod, name) or 0) * wanted + 10**10 for name in room}
    sizes = st.sampled_from((0.5, 1, 1.3, 4))
    nodes = [
        Resources(
            cpu_request_m=int((counted(pod, REQUEST["cpu"]) or 100) * draw(sizes)),
            memory_request_bytes=int((counted(pod, REQUEST["memory"]) or MIB) * draw(sizes)),
        )
        for _ in range(draw(st.integers(0, 2)))
    ]
    bounds = Bounds.of_rows([*rows_of_ranges(ranges), *rows_of_quota(room, used), *rows_of_nodes(nodes)])
    has_estimates, containers = draw(st.booleans()), []
    for each in running:
        measured = draw(st.one_of(uses(), uses(), uses(), st.none()))
        containers.append(
            ObservedContainer(
                each.name,
                each.values,
                measured,
                14 * 86400,
                oom_killed=bool(measured and measured.oom_kills),
                estimate=draw(estimates()) if has_estimates else None,
                bounds=bounds.of_container("shop", each.values),
                sidecar=each.sidecar,
            )
        )
    set_now, of_init = [each.values for each in running], [each.values for each in init]
    observed = Observed(
        Workload(cluster="local", namespace="shop", kind="Deployment", name="web"),
        wanted,
        float(wanted),
        tuple(containers),
        scales_on=frozenset(draw(st.sampled_from(((), (), ("cpu",), ("memory",))))),
        init={each.name: each.values for each in init},
        pod_bounds=bounds.of_pod("shop", set_now, of_init, pods),
        pod_least=bounds.least_of_pod("shop"),
        pod_ratios=bounds.ratios_of_pod("shop"),
    )
    return Scene(observed, pod, ranges, pods, room, nodes)


def fits_somewhere(pod: Sequence[Of], nodes: Sequence[Resources]) -> bool:
    return any(
        all((counted(pod, name) or 0) <= getattr(node, name) for name in REQUEST.values()) for node in nodes
    )


@given(scenes())
def test_what_is_proposed_is_admitted_and_scheduled(scene: Scene) -> None:
    pod, room, pods = scene.pod, scene.room, scene.pods
    sized = size(scene.observed, RULES)
    if sized.skipped is not None:
        return
    proposed = {each.name: each.proposed for each in sized.containers}
    new = [replace(each, values=proposed.get(each.name, each.values)) for each in pod]
    more = {name: (counted(new, name) or 0) - (counted(pod, name) or 0) for name in LABELS}
    # Where a limit is not set, a LimitRange has a default for it, or the pod is older.
    assert is_in_ranges(new, scene.ranges) or not is_in_ranges(pod, scene.ranges)
    assert ends(pod, new, pods, room)
    # The next one, too.
    assert ends(new, new, pods, {name: free - pods.wanted * more[name] for name, free in room.items()})
    if any(more[name] > 0 for name in REQUEST.values()) and fits_somewhere(pod, scene.nodes):
        assert fits_somewhere(new, scene.nodes)
    assert qos_class([each.values for each in new]) is sized.qos


def measured(
    name: str, cpu: int, peak: int, current: Resources, *, sidecar: bool = False
) -> ObservedContainer:
    usage = Usage(
        cpu_p95_m=cpu, cpu_max_m=cpu, memory_p95_bytes=peak, memory_max_bytes=peak, samples=4032, pods=1
    )
    return ObservedContainer(name, current, usage, 14 * 86400, sidecar=sidecar)


def applied(observed: Observed) -> tuple[Observed, list[int | None]]:
    """The same with what is proposed, and the CPU requests."""
    sized = size(observed, RULES)
    assert sized.skipped is None
    new = [
        replace(each, current=one.proposed)
        for each, one in zip(observed.containers, sized.containers, strict=True)
    ]
    return replace(observed, containers=tuple(new)), [each.current.cpu_request_m for each in new]


def test_what_one_cannot_have_or_is_too_little_for_it_the_others_have_at_once() -> None:
    """Else each rollout would leave some of it to the next."""
    of_memory = Resources(memory_request_bytes=100 * MIB)
    of_cpu = of_memory.model_copy(update={"cpu_request_m": 100})
    workload = Workload(cluster="local", namespace="shop", kind="Deployment", name="web")
    peak = 90 * MIB
    web = Observed(
        workload,
        1,
        1.0,
        (measured("a", 500, peak, of_cpu), measured("b", 96, peak, of_cpu)),
        pod_bounds={"LimitRange": Resources(cpu_request_m=300)},
    )
    beside_init = replace(
        web,
        containers=(measured("a", 500, peak, of_cpu), measured("b", 900, peak, of_memory, sidecar=True)),
        init={"setup": Resources(cpu_request_m=400)},
        pod_bounds={"node": Resources(cpu_request_m=300)},
    )
    for observed, wanted in ((web, [200, 100]), (beside_init, [300, None])):
        after, requests = applied(observed)
        assert requests == wanted
        assert size(after, RULES).skipped is not None


@given(scenes())
def test_for_a_bound_no_value_is_moved_further_or_the_other_way(scene: Scene) -> None:
    observed = scene.observed
    free = replace(
        observed,
        containers=tuple(replace(each, bounds=(Resources(), Resources())) for each in observed.containers),
        pod_bounds={},
        pod_least=Resources(),
        pod_ratios={},
    )
    # A Burstable pod's request may be a step below its limit, so as not to make it Guaranteed.
    steps = {name: MIB if "memory" in name else 1 for name in LABELS}
    sized, without = size(observed, RULES), size(free, RULES)
    if sized.skipped is not None or without.skipped is not None:
        return
    for each, wanted in zip(sized.containers, without.containers, strict=True):
        for name, step in steps.items():
            now, bound, most = (
                getattr(values, name) or 0 for values in (each.current, each.proposed, wanted.proposed)
            )
            assert min(now, most) - step <= bound <= max(now, most) + step, name


@st.composite
def namespaces(draw: st.DrawFn) -> tuple[list[Observed], list[Pods], dict[str, int]]:
    """Workloads of one container each, that could be rolled out as they are, with the room of their quota."""
    kinds = draw(st.lists(st.sampled_from(("Deployment", "Rollout", "StatefulSet")), min_size=2, max_size=4))
    set_now = [draw(values()) for _ in kinds]
    wanted = [draw(st.integers(1, 5)) for _ in kinds]
    added = [
        {"Deployment": 1, "Rollout": pods}.get(kind, 0) for kind, pods in zip(kinds, wanted, strict=True)
    ]
    kept, used, room = {}, {}, {}
    for name in draw(st.sets(st.sampled_from(sorted(LABELS)), min_size=1, max_size=2)):
        amounts_ = [getattr(each, name) or 0 for each in set_now]
        kept[name] = max(amount * more for amount, more in zip(amounts_, added, strict=True))
        used[name] = 1000 + sum(amount * pods for amount, pods in zip(amounts_, wanted, strict=True))
        room[name] = kept[name] + int(used[name] * draw(st.sampled_from((0.1, 0.3, 1, 3))))
    bounds = Bounds.of_rows(rows_of_quota(room, used))
    pods = [Pods(each, more, kept=kept) for each, more in zip(wanted, added, strict=True)]
    workloads = []
    for index, (kind, each, its) in enumerate(zip(kinds, set_now, pods, strict=True)):
        usage = draw(uses())
        container = ObservedContainer("c", each, usage, 14 * 86400, oom_killed=bool(usage.oom_kills))
        workload = Workload(cluster="local", namespace="shop", kind=kind, name=f"w{index}")
        quota = bounds.of_pod("shop", [each], [], its)
        workloads.append(Observed(workload, its.wanted, float(its.wanted), (container,), pod_bounds=quota))
    return workloads, pods, room


@given(namespaces())
def test_what_is_proposed_together_is_rolled_out_in_any_order(
    namespace: tuple[list[Observed], list[Pods], dict[str, int]],
) -> None:
    workloads, pods, room = namespace
    changes = [
        ([Of("c", each.containers[0].current)], [Of("c", sized.containers[0].proposed)], its)
        for (each, sized), its in zip(size_all(workloads, RULES), pods, strict=True)
        if sized.skipped is None
    ]
    for order in permutations(changes):
        free = dict(room)
        for old, new, its in order:
            assert ends(old, new, its, free)
            for name in room:
                free[name] -= its.wanted * ((counted(new, name) or 0) - (counted(old, name) or 0))
