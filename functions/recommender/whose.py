"""Whose the series of a Prometheus are: which clusters', and whether labels tell the pods they are about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from functions.recommender.queries import Scope
from shared.contracts.wording import some

if TYPE_CHECKING:
    from shared.contracts.prometheus import Series

# By which agents, Thanos and Mimir as they are mostly set up, and clouds tell clusters apart. Tenants are not
# among them: one cluster's namespaces may be several tenants'.
CLUSTERS = (
    "cluster",
    "cluster_name",
    "cluster_id",
    "clusterID",
    "k8s_cluster",
    "k8s_cluster_name",
    "kubernetes_cluster",
    # In Google's service clusters of several projects, or places, may have one name.
    "project_id",
    "location",
)
# Where a scrape does not honour a series' own labels, those of its target are in their place, and they here.
_HIDDEN = ("exported_namespace", "exported_pod")
NOT_HIDDEN = ", ".join(f'{name}=""' for name in _HIDDEN)


@dataclass(frozen=True)
class Whose:
    """`clusters` are the values of `label`; an empty one is of series without it.

    `hidden` are the namespaces that series of kube-state-metrics name in place of those they are about, with
    the jobs that scrape them so.
    """

    label: str = CLUSTERS[0]
    clusters: frozenset[str] = frozenset()
    hidden: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def several(self) -> str | None:
        """`several clusters (eu, us)`, and how one is chosen; None where there is one."""
        if len(self.clusters) < 2:
            return None
        named = self.clusters - {""}
        others = f", and some series without {self.label}" if "" in self.clusters else ""
        return (
            f"several clusters ({some(named)}{others}): choose by --label {self.label}={min(named)}, or"
            f" by PROMETHEUS_LABELS={self.label}={min(named)}"
        )

    @property
    def why_hidden(self) -> str | None:
        """Why labels of kube-state-metrics are hidden, and what mends it; None where none are."""
        jobs = {job for jobs in self.hidden.values() for job in jobs}
        return why_hidden("kube-state-metrics", jobs) if self.hidden else None


def whose_query(labels: str, namespaces: Collection[str] = ()) -> str:
    """The clusters of the pods of these namespaces (empty: of all), and all labels that are hidden."""
    told = Scope(tuple(sorted(namespaces)), labels=labels).namespace_matcher
    # Past a scrape that failed, as what is read of owners then.
    owners = f"last_over_time(kube_pod_owner{{{told}, {NOT_HIDDEN}}}[5m])"
    return f"count by ({', '.join(CLUSTERS)}) ({owners}) or {hidden_query('kube_pod_owner', labels)}"


def hidden_query(metric: str, matchers: str) -> str:
    """How many series' labels are hidden, by the namespace that they name instead and their job."""
    besides = f"{matchers}, " if matchers else ""
    found = " or ".join(f'last_over_time({metric}{{{besides}{name}!=""}}[5m])' for name in _HIDDEN)
    return f'label_replace(count by (namespace, job) ({found}), "hidden", "yes", "", "")'


def whose(rows: Iterable[Series]) -> Whose:
    """From the rows of `whose_query`."""
    values: dict[str, set[str]] = {name: set() for name in CLUSTERS}
    hidden: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if "hidden" in row.labels:
            hidden[row.labels.get("namespace", "")].add(row.labels.get("job", ""))
        else:
            for name, seen in values.items():
                seen.add(row.labels.get(name, ""))
    # Where series have several such labels, the one that tells the most clusters apart.
    label = max(CLUSTERS, key=lambda name: len(values[name]))
    return Whose(label, frozenset(values[label]), hidden)


def why_hidden(exporter: str, jobs: Collection[str]) -> str:
    """Why labels of this exporter's series are hidden, and what mends it."""
    named = [job for job in jobs if job]
    return (
        f"{exporter} is scraped without honor_labels{f' (job {some(named)})' if named else ''}: its series"
        " name its own namespace or pod, and have what they are about as exported_namespace or exported_pod;"
        " set honor_labels: true in that scrape job, or honorLabels: true in its ServiceMonitor"
    )
