"""Manifests as text, for workloads that are known only by their traces."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent


@dataclass(frozen=True)
class Resources:
    """Quantities as text; None is not configured."""

    cpu_request: str | None = None
    memory_request: str | None = None
    cpu_limit: str | None = None
    memory_limit: str | None = None


def deployment(
    name: str,
    namespace: str | None,
    image: str,
    containers: dict[str, Resources],
    *,
    autoscaled: bool = False,
) -> str:
    """A Deployment with its Service in one file, and the HorizontalPodAutoscaler on CPU and memory, where
    there is one.
    """
    home = "" if namespace is None else f"\n  namespace: {namespace}"
    listed = "\n".join(_container(container, image, values) for container, values in containers.items())
    text = f"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}{home}
  labels:
    app: {name}
spec:{"" if autoscaled else f"{chr(10)}  replicas: 1"}
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
    spec:
      containers:
{indent(listed, " " * 8)}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}{home}
spec:
  selector:
    app: {name}
  ports:
    - name: http
      port: 80
      targetPort: 8080
"""
    return text + (_autoscaler(name, home) if autoscaled else "")


def _container(name: str, image: str, values: Resources) -> str:
    text = f'- name: {name}\n  image: "{image}"\n  ports:\n    - containerPort: 8080'
    block = _resources(values)
    return f"{text}\n{indent(block, '  ')}" if block else text


def _resources(values: Resources) -> str:
    lines = []
    for block, cpu, memory in (
        ("requests", values.cpu_request, values.memory_request),
        ("limits", values.cpu_limit, values.memory_limit),
    ):
        if cpu or memory:
            lines.append(f"  {block}:")
            lines += [f"    cpu: {cpu}"] if cpu else []
            lines += [f"    memory: {memory}"] if memory else []
    return "\n".join(["resources:", *lines]) if lines else ""


def _autoscaler(name: str, home: str) -> str:
    return f"""\
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {name}{home}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {name}
  minReplicas: 1
  maxReplicas: 5
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: 60
    - type: Resource
      resource:
        name: memory
        target:
          type: Utilization
          averageUtilization: 80
"""


def kustomize_base(names: list[str]) -> str:
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
    return head + "".join(f"  - {name}.yaml\n" for name in names)


def overlay_patch(namespace: str, patched: dict[str, dict[str, Resources]]) -> dict[str, str]:
    """An overlay's files by name: it sets the namespace, and the resources of the patched Deployments."""
    head = dedent(f"""\
        apiVersion: kustomize.config.k8s.io/v1beta1
        kind: Kustomization
        namespace: {namespace}
        resources:
          - ../../base
        patches:
          - path: resources.yaml
        """)
    documents = []
    for name, containers in patched.items():
        listed = "\n".join(
            f"- name: {container}\n{indent(_resources(values), '  ')}"
            for container, values in containers.items()
        )
        documents.append(
            f"apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\n"
            "spec:\n  template:\n    spec:\n"
            f"      containers:\n{indent(listed, ' ' * 8)}\n"
        )
    comment = "# What production gets; the base is for everything else.\n"
    return {"kustomization.yaml": head, "resources.yaml": comment + "---\n".join(documents)}
