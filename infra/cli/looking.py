"""What scan and propose share: the settings, and a cluster's workloads with what they should ask for."""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar, get_args

from functions.recommender.prices import Prices
from functions.recommender.reading import Reading, discover, read
from functions.recommender.report import Entry, entry
from functions.recommender.rules import PERCENTILE, Peer
from functions.recommender.settings import SizingSettings
from functions.recommender.sizing import RUN_TO_COMPLETION, SUPPORTED, size_all
from functions.recommender.whose import CLUSTERS, Whose, whose, whose_query
from infra.cli.histories import Histories, histories
from infra.cli.parts import Missing, in_parts
from infra.cli.progress import progress
from shared.contracts.errors import BadSetting, KubeFinOpsError, Temporary
from shared.contracts.prometheus import QueryFailed
from shared.contracts.quantities import GIB
from shared.contracts.wording import counted, some
from shared.runtime.settings import CLUSTER_NAME, PrometheusSettings
from shared.runtime.world import prometheus_of

if TYPE_CHECKING:
    from pathlib import Path

    from infra.cli.comparing import Rule
    from shared.contracts.events import ContainerProposal
    from shared.contracts.prometheus import Curve, Prometheus, Series

S = TypeVar("S", bound=PrometheusSettings)

# A person waits for a whole cluster at once; a function has its delivery's time.
QUERY_SECONDS = 120
# What is asked about clusters; by read() where nothing runs to completion, and for prices of nodes; by
# histories(): for a bar's length only.
ABOUT_WHOSE, ABOUT_QUERIES, ABOUT_PRICES, ABOUT_HISTORIES = 1, 17, 2, 2

# In a namespace's name, for what may stand there.
_WILD = frozenset("*?")


class NothingFound(KubeFinOpsError):
    """Prometheus answers, and tells of no workload that was asked for, or of no use of any."""


@dataclass(frozen=True)
class Ownerless:
    """CPU in millicores and memory in bytes, of so many pods."""

    pods: int = 0
    cpu_request_m: int = 0
    memory_request_bytes: int = 0

    @classmethod
    def of(cls, reading: Reading) -> Ownerless:
        """Those of the reading together."""
        asked = reading.ownerless.values()
        return cls(
            len(asked),
            sum(each.cpu_request_m or 0 for each in asked),
            sum(each.memory_request_bytes or 0 for each in asked),
        )

    @property
    def told(self) -> str:
        """In a sentence; empty of none."""
        if not self.pods:
            return ""
        they = "is" if self.pods == 1 else "are"
        return (
            f"{counted(self.pods, 'pod')} of no workload (a node's own, or made by hand) {they} left out:"
            f" asked for are {self.cpu_request_m / 1000:g} cores and"
            f" {self.memory_request_bytes / GIB:.1f} GiB."
        )


@dataclass(frozen=True)
class Seen:
    """Every workload that could be read, with its proposal or the reason for none.

    `missing` is what could not be read. `histories` are there if they were asked for and could be read;
    `no_histories` says why they could not. `rule` is another tool's, where the entries are its figures.
    `notes` are what a reader of the figures has to know; `is_unmeasured`: nothing was measured of what runs,
    so they say nothing, and a note says why. `ownerless` are pods of no workload: no part of the figures.
    """

    entries: list[Entry]
    histories: Histories | None = None
    no_histories: str | None = None
    missing: tuple[Missing, ...] = ()
    rule: Rule | None = None
    notes: tuple[str, ...] = ()
    is_unmeasured: bool = False
    ownerless: Ownerless = Ownerless()


def follows(strategy: str) -> str:
    """What the requests that are shown beside use go by, in a sentence."""
    cpu = "the p95" if strategy == PERCENTILE else "a high quantile in which late days weigh more"
    memory = (
        "" if strategy == PERCENTILE else " and a margin by size and by how far it leaves its usual level"
    )
    return (
        f"A CPU request follows {cpu}, memory the maximum{memory}; in a Guaranteed pod, and for Jobs, CPU"
        " follows the maximum too."
    )


def sizing_settings(
    prometheus_url: str,
    labels: Sequence[str] = (),
    strategy: str | None = None,
    *,
    provider: str | None = None,
    prices: Path | None = None,
) -> SizingSettings:
    """See `asked`; with this strategy, this provider's prices and this file of prices, if there are any.

    Raises:
        BadSetting: also where the strategy is another tool's rule.
    """
    if strategy in get_args(Peer):
        raise BadSetting(
            f"--strategy: {strategy} is another tool's rule, by which nothing is proposed; what it says is"
            f" shown by `kubefinops scan --strategy {strategy}`"
        )
    more = {
        "KUBEFINOPS_STRATEGY": strategy or "",
        "KUBEFINOPS_PRICE_PROVIDER": provider or "",
        "KUBEFINOPS_PRICES_FILE": "" if prices is None else str(prices),
    }
    return asked(SizingSettings, prometheus_url, labels, more)


def asked(
    kind: type[S], prometheus_url: str, labels: Sequence[str] = (), more: Mapping[str, str] | None = None
) -> S:
    """The environment's settings, with this address and, if there are any, these labels, each KEY=VALUE; by
    them the cluster is called, unless KUBEFINOPS_CLUSTER says how.

    `more` are other variables of which those that are empty are left to the environment.

    Raises:
        BadSetting: names what the address or the labels came from.
    """
    if not prometheus_url.strip():
        raise BadSetting("--prometheus: an address is needed, such as http://localhost:9090")
    given = {"PROMETHEUS_URL": prometheus_url, **({"PROMETHEUS_LABELS": ",".join(labels)} if labels else {})}
    given |= {variable: value for variable, value in (more or {}).items() if value}
    if not os.environ.get("KUBEFINOPS_CLUSTER") and (name := _cluster_of(labels)):
        given["KUBEFINOPS_CLUSTER"] = name
    options = {
        "PROMETHEUS_URL": "--prometheus",
        "PROMETHEUS_LABELS": "--label",
        "KUBEFINOPS_STRATEGY": "--strategy",
        "KUBEFINOPS_PRICE_PROVIDER": "--provider",
        "KUBEFINOPS_PRICES_FILE": "--prices",
        "KUBEFINOPS_CLUSTER": "--label",
    }
    try:
        return kind.read({**os.environ, **given})
    except BadSetting as error:
        text = str(error)
        for variable, value in given.items():
            if os.environ.get(variable) != value:
                text = re.sub(rf"(setting )?\b{variable}:", f"{options[variable]}:", text)
        raise BadSetting(text) from None


def _cluster_of(labels: Sequence[str]) -> str:
    """What the label that tells clusters apart says; empty where that is no cluster's name."""
    told = {name.strip(): value.strip() for name, _, value in (each.partition("=") for each in labels)}
    name = next((told[each] for each in CLUSTERS if each in told), "")
    return name if re.fullmatch(CLUSTER_NAME, name) else ""


def of_one_cluster(
    prometheus: Prometheus, at: datetime, labels: str, namespaces: Collection[str], address: str
) -> Whose:
    """Whose the series of these namespaces are, by one query.

    Raises:
        BadSetting: there are several clusters: one's use would be taken for another's.
        Temporary: Prometheus cannot be reached, or will not run it.
    """
    owners = whose(prometheus.query(whose_query(labels, namespaces), at))
    if owners.several:
        raise BadSetting(f"--label: {address} has {owners.several}")
    return owners


def look(settings: SizingSettings, namespaces: Collection[str], at: datetime) -> list[Entry]:
    """Every workload of `namespaces` (empty: of all) at `at`, with its proposal or the reason for none.

    Raises:
        BadSetting: there are several clusters: one's use would be taken for another's.
        NothingFound: there is no such namespace, or no workload, or nothing was measured of any.
        Temporary: Prometheus cannot be reached, or does not answer everything.
    """
    client = prometheus_of(settings, QUERY_SECONDS)
    labels = settings.prometheus_labels
    with told(client, _about(settings)) as prometheus:
        namespaces = matching(namespaces, prometheus, at, labels, client.address)
        owners = of_one_cluster(prometheus, at, labels, namespaces, client.address)
        found = _entries(_read(namespaces, prometheus, at, settings), settings)
        there = {each.workload.namespace for each in found}
        require(
            there, namespaces, prometheus, at, labels=labels, address=client.address, why=owners.why_hidden
        )
    if why := _unmeasured(found, owners):
        raise NothingFound(why)
    return _but_hidden(found, owners)


def see(
    settings: SizingSettings,
    namespaces: Collection[str],
    at: datetime,
    *,
    kinds: Collection[str] = (),
    with_histories: bool = False,
    peer: Peer | None = None,
) -> Seen:
    """The same, in parts if the whole is not answered, and on demand how usage went over the history.

    If any `kinds` are named, it is of these alone. With a `peer` the figures are those of its rule.

    Raises:
        NothingFound: there is no such namespace, or no workload.
        Temporary: Prometheus cannot be reached, or answers for no part.
    """
    client = prometheus_of(settings, QUERY_SECONDS)
    labels = settings.prometheus_labels
    rule = None if peer is None else _rule(peer)
    with told(client, _about(settings) + with_histories * ABOUT_HISTORIES) as prometheus:
        namespaces = matching(namespaces, prometheus, at, labels, client.address)
        owners, notes = Whose(), []
        try:
            owners = whose(prometheus.query(whose_query(labels, namespaces), at))
        except QueryFailed as error:
            notes.append(f"whether there are several clusters is not known: {error}")
        reading, missing = in_parts(
            partial(_read, prometheus=prometheus, at=at, settings=settings, kinds=kinds, rule=rule),
            lambda: _counts(prometheus, at, namespaces, settings, kinds),
            namespaces,
        )
        found = _entries(reading, settings, rule)
        there = {each.workload.namespace for each in found}
        known = there.union(*(each.namespaces for each in missing))
        require(
            known,
            namespaces,
            prometheus,
            at,
            labels=labels,
            address=client.address,
            why=owners.why_hidden,
            kinds=kinds,
        )
        unmeasured = _unmeasured(found, owners)
        notes += _notes(found, owners, unmeasured, rule)
        seen = Seen(
            _but_hidden(found, owners),
            missing=missing,
            rule=rule,
            notes=tuple(notes),
            is_unmeasured=unmeasured is not None,
            ownerless=Ownerless.of(reading),
        )
        if not with_histories:
            return seen
        try:
            drawn = histories(prometheus, reading, at, there if missing else namespaces)
            return replace(seen, histories=drawn)
        except Temporary as error:
            # Nothing is sized by them: the figures stand, and the page says that its plots are missing.
            return replace(seen, no_histories=str(error))


def _about(settings: SizingSettings) -> int:
    """Queries of a look."""
    return ABOUT_WHOSE + ABOUT_QUERIES + settings.price_list.by_node * ABOUT_PRICES


def _counts(
    prometheus: Prometheus,
    at: datetime,
    namespaces: Collection[str],
    settings: SizingSettings,
    kinds: Collection[str],
) -> Counter[str]:
    """How many workloads each namespace has."""
    found = discover(prometheus, settings.cluster, at, namespaces, labels=settings.prometheus_labels)
    return Counter(workload.namespace for workload in found if not kinds or workload.kind in kinds)


def _read(
    namespaces: Collection[str],
    prometheus: Prometheus,
    at: datetime,
    settings: SizingSettings,
    *,
    kinds: Collection[str] = (),
    rule: Rule | None = None,
) -> Reading:
    reading = read(
        prometheus,
        settings.cluster,
        at,
        history=settings.window,
        oom_days=settings.oom_days,
        namespaces=namespaces,
        kinds=kinds,
        labels=settings.prometheus_labels,
        strategy=settings.strategy if rule is None else PERCENTILE,
        by_node=settings.price_list.by_node,
        spot_matters=settings.price_list.spot is not None,
    )
    return reading if rule is None else rule.compared(reading, prometheus, at, namespaces)


def _rule(peer: Peer) -> Rule:
    from infra.cli.comparing import RULES  # noqa: PLC0415  # numpy is heavy, and nothing else needs it

    return RULES[peer]


def _entries(reading: Reading, settings: SizingSettings, rule: Rule | None = None) -> list[Entry]:
    """Sized and priced as the recommender does, or by another tool's rule; no document is looked at, so what
    is in flight or was refused before is proposed here too.
    """
    prices = Prices(settings.price_list, reading.nodes, reading.spot)
    if rule is None:
        found = size_all(reading.workloads, settings.rules)
    else:
        found = ((observed, rule.size(observed, settings.rules)) for observed in reading.workloads)
    return [
        entry(observed, sized, prices.of(observed.nodes), must_save=rule is None) for observed, sized in found
    ]


def _but_hidden(found: list[Entry], owners: Whose) -> list[Entry]:
    """Left as it is what is in a namespace that series name in place of another: it may be told of others."""
    left = {"decision": "skipped", "reason": owners.why_hidden, "monthly_waste_left": None}
    return [
        each.model_copy(update=left) if each.workload.namespace in owners.hidden else each for each in found
    ]


def _unmeasured(found: Collection[Entry], owners: Whose) -> str | None:
    """Why the figures of these say nothing; None if something was measured, or nothing runs."""
    rightly = [each for each in found if each.workload.namespace not in owners.hidden]
    # Of what runs to completion nothing may have run.
    runs = any(
        each.replicas and each.workload.kind in SUPPORTED and each.workload.kind not in RUN_TO_COMPLETION
        for each in rightly
    )
    if any(each.containers for each in rightly) or (len(rightly) == len(found) and not runs):
        return None
    spaces = len({each.workload.namespace for each in found})
    why = (
        "kube-state-metrics tells of them, and cAdvisor of no use of their containers, or for less than half"
        " an hour"
    )
    if not any(each.seen for each in rightly):
        why = "nothing tells of pods that are theirs (kube_pod_owner)"
    return (
        f"nothing was measured of {counted(len(found), 'workload')} in {counted(spaces, 'namespace')}:"
        f" {why if runs else owners.why_hidden}; `kubefinops doctor` tells more"
    )


def _notes(
    found: Collection[Entry], owners: Whose, unmeasured: str | None, rule: Rule | None
) -> Iterator[str]:
    if owners.several:
        yield f"Prometheus has {owners.several}; here they are read as one"
    spaces = {each.workload.namespace for each in found}
    hidden = spaces & set(owners.hidden)
    if hidden and hidden != spaces:
        yield f"{owners.why_hidden}; what is in {some(hidden)} is left as it is"
    running = [each for each in found if each.containers]
    blind = [each for each in running if not each.tells_kills]
    if rule is None and blind:
        what = "no memory" if len(blind) == len(running) else f"memory of {counted(len(blind), 'workload')}"
        lowered = "is lowered" if len(blind) == len(running) else "is not lowered"
        yield f"{what} {lowered}, as OOM kills would not be seen: `kubefinops doctor` tells what lacks"
    if rule is None and _lacks_limits([each for entry in running for each in entry.containers]):
        yield (
            "no limit is told of any container (kube_pod_container_resource_limits), though some have one: a"
            " Guaranteed pod is taken for a Burstable one; `kubefinops doctor` tells how to get that"
        )
    kinds = {each.workload.kind for each in found if each.seen}
    lacks = any(each.replicas for each in found if each.workload.kind == "Deployment")
    if lacks and "ReplicaSet" in kinds and kinds.isdisjoint({"Deployment", "Rollout"}):
        yield (
            "no Deployment is sized, as nothing tells whose ReplicaSets are (kube_replicaset_owner):"
            " `kubefinops doctor` tells how to get that"
        )
    if unmeasured:
        yield unmeasured


def _lacks_limits(containers: Collection[ContainerProposal]) -> bool:
    """Whether limits are not told: of none there is any, though some are counted CFS periods, as what has a
    CPU limit alone is.
    """
    told = any(each.current.cpu_limit_m or each.current.memory_limit_bytes for each in containers)
    return not told and any(each.usage.throttled_share is not None for each in containers)


def matching(
    namespaces: Collection[str], prometheus: Prometheus, at: datetime, labels: str, address: str
) -> Collection[str]:
    """These names, and in place of those with * or ? what there is: by one query, if there are any such.

    Raises:
        NothingFound: one of them matches none.
        Temporary: Prometheus cannot be reached, or will not run it.
    """
    if not any(_WILD & set(each) for each in namespaces):
        return namespaces
    there = _there(prometheus, at, labels)
    found = {each: fnmatch.filter(there, each) if _WILD & set(each) else [each] for each in namespaces}
    if unknown := [each for each, names in found.items() if not names]:
        raise _no_namespace(unknown, there, labels, address)
    return sorted({name for names in found.values() for name in names})


def _there(prometheus: Prometheus, at: datetime, labels: str) -> set[str]:
    """Namespaces with pods."""
    rows = prometheus.query(f"count by (namespace) (kube_pod_owner{{{labels}}})", at)
    return {row.labels.get("namespace", "") for row in rows}


def _no_namespace(
    unknown: Collection[str], there: Collection[str], labels: str, address: str, why: str | None = None
) -> NothingFound:
    # A label that no series has is the likeliest cause of all, and nothing is wrong with the series then.
    chosen = f" with {labels}" if labels else ""
    seen = f"seen: {some(there) or 'none'}{f'; {why}' if why else ''}"
    return NothingFound(f"no namespace {some(unknown)}{chosen} at {address}; {seen}")


def require(
    found: Collection[str],
    namespaces: Collection[str],
    prometheus: Prometheus,
    at: datetime,
    *,
    labels: str,
    address: str,
    why: str | None = None,
    kinds: Collection[str] = (),
) -> None:
    """`found` are the namespaces of the workloads that were found, of these `kinds` alone if any are named;
    `why` others may not have been.

    Raises:
        NothingFound: one of `namespaces` is not there, or no workload at all.
    """
    if missing := set(namespaces) - set(found):
        there = _there(prometheus, at, labels)
        if unknown := missing - there:
            raise _no_namespace(unknown, there, labels, address, why)
    if not found:
        where = f"namespace {', '.join(namespaces)}" if namespaces else "any namespace"
        what, chosen = " or ".join(kinds) or "workload", f" with {labels}" if labels else ""
        if kinds and _there(prometheus, at, labels):
            raise NothingFound(
                f"no {what} in {where}{chosen} at {address}: without --kind others may be there;"
                " `kubefinops doctor` says which series are"
            )
        raise NothingFound(
            f"no {what} in {where}{chosen} at {address}: it needs the series of kube-state-metrics"
            " (kube_pod_owner) and cAdvisor, up to now: `kubefinops doctor` says which are there"
        )


@contextmanager
def told(prometheus: Prometheus, about: int) -> Iterator[Prometheus]:
    """The same, that tells how far it is: a large cluster takes its time.

    Kills, throttling and a large cluster take more queries than was thought.
    """
    with progress("asking Prometheus", about, "queries") as advance:
        yield _Told(prometheus, advance)


class _Told:
    """Tells of each query that was answered."""

    def __init__(self, prometheus: Prometheus, answered: Callable[[], None]) -> None:
        self._prometheus = prometheus
        self._answered = answered

    def query(self, promql: str, at: datetime, timeout: float | None = None) -> list[Series]:
        rows = self._prometheus.query(promql, at, timeout)
        self._answered()
        return rows

    def query_range(
        self, promql: str, begin: datetime, end: datetime, step: timedelta, timeout: float | None = None
    ) -> list[Curve]:
        curves = self._prometheus.query_range(promql, begin, end, step, timeout)
        self._answered()
        return curves

    def series(
        self, matchers: str, begin: datetime, end: datetime, timeout: float | None = None
    ) -> list[Mapping[str, str]]:
        found = self._prometheus.series(matchers, begin, end, timeout)
        self._answered()
        return found
