"""What the API server makes of a configuration: merged, defaulted, or refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from infra.standins.cluster.apply import canonical_quantity
from infra.standins.cluster.kinds import BY_NAME, ApiError
from infra.standins.cluster.objects import Change, Objects

_MANAGER = "argocd-controller"
Body = dict[str, Any]


def _deployment(**resources: Any) -> Body:
    container = {"name": "app", "image": "app:1", "resources": resources}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [container]},
            },
        },
    }


@pytest.fixture
def objects() -> Objects:
    stored = Objects()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    stored.apply(Change(BY_NAME["v1", "Namespace"], "", "shop", 0.0), namespace, _MANAGER)
    return stored


def _change(body: Body, *, dry_run: bool = False) -> Change:
    kind = BY_NAME[body["apiVersion"], body["kind"]]
    return Change(
        kind, body["metadata"].get("namespace", ""), body["metadata"]["name"], 100.0, dry_run=dry_run
    )


def _apply(objects: Objects, body: Body, manager: str = _MANAGER) -> Body:
    return objects.apply(_change(body), body, manager)[0]


def _refused(objects: Objects, body: Body) -> ApiError:
    with pytest.raises(ApiError) as refused:
        _apply(objects, body)
    return refused.value


def test_what_is_applied_again_unchanged_is_the_same_object(objects: Objects) -> None:
    first = _apply(objects, _deployment(requests={"cpu": "1000m"}))
    assert first["metadata"]["generation"] == 1
    assert _apply(objects, _deployment(requests={"cpu": "1000m"})) == first


def test_an_equal_quantity_written_otherwise_is_no_change(objects: Objects) -> None:
    first = _apply(objects, _deployment(requests={"cpu": "1000m", "memory": "1024Mi"}))
    again = _apply(objects, _deployment(requests={"cpu": 1, "memory": "1Gi"}))
    assert again["metadata"]["generation"] == first["metadata"]["generation"]


def test_a_changed_spec_is_a_new_generation_and_changed_labels_are_not(objects: Objects) -> None:
    _apply(objects, _deployment(requests={"cpu": "1"}))
    assert _apply(objects, _deployment(requests={"cpu": "2"}))["metadata"]["generation"] == 2
    labelled = _deployment(requests={"cpu": "2"})
    labelled["metadata"]["labels"] = {"team": "shop"}
    assert _apply(objects, labelled)["metadata"]["generation"] == 2


def test_what_a_manager_leaves_out_goes_and_what_others_set_stays(objects: Objects) -> None:
    _apply(objects, _deployment(requests={"cpu": "1"}, limits={"cpu": "2"}))
    metadata = {"name": "web", "namespace": "shop"}
    scaled = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": 5}}
    _apply(objects, scaled, "kubectl-scale")
    found = _apply(objects, _deployment(requests={"cpu": "1"}))
    assert found["spec"]["replicas"] == 5
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"requests": {"cpu": "1"}}


def test_containers_merge_by_name(objects: Objects) -> None:
    _apply(objects, _deployment())
    injected = _deployment()
    injected["spec"]["template"]["spec"]["containers"] = [{"name": "sidecar", "image": "mesh:1"}]
    _apply(objects, injected, "injector")
    found = _apply(objects, _deployment(requests={"cpu": "1"}))
    assert [each["name"] for each in found["spec"]["template"]["spec"]["containers"]] == ["app", "sidecar"]


def test_a_dry_run_answers_as_if_and_changes_nothing(objects: Objects) -> None:
    before = _apply(objects, _deployment(requests={"cpu": "1"}))
    body = _deployment(requests={"cpu": "2"})
    answered, _ = objects.apply(_change(body, dry_run=True), body, _MANAGER)
    assert answered["metadata"]["generation"] == 2
    assert objects.find(("Deployment", "shop", "web")) == before


def test_a_selector_cannot_change(objects: Objects) -> None:
    _apply(objects, _deployment())
    body = _deployment()
    body["spec"]["selector"]["matchLabels"] = {"name": "web"}
    body["spec"]["template"]["metadata"]["labels"] = {"name": "web"}
    error = _refused(objects, body)
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message.startswith('Deployment.apps "web" is invalid: spec.selector: Invalid value: ')
    assert error.message.endswith(": field is immutable")
    assert error.details["causes"][0]["field"] == "spec.selector"


def test_a_request_above_its_limit_is_invalid(objects: Objects) -> None:
    error = _refused(objects, _deployment(requests={"cpu": "2"}, limits={"cpu": "1500m"}))
    assert error.code == 422
    assert (
        'resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1500m'
        in error.message
    )


@pytest.mark.parametrize("quantity", ["fast", "1 core", "1.5Q", "", True, []])
def test_a_malformed_quantity_is_a_bad_request(objects: Objects, quantity: object) -> None:
    error = _refused(objects, _deployment(requests={"cpu": quantity}))
    assert (error.code, error.reason) == (400, "BadRequest")
    assert "cannot be handled as a Deployment" in error.message


@pytest.mark.parametrize(
    ("path", "value", "type_name"),
    [
        (("replicas",), "two", "int32"),
        (("template",), [], "object"),
        (("template", "spec", "containers"), {"name": "app"}, "array"),
        (("selector", "matchLabels"), "app", "object"),
        (("progressDeadlineSeconds",), True, "int32"),
    ],
)
def test_a_field_of_the_wrong_type_is_a_bad_request(
    objects: Objects, path: tuple[str, ...], value: object, type_name: str
) -> None:
    body = _deployment()
    part = body["spec"]
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    error = _refused(objects, body)
    assert error.code == 400
    assert error.message.endswith(f"Go struct field spec.{'.'.join(path)} of type {type_name}")


def test_a_namespace_that_is_not_there_is_not_found(objects: Objects) -> None:
    body = _deployment()
    body["metadata"]["namespace"] = "nowhere"
    error = _refused(objects, body)
    assert (error.code, error.message) == (404, 'namespaces "nowhere" not found')


def test_what_is_refused_leaves_the_object_as_it_was(objects: Objects) -> None:
    before = copy.deepcopy(_apply(objects, _deployment(requests={"cpu": "1"})))
    _refused(objects, _deployment(requests={"cpu": "2"}, limits={"cpu": "1"}))
    assert objects.find(("Deployment", "shop", "web")) == before


def test_deleting_a_namespace_deletes_what_is_in_it(objects: Objects) -> None:
    _apply(objects, _deployment())
    objects.remove(BY_NAME["v1", "Namespace"], "", "shop")
    assert objects.listed("Deployment") == []


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1000m", "1"),
        (0.5, "500m"),
        ("0.1", "100m"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("300Mi", "300Mi"),
        ("2733000000", "2733M"),
        ("1e3", "1k"),
        ("0", "0"),
        ("0Mi", "0"),
        (4, "4"),
    ],
)
def test_quantities_come_back_in_canonical_form(text: str | float, canonical: str) -> None:
    assert canonical_quantity(text) == canonical
