"""What is tested on, from a cluster's own Prometheus: what its containers used in the last weeks.

A window's figures are those that the engine sizes by: `rate` over five minutes and the highest memory, in the
worst pod, whichever pods ran the container at that time. Values come by containers of pods, in parts of the
time; owners are joined here.

Memory never shows above a limit, because the kernel kills first. So a window in which a container was killed
counts as one with memory just above the limit of that time: who sets no more would have killed it too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from functions.recommender import queries
from functions.recommender.asking import MOST_WORKLOADS, Asking, Part, at_once, pieces, together
from functions.recommender.cluster import Cluster, Controller, Owners, Pod
from functions.recommender.queries import Kills, Scope, Window
from functions.recommender.reading import scrapes, state
from functions.recommender.sizing import (
    BEST_EFFORT_STAYS,
    REQUESTS_UNTOLD,
    RUN_TO_COMPLETION,
    SCALED_ON_UNKNOWN,
    SUPPORTED,
    QosClass,
    lacks_requests,
    qos_class,
    resized,
)
from infra.backtest.digests import Floats
from infra.backtest.fleet import Fleet, Treatment
from infra.backtest.scoring import MEASURED

if TYPE_CHECKING:
    from functions.recommender.whose import Whose
    from infra.backtest.walking import Pace
    from shared.contracts.prometheus import Curve, Prometheus

# What find() asks: for a bar's length only.
ABOUT_QUERIES = 4
NEVER_MEASURED = "CPU or memory was never measured"
# Of one series, in one answer: no Prometheus gives more.
MOST_POINTS = 11_000
# Of one answer. While it is read a value takes some 300 bytes, and four answers are read at once.
MOST_VALUES = 100_000
# A pod that was measured in none of the last windows is no more, though it may still be told of.
_LATELY = 3

Container = tuple[Controller, str]  # whose, and its name


@dataclass(frozen=True)
class LeftOut:
    """`number` of `what` (container, workload) that are not tested on, and why."""

    number: int
    what: str
    why: str


@dataclass(frozen=True)
class Found:
    """The containers there are, one row each, and the windows to read.

    Window n ends at `begin` (Unix seconds) plus n + 1 steps; there are `windows` of them.
    """

    begin: float
    windows: int
    window: Window
    part: Part
    now: Cluster
    owners: Owners
    rows: Mapping[Container, int]
    left_out: tuple[LeftOut, ...]
    kills: Kills

    @property
    def namespaces(self) -> set[str]:
        """Of all workloads, those that are left out included."""
        return {namespace for namespace, _, _ in self.now.controllers()}

    @cached_property
    def pieces(self) -> list[Part]:
        """What one query each is about: all workloads, unless there are very many."""
        return pieces(self.part, MOST_WORKLOADS)

    @cached_property
    def chunks(self) -> list[slice]:
        """The windows in parts, so that no answer is larger than a server gives or than we can hold."""
        pods = self.now.controllers()
        series = max(
            sum(
                len(pods[namespace, kind, name]) or 1
                for (namespace, kind, name), _ in self.rows
                if (namespace, name) in piece.workloads
            )
            for piece in self.pieces
        )
        most = max(1, min(MOST_POINTS, MOST_VALUES // max(1, series)))
        return [slice(at, min(at + most, self.windows)) for at in range(0, self.windows, most)]

    @property
    def queries(self) -> int:
        """How many `read` asks, if none has to be halved."""
        return len(_QUESTIONS) * len(self.chunks) * len(self.pieces)

    def row(self, labels: Mapping[str, str]) -> int | None:
        """Of the container that a series is of; None if it is none that is looked for."""
        owner = self.owners.controller((labels.get("namespace", ""), labels.get("pod", "")))
        return None if owner is None else self.rows.get((owner, labels.get("container", "")))


@dataclass(frozen=True)
class Measured:
    """CPU in cores, memory in bytes, the pods that they are the worst of: (containers, windows) all.

    `lately` are the pods that were measured at the end. `kills` are OOM kills: row, windows, limits (bytes).
    """

    cpu: Floats
    memory: Floats
    pods: NDArray[np.uint16]
    lately: set[Pod] = field(default_factory=set)
    kills: list[tuple[int, NDArray[np.int64], Floats]] = field(default_factory=list)


def find(
    prometheus: Prometheus,
    at: datetime,
    span: timedelta,
    namespaces: Collection[str] = (),
    *,
    labels: str = "",
) -> Found:
    """The workloads of `namespaces` (empty: of all) at `at`, to be read over `span` before.

    `labels` are the matchers of this cluster's series, as PROMETHEUS_LABELS has them.

    Raises:
        Temporary: Prometheus cannot be reached, or will not run a query.
    """
    asking = Asking(prometheus, at)
    scope = Scope(tuple(sorted(namespaces)), labels=labels)
    now = Cluster.of(state(asking, scope))
    controllers = now.controllers()
    part = Part(scope, frozenset((namespace, name) for namespace, _, name in controllers))
    often = scrapes(asking, scope, span)
    window = queries.window(span, *queries.samples(often))
    owners = Owners.of(asking.owners(part, span, queries.gone(often)))
    owners.update(now.owners)
    lasting = [each for each in controllers if each[1] not in RUN_TO_COMPLETION]
    keys = [(each, name) for each in lasting for name in now.container_names(controllers[each])]
    left_out = (
        LeftOut(len(controllers) - len(lasting), "workload", "run to completion: sized by run, not by week"),
        LeftOut(
            len(lasting) - len({controller for controller, _ in keys}), "workload", "have no pods at present"
        ),
    )
    # At times that all readings have in common: some servers move a range's times to such anyway.
    windows = window.history // window.step
    end = at.timestamp() // window.step * window.step
    return Found(
        begin=end - windows * window.step,
        windows=windows,
        window=window,
        part=Part(scope, frozenset((namespace, name) for namespace, _, name in lasting)),
        now=now,
        owners=owners,
        rows={key: row for row, key in enumerate(sorted(keys))},
        left_out=tuple(each for each in left_out if each.number),
        kills=queries.kills(often),
    )


def read(prometheus: Prometheus, found: Found) -> Measured:
    """What the containers used in each window, by AT_ONCE queries side by side.

    Raises:
        Temporary: Prometheus cannot be reached, or will not run a query, not for a part either.
    """
    shape = (len(found.rows), found.windows)
    measured = Measured(np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, np.uint16))
    at_once(
        [
            partial(_read, prometheus, found, measured, chunk, name)
            for chunk in found.chunks
            for name in _QUESTIONS
        ]
    )
    for row, places, limits in measured.kills:
        measured.memory[row, places] = np.fmax(measured.memory[row, places], np.nextafter(limits, np.inf))
    return measured


def cpu_query(scope: Scope, window: Window) -> str:
    """Aggregated to the container, because one that was restarted within its pod has several series."""
    rate = f"rate({queries.CPU}{{{scope.containers}}}[{queries.duration(window.cpu)}])"
    return f"max {queries.CONTAINER} ({rate})"


def memory_query(scope: Scope, window: Window) -> str:
    memory = f"{queries.MEMORY}{{{scope.containers}}}[{queries.duration(window.cpu)}]"
    return f"max {queries.CONTAINER} (max_over_time({memory}))"


def kills_query(scope: Scope, window: Window) -> str:
    """The memory limit of that time where one was killed. The reason stays after the kill: only a restart
    tells when, and of two windows, because it may lie between the last scrape of the one and the next.
    """

    def told(containers: str, sidecars: str, more: str = "", over: str = "") -> list[str]:
        """Of native sidecars kube-state-metrics tells under other names."""
        return [f"{metric}{{{scope.containers}{more}}}{over}" for metric in (containers, sidecars)]

    steps = told(queries.RESTARTS, queries.INIT_RESTARTS, over=f"[{queries.duration(2 * window.cpu)}]")
    restarts = " or ".join(f"increase({each})" for each in steps)
    reason = " or ".join(told(queries.LAST_REASON, queries.INIT_LAST_REASON, ', reason="OOMKilled"'))
    limits = " or ".join(told(queries.LIMITS, queries.INIT_LIMITS, ', resource="memory"'))
    return (
        f"max {queries.CONTAINER} ({limits}) and max {queries.CONTAINER} ({restarts}) > 0"
        f" and max {queries.CONTAINER} ({reason}) > 0"
    )


_QUESTIONS = {"cpu": cpu_query, "memory": memory_query, "kills": kills_query}


def _read(prometheus: Prometheus, found: Found, measured: Measured, chunk: slice, name: str) -> None:
    """Fills in one chunk of one question's answer: no two calls write to the same place."""
    end = datetime.fromtimestamp(found.begin + chunk.stop * found.window.step, UTC)
    step, count = timedelta(seconds=found.window.step), chunk.stop - chunk.start
    question = partial(_QUESTIONS[name], window=found.window)
    # Piece after piece, because AT_ONCE chunks are read side by side already. None of the questions is over
    # windows: a server has one series at a time, and chunks bound the answer.
    asking, begin = Asking(prometheus, end), end - (count - 1) * step
    answers = [asking.ranges({name: question}, piece, begin, end, step)[name] for piece in found.pieces]
    for curve in together(answers):
        row = found.row(curve.labels)
        if row is None:
            continue
        places, values = _places(curve, found, chunk)
        if name == "kills":
            measured.kills.append((row, places, values))
            continue
        figures = measured.cpu if name == "cpu" else measured.memory
        figures[row, places] = np.fmax(figures[row, places], values)
        if name == "cpu":
            measured.pods[row, places] += 1
        if len(places) and places[-1] >= found.windows - _LATELY:
            measured.lately.add((curve.labels["namespace"], curve.labels["pod"]))


def _places(curve: Curve, found: Found, chunk: slice) -> tuple[NDArray[np.int64], Floats]:
    """The windows of a curve's points that lie in the chunk, and their values."""
    times, values = np.array(curve.times), np.array(curve.values)
    places = np.rint((times - found.begin) / found.window.step).astype(np.int64) - 1
    inside = (places >= chunk.start) & (places < chunk.stop)
    return places[inside], values[inside]


def fleet(name: str, found: Found, measured: Measured, *, keep_qos: bool = True) -> Fleet:
    """All containers, from the first window on in which one was measured: a server may not go back so far.

    What they request is what they request now; what is not set counts as 0, because nothing is held back.
    Where others were measured and one was not, it had no pod; in a gap of all it is taken to have had one.
    `keep_qos` is the engine's setting.
    """
    there = np.isfinite(measured.cpu).any(axis=0)
    first = int(there.argmax()) if there.any() else found.windows
    pods = _pods(found, measured)
    resources = [found.now.resources(pods[controller], name) for controller, name in found.rows]
    treatments = _treatments(found.now, pods, keep_qos, found.kills)
    return Fleet(
        name,
        tuple((f"{namespace}/{kind}/{of}", container) for (namespace, kind, of), container in found.rows),
        measured.cpu[:, first:],
        measured.memory[:, first:],
        found.begin + first * found.window.step,
        found.window.step,
        cpu_request=np.array([(each.cpu_request_m or 0) / 1000 for each in resources]),
        memory_request=np.array([float(each.memory_request_bytes or 0) for each in resources]),
        memory_limit=np.array([float(each.memory_limit_bytes or np.nan) for each in resources]),
        pods=np.where(there, measured.pods, np.uint16(1))[:, first:],
        starts_as_set=True,
        treatments=tuple(treatments[each] for each in found.rows),
    )


def _pods(found: Found, measured: Measured) -> dict[Controller, list[Pod]]:
    """Those that live, of the workloads that are read. Evicted and finished pods are still told of, with what
    they asked for in their time.
    """
    read = {controller for controller, _ in found.rows}
    return {
        controller: [pod for pod in pods if pod in measured.lately] or pods
        for controller, pods in found.now.controllers().items()
        if controller in read
    }


def _treatments(
    now: Cluster, pods: Mapping[Controller, list[Pod]], keep_qos: bool, kills: Kills
) -> dict[Container, Treatment]:
    """What the engine does with each container of these workloads, as functions.recommender.sizing has it.

    But for JVMs: where it knows the heap it lowers memory to that, and here memory stays; in a Guaranteed pod
    it raises CPU where use needs it, and here CPU stays.
    """
    found = {}
    for controller, its in pods.items():
        names = now.container_names(its)
        others = now.init_containers(its).values()
        resources = [now.resources(its, name) for name in names]
        qos = qos_class([*resources, *others])
        scales_on = now.scales_on(controller)
        told = kills.are_told(of_sidecars=now.has_sidecars(its))
        unseen = "" if told else "OOM kills would not be seen, so the engine lowers none"
        both = ""
        if why := resized(now.resized_by(controller)):
            both = why
        elif controller[1] not in SUPPORTED:
            both = f"kind {controller[1]} is not sized"
        elif qos is QosClass.BEST_EFFORT and keep_qos:
            both = BEST_EFFORT_STAYS
        elif any(map(lacks_requests, resources)):
            both = REQUESTS_UNTOLD
        elif "unknown" in scales_on:
            both = SCALED_ON_UNKNOWN
        cpu, memory = (
            f"a HorizontalPodAutoscaler scales on its {what}" if what.lower() in scales_on else ""
            for what in ("CPU", "memory")
        )
        is_guaranteed = qos is QosClass.GUARANTEED
        for name in names:
            is_jvm = now.jvms.of(its, name) is not None
            heap = "it is a JVM, whose heap flags decide what it uses" if is_jvm else ""
            tied = "it is a JVM, which chooses its collector by the limit" if is_jvm and is_guaranteed else ""
            found[controller, name] = Treatment(
                both or cpu or tied, both or memory or heap or unseen, is_guaranteed=is_guaranteed
            )
    return found


def with_some_to_size(whole: Fleet) -> tuple[Fleet, tuple[LeftOut, ...]]:
    """Those of which the engine sizes something, be it CPU or memory alone."""
    nothing = whole.treated(lambda each: each.cpu_stays and each.memory_stays)
    left_out = Counter(
        "; ".join(dict.fromkeys((each.cpu_stays, each.memory_stays)))
        for each in whole.only(nothing).treatments
    )
    return (
        whole.only(~nothing),
        tuple(LeftOut(number, "container", why) for why, number in sorted(left_out.items())),
    )


def but_hidden(whole: Fleet, owners: Whose) -> tuple[Fleet, tuple[LeftOut, ...]]:
    """Without what is in a namespace that series name in place of another: it may be told of others."""
    is_hidden = np.array([workload.partition("/")[0] in owners.hidden for workload, _ in whole.containers])
    if owners.why_hidden is None or not is_hidden.any():
        return whole, ()
    return whole.only(~is_hidden), (LeftOut(int(is_hidden.sum()), "container", owners.why_hidden),)


def with_enough(whole: Fleet, pace: Pace, least: int) -> tuple[Fleet, tuple[LeftOut, ...]]:
    """Those that were measured in at least so many windows, and both before and after a refit."""
    cpu, memory = np.isfinite(whole.cpu), np.isfinite(whole.memory)
    both = cpu & memory
    counts = both.sum(axis=1)
    judged = np.zeros(len(counts), dtype=bool)
    for windows in pace.holds(whole):
        before = both[:, : windows.start].any(axis=1)
        judged |= before & (cpu[:, windows].mean(axis=1) >= MEASURED)
    enough = counts >= least
    minutes = whole.window // 60
    left_out = (
        (~whole.is_measured, NEVER_MEASURED),
        (~enough & whole.is_measured, f"less than {least} windows of {minutes} minutes"),
        (enough & ~judged, "too young to be judged, or gone too early"),
    )
    return (
        whole.only(enough & judged),
        tuple(LeftOut(int(which.sum()), "container", why) for which, why in left_out if which.any()),
    )
