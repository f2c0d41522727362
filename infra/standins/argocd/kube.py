"""The Kubernetes API as Argo CD's controller uses it: list what lives, apply on the server's side, delete."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import requests

Object = dict[str, Any]

FIELD_MANAGER = "argocd-controller"
_TIMEOUT = 10.0  # seconds

# kind -> plural and whether it lives in a namespace. Every cluster has these; other kinds are discovered.
_BUILT_IN: dict[tuple[str, str], tuple[str, bool]] = {
    ("", "Namespace"): ("namespaces", False),
    ("", "Node"): ("nodes", False),
    ("", "PersistentVolume"): ("persistentvolumes", False),
    ("", "ConfigMap"): ("configmaps", True),
    ("", "LimitRange"): ("limitranges", True),
    ("", "PersistentVolumeClaim"): ("persistentvolumeclaims", True),
    ("", "Pod"): ("pods", True),
    ("", "ResourceQuota"): ("resourcequotas", True),
    ("", "Secret"): ("secrets", True),
    ("", "Service"): ("services", True),
    ("", "ServiceAccount"): ("serviceaccounts", True),
    ("apps", "DaemonSet"): ("daemonsets", True),
    ("apps", "Deployment"): ("deployments", True),
    ("apps", "ReplicaSet"): ("replicasets", True),
    ("apps", "StatefulSet"): ("statefulsets", True),
    ("autoscaling", "HorizontalPodAutoscaler"): ("horizontalpodautoscalers", True),
    ("batch", "CronJob"): ("cronjobs", True),
    ("batch", "Job"): ("jobs", True),
    ("networking.k8s.io", "Ingress"): ("ingresses", True),
    ("networking.k8s.io", "NetworkPolicy"): ("networkpolicies", True),
    ("policy", "PodDisruptionBudget"): ("poddisruptionbudgets", True),
    ("rbac.authorization.k8s.io", "ClusterRole"): ("clusterroles", False),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("clusterrolebindings", False),
    ("rbac.authorization.k8s.io", "Role"): ("roles", True),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("rolebindings", True),
}


class ClusterError(Exception):
    """The cluster answered with an error, or not at all (`code` 0); the text is the API server's message."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, order=True)
class Key:
    """What Argo CD identifies an object by: its version may change, the object stays the same."""

    group: str
    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Collection:
    """Where the objects of a kind are served."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of an object, or without a name that of all objects in all namespaces."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name else "")


def group_version(manifest: Object) -> tuple[str, str]:
    """(group, version) of a manifest; the core group is empty."""
    group, _, version = str(manifest.get("apiVersion", "")).rpartition("/")
    return group, version


def key_of(manifest: Object) -> Key:
    metadata = manifest["metadata"]
    return Key(
        group_version(manifest)[0], manifest["kind"], metadata.get("namespace") or "", metadata["name"]
    )


class Cluster:
    """One API server, reached over plain HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # loopback needs no proxy
        self._discovered: dict[tuple[str, str, str], Collection] = {}

    def collection(self, group: str, version: str, kind: str) -> Collection:
        """Where objects of a kind are served.

        Raises:
            ClusterError: the cluster does not know the kind, or does not answer.
        """
        if built_in := _BUILT_IN.get((group, kind)):
            return Collection(group, version, kind, *built_in)
        known = self._discovered.get((group, version, kind))
        if known is None:
            root = f"/apis/{group}/{version}" if group else f"/api/{version}"
            try:
                served = self._request("GET", root).get("resources", [])
            except ClusterError as error:
                if error.code != requests.codes.not_found:
                    raise
                served = []
            for resource in served:
                if "/" not in resource["name"]:
                    found = Collection(
                        group, version, resource["kind"], resource["name"], resource["namespaced"]
                    )
                    self._discovered[group, version, resource["kind"]] = found
            known = self._discovered.get((group, version, kind))
        if known is None:
            raise ClusterError(
                f"The Kubernetes API could not find {group or 'core'}/{version} {kind}. "
                f'Make sure the "{kind}" CRD is installed on the destination cluster.',
                requests.codes.not_found,
            )
        return known

    def list(self, collection: Collection) -> dict[Key, Object]:
        """All live objects of a kind; none where the cluster does not serve it.

        Raises:
            ClusterError: the cluster is down or refuses.
        """
        try:
            answer = self._request("GET", collection.path())
        except ClusterError as error:
            if error.code == requests.codes.not_found:
                return {}
            raise
        found = {}
        for item in answer.get("items") or []:
            live = {**item, "apiVersion": collection.api_version, "kind": collection.kind}
            found[key_of(live)] = live
        return found

    def apply(self, manifest: Object, *, dry_run: bool = False) -> Object:
        """Server-side apply, conflicts forced as Argo CD does; the object as it is afterwards.

        Raises:
            ClusterError: the API server refuses the object, or does not answer.
        """
        parameters = {"fieldManager": FIELD_MANAGER, "force": "true"}
        if dry_run:
            parameters["dryRun"] = "All"
        path = self._path_of(manifest)
        body = json.dumps(manifest)
        return self._request("PATCH", path, parameters, body, "application/apply-patch+yaml")

    def delete(self, live: Object) -> None:
        """Deletes an object with what it owns; one that is gone already is no error. Raises ClusterError."""
        options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
        try:
            self._request("DELETE", self._path_of(live), {}, json.dumps(options), "application/json")
        except ClusterError as error:
            if error.code != requests.codes.not_found:
                raise

    def close(self) -> None:
        self._session.close()

    def _path_of(self, manifest: Object) -> str:
        group, version = group_version(manifest)
        collection = self.collection(group, version, manifest["kind"])
        return collection.path(manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"])

    def _request(
        self,
        method: str,
        path: str,
        parameters: dict[str, str] | None = None,
        body: str | None = None,
        content_type: str = "application/json",
    ) -> Object:
        headers = {"Accept": "application/json", **({"Content-Type": content_type} if body else {})}
        try:
            answer = self._session.request(
                method,
                self.url + path,
                params=parameters,
                data=body.encode() if body else None,
                headers=headers,
                timeout=_TIMEOUT,
            )
            document = answer.json() if answer.content else {}
        except requests.RequestException as error:
            raise ClusterError(f"{method} {self.url}{path}: {error}") from error
        if not isinstance(document, dict):
            raise ClusterError(f"{method} {self.url}{path}: not a Kubernetes object", answer.status_code)
        if not answer.ok:
            message = str(document.get("message") or f"the server answered {answer.status_code}")
            raise ClusterError(message, answer.status_code)
        return document
