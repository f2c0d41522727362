"""kubectl's kustomize as the renderer needs it: the files that it is given, and nothing of this machine."""

from __future__ import annotations

import pytest

from shared.adapters import kustomize
from shared.adapters.kustomize import build
from shared.contracts.errors import Refused, Temporary

APP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app\n"
FILES = {
    "base/kustomization.yaml": "resources: [app.yaml]\n",
    "base/app.yaml": APP,
    "prod/kustomization.yaml": "namePrefix: prod-\nresources: [../base]\n",
}


def test_builds_a_folder_over_its_base() -> None:
    assert build(FILES, "prod") == APP.replace("name: app", "name: prod-app")


def test_what_does_not_build_is_refused_in_its_words_without_a_path_of_this_machine() -> None:
    with pytest.raises(Refused, match=r"kustomize cannot build prod: .*base") as refused:
        build({"prod/kustomization.yaml": FILES["prod/kustomization.yaml"]}, "prod")
    assert "kubefinops-" not in str(refused.value)


def test_what_takes_too_long_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kustomize, "TIMEOUT_SECONDS", 0.001)
    with pytest.raises(Temporary, match=r"more than 0\.001 s"):
        build({**FILES, "README.md": "not built before\n"}, "prod")
