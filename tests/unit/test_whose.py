"""Which clusters' series a Prometheus has, and whether their labels tell the pods that they are about."""

from __future__ import annotations

import pytest

from functions.recommender.whose import Whose, whose, whose_query
from shared.contracts.prometheus import Series


def of(*rows: dict[str, str]) -> Whose:
    return whose([Series(labels, 1.0) for labels in rows])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            [{"cluster": "us"}, {"cluster": "eu"}],
            "several clusters (eu, us): choose by --label cluster=eu, or",
        ),
        (
            [{"cluster_id": "a"}, {"cluster_id": "b"}],
            "several clusters (a, b): choose by --label cluster_id=a",
        ),
        (
            [{"cluster": "k8s", "cluster_name": "a"}, {"cluster": "k8s", "cluster_name": "b"}],
            "several clusters (a, b): choose by --label cluster_name=a",
        ),
        # Of several projects that Google's service reads together.
        (
            [
                {"cluster": "main", "location": "eu", "project_id": "dev"},
                {"cluster": "main", "location": "eu", "project_id": "prod"},
            ],
            "several clusters (dev, prod): choose by --label project_id=dev",
        ),
        # One that scrapes its own cluster has no such label there.
        (
            [{"cluster": "eu"}, {}],
            "several clusters (eu, and some series without cluster): choose by --label",
        ),
    ],
)
def test_several_clusters_are_told_with_the_label_that_chooses_one(
    rows: list[dict[str, str]], says: str
) -> None:
    assert (of(*rows).several or "").startswith(says)


@pytest.mark.parametrize("rows", [[], [{}], [{"cluster": "eu"}]])
def test_one_cluster_is_not_several(rows: list[dict[str, str]]) -> None:
    assert of(*rows).several is None
    assert of(*rows).why_hidden is None


def test_hidden_labels_are_no_cluster_and_are_told_with_the_jobs_that_hide_them() -> None:
    rows = ({"hidden": "yes", "namespace": "monitoring", "job": job} for job in ("pods", "ksm"))
    found = of({"cluster": "eu"}, *rows, {"hidden": "yes"})
    assert found.several is None
    assert set(found.hidden) == {"monitoring", ""}
    assert "without honor_labels (job ksm, pods): " in (found.why_hidden or "")
    assert "without honor_labels: " in (of({"hidden": "yes"}).why_hidden or "")


def test_clusters_are_those_of_the_namespaces_that_are_looked_at() -> None:
    clusters, _, hidden = whose_query('env="prod"', ["shop", "cart"]).partition(" or ")
    assert '{env="prod", namespace=~"cart|shop", exported_namespace="", exported_pod=""}' in clusters
    assert "namespace=~" not in hidden
    assert hidden.count('{env="prod", exported_') == 2
