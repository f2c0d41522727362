"""The page of a scan: complete, safe, and with the right figures."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from functions.recommender.report import Entry, JvmSeen
from functions.recommender.settings import SizingSettings
from infra.cli.comparing import RULES
from infra.cli.histories import Histories, Usage
from infra.cli.looking import Seen
from infra.cli.page import page
from infra.cli.parts import Missing
from shared.contracts.pricing import monthly
from tests.examples import MIB, container, resources
from tests.unit.test_cli_rows import seen as workload

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SETTINGS = SizingSettings.read({"PROMETHEUS_URL": "http://localhost:9090"})
VOID = {"meta", "input", "path", "rect", "use", "link", "br", "img"}


class Read(HTMLParser):
    """Elements with their attributes, and texts; fails where an end has no beginning."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("style", "script") and data.strip():
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.texts)


def drawn(*entries: Entry, no_histories: str | None = None) -> Read:
    usage = Usage([0.1 * n for n in range(84)], [0.2 * n for n in range(84)])
    of = {(each.workload, one.name): usage for each in entries for one in each.containers}
    step = timedelta(hours=4)
    histories = None if no_histories else Histories(NOW - 84 * step, NOW, step, of, of)
    return Read(html(Seen(list(entries), histories, no_histories)))


def html(seen: Seen) -> str:
    return page(seen, NOW, SETTINGS)


def wasteful(name: str = "web", factor: int = 10) -> Entry:
    """Asks for 1000m and 1 GiB, and should for that divided by the factor."""
    return workload(
        container("app", resources(1000, 1024, 2048), resources(1000 // factor, 1024 // factor, 2048)),
        name=name,
    )


def test_nothing_is_loaded_from_anywhere() -> None:
    found = drawn(wasteful())
    for tag, attributes in found.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base"}
        assert not {"src", "style", "action"} & set(attributes), (
            "a policy without unsafe-inline forbids these"
        )
        assert not any(name.startswith("on") for name in attributes)
        assert all(value.startswith("#") for name, value in attributes.items() if name == "href")
    style = html(Seen([wasteful()]))
    assert "url(" not in style
    assert "@import" not in style
    assert "://" not in re.sub(r"http://localhost:\d+", "", style)


def test_the_pages_own_policy_lets_only_its_own_script_and_style_be_run() -> None:
    text = html(Seen([wasteful()]))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</style>",
        "{{ 7 * 7 }}",
        "a'b&amp;<!--",
    ],
)
def test_whatever_prometheus_tells_is_text(hostile: str) -> None:
    entry = workload(container(hostile), name=hostile)
    place = entry.workload.model_copy(update={"namespace": hostile, "kind": hostile, "cluster": hostile})
    told = entry.model_copy(update={"workload": place, "scales_on": (hostile,)})
    left = told.model_copy(update={"decision": "skipped", "reason": hostile})
    plain, found = drawn(wasteful()), drawn(told, left, no_histories=hostile)
    assert {tag for tag, _ in found.elements} <= {tag for tag, _ in plain.elements} | {"ul"}
    assert len(found.all("script")) == len(found.all("style")) == 1
    assert hostile in found.text
    assert {body["data-space"] for body in found.all("tbody") if "data-space" in body} == {hostile}


def test_the_totals_and_the_namespaces_are_those_of_the_containers() -> None:
    entries = [wasteful("a"), wasteful("b", 2), workload(container(), name="c", reason="too little data")]
    found = drawn(*entries)
    before = sum(each.monthly_cost_before.amount for each in entries)
    saving = entries[0].monthly_saving.amount + entries[1].monthly_saving.amount
    counts = "2 worth a change, with 2 containers", "only what is worth a change (2 containers)"
    for text in (f"{saving:,.2f}", f"{before:,.2f}", f"{before - saving:,.2f}", *counts):
        assert text in found.texts
    assert f"of {before:,.2f}" in found.texts


def test_the_most_wasteful_container_comes_first_and_the_column_says_so() -> None:
    found = drawn(wasteful("small", 2), wasteful("large"))
    bodies = [body for body in found.all("tbody") if "data-name" in body]
    assert [body["data-name"] for body in bodies] == [
        "shop/Deployment/large app",
        "shop/Deployment/small app",
    ]
    assert float(bodies[0]["data-saving"]) > float(bodies[1]["data-saving"])
    assert [head["aria-sort"] for head in found.all("th") if "aria-sort" in head] == [
        *["none"] * 5,
        "descending",
    ]


def test_each_container_has_a_plot_of_cpu_and_of_memory_with_its_lines() -> None:
    found = drawn(wasteful())
    plots = [each for each in found.all("svg") if each.get("class") == "plot"]
    assert len(plots) == 2
    classes = [each.get("class") for each in found.all("path")]
    assert classes.count("p95") == classes.count("peak") == 2 + 1  # one more of each in the legend
    assert classes.count("request now") == classes.count("request new") == 2 + 1
    uses = {each["href"].removeprefix("#") for each in found.all("use")}
    assert uses == {each["id"] for each in found.all("g")}, "the large plots are the small ones again"
    assert "CPU of app: p95 480m, max 900m; request 1 \N{RIGHTWARDS ARROW} 100m, limit not set" in found.texts


def test_bytes_that_no_unit_divides_are_rounded_and_marked_so() -> None:
    odd = resources(1000, 1024).model_copy(update={"memory_request_bytes": 500_000_000})
    found = drawn(workload(container("app", odd, resources(100, 100))))
    assert "\N{ALMOST EQUAL TO}477Mi" in found.texts
    assert "100Mi" in found.texts


def test_what_a_container_without_usage_asks_for_stands_in_its_row_too() -> None:
    """It costs that, and the totals and the columns' order count it."""
    found = drawn(workload(container(), unmeasured=("agent",)))
    assert {"333m", "777Mi"} <= set(found.texts)
    assert "not measured; asks for CPU 333m, memory 777Mi" in found.text
    assert "333m" not in drawn(workload(container())).texts


def test_why_is_told_and_why_not() -> None:
    left = workload(container(), name="left", reason="a HorizontalPodAutoscaler scales it on CPU")
    text = drawn(wasteful(), left, workload(name="gone", reason="no pod of it is there")).text
    for said in ("p95 of CPU is 480m", "a HorizontalPodAutoscaler scales it on CPU", "no pod of it is there"):
        assert said in text


def test_the_filter_finds_what_is_said_of_a_container() -> None:
    """Its script reads these two elements of a container, and its name."""
    jvm = wasteful().model_copy(
        update={"scales_on": ("cpu",), "jvms": {"app": JvmSeen(known_by="its image")}}
    )
    made = html(Seen([jvm]))
    assert re.search(r'<span class="notes">HPA, JVM</span>', made)
    (words,) = re.findall(r'<div class="words">(.*?)</div>', made, re.DOTALL)
    for said in ("p95 of CPU is 480m", "runs a JVM (its image)", "HorizontalPodAutoscaler"):
        assert said in words
    script = re.search(r"<script>(.*?)</script>", made, re.DOTALL)
    assert script is not None
    assert '[".notes", ".words"]' in script[1]
    assert 'class="notes"' not in html(Seen([wasteful()]))


def test_it_is_said_whose_p95_it_is_and_which_days_are_looked_at() -> None:
    ours, theirs = Read(html(Seen([wasteful()]))), Read(html(Seen([wasteful()], rule=RULES["krr"])))
    assert "p95 480m, max 900m" in ours.texts
    assert "our p95 480m, max 900m" in theirs.texts
    assert "14 days of CPU and 28 of memory" in ours.text
    assert "krr reckons with its own" in theirs.text


def test_without_plots_the_page_says_why_and_has_the_rest() -> None:
    found = drawn(wasteful(), no_histories="Prometheus http://x: too many samples")
    assert "too many samples" in found.text
    assert "peak" not in [each.get("class") for each in found.all("path")][6:]
    assert any("data-name" in body for body in found.all("tbody"))


def test_many_namespaces_are_folded_and_none_is_lost() -> None:
    entries = [
        each.model_copy(update={"workload": each.workload.model_copy(update={"namespace": f"n{number}"})})
        for number, each in enumerate([wasteful()] * 20)
    ]
    found = drawn(*entries)
    picks = [each["data-pick"] for each in found.all("button") if "data-pick" in each]
    assert sorted(picks) == sorted(f"n{number}" for number in range(20))
    assert "12 more" in found.texts


def test_a_page_of_nothing_that_can_be_paid_for_is_made_too() -> None:
    found = drawn(workload(reason="no pod of it is there"))
    assert "0.00" in found.texts
    assert "0 % of the cost" in found.texts


def test_a_large_saving_is_in_the_page_to_the_cent_and_many_pods_in_digits() -> None:
    pods = 31416
    sized = workload(
        container("app", resources(1000, 1024, 2048), resources(100, 102, 2048)), pods=float(pods)
    )
    before, after = monthly(sized.containers, Decimal(pods), SETTINGS.price_list.base)
    found = drawn(sized)
    (body,) = [body for body in found.all("tbody") if "data-name" in body]
    assert before.amount - after.amount > 100_000
    assert Decimal(body["data-saving"]) == before.amount - after.amount
    assert "31,416" in found.texts


def test_a_thousand_containers_make_a_page_that_can_be_mailed() -> None:
    entries = [wasteful(f"web-{number}") for number in range(1000)]
    usage = Usage([MIB * (n * n % 7) * 1.0 for n in range(84)], [MIB * (n * n % 11) * 1.0 for n in range(84)])
    of = {(each.workload, "app"): usage for each in entries}
    step = timedelta(hours=4)
    made = html(Seen(entries, Histories(NOW - 84 * step, NOW, step, of, of)))
    assert len(made) < 7_000_000


def test_what_could_not_be_read_is_said_before_the_totals_and_nothing_in_it_is_markup() -> None:
    part = Missing(("pay",), 7, 'status 422: <b>{namespace=~"pay"}</b>', "max(x)")
    text = Read(html(Seen([wasteful()], missing=(part,)))).text
    assert 'there: pay (7 workloads) . status 422: <b>{namespace=~"pay"}</b>' in text
    assert text.index("Every sum is of what could be read.") < text.index("Saving a month")
    assert "could be read" not in Read(html(Seen([wasteful()]))).text
