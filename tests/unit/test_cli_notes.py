"""The words and sentences beside a scan's figures."""

from __future__ import annotations

from functions.recommender.report import JvmSeen
from infra.cli.comparing import RULES
from infra.cli.notes import looked_at, of_container, of_workload
from infra.cli.rows import rows_of
from tests.examples import container
from tests.unit.test_cli_rows import seen


def test_what_is_special_is_said_in_a_word() -> None:
    plain = container()
    troubled = plain.model_copy(
        update={"usage": plain.usage.model_copy(update={"oom_kills": 3, "throttled_share": 0.25})}
    )
    web = seen(troubled, unmeasured=("idle",)).model_copy(
        update={
            "scales_on": ("cpu",),
            "qos": "Guaranteed",
            "jvms": {"app": JvmSeen(known_by="its image"), "idle": JvmSeen(known_by="its image")},
        }
    )
    app, idle = rows_of(web)
    assert list(of_workload(web)) == ["HPA", "Guaranteed"]
    assert list(of_container(app, 0.1)) == ["JVM", "3 OOM kills", "throttled"]
    assert list(of_container(app, 0.25)) == ["JVM", "3 OOM kills"], "so much is allowed"
    assert list(of_container(idle, 0.1)) == ["JVM"]

    other = seen(plain)
    assert not [*of_workload(other), *of_container(next(rows_of(other)), 0.1)]


def test_it_is_said_which_windows_and_days_are_looked_at() -> None:
    assert "99, 50 or 33 a day" in looked_at("percentile", None)
    assert "28 of memory" not in looked_at("percentile", None)
    assert "14 days of CPU and 28 of memory" in looked_at("balanced", None)
    assert "krr reckons with its own" in looked_at("balanced", RULES["krr"])
