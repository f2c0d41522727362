"""The pull request's title and body: what changes, on what evidence, what it saves, and how to undo it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import add

from functions.gitops.layers import Field
from functions.gitops.quantities import shown, value_of
from shared.contracts.documents import Recommendation
from shared.contracts.events import ContainerProposal, Outcome
from shared.contracts.identity import digest
from shared.contracts.money import Money
from shared.contracts.quantities import MIB, format_cpu
from shared.contracts.wording import NOT_IN_GIT, counted, reasons

LARGEST_BODY = 60_000  # characters; GitHub takes 65,536
CHARTED = 12  # containers; more cannot be read
MARKER = "<!-- kubefinops: "
_COLUMNS: tuple[Field, ...] = (
    ("requests", "cpu"),
    ("limits", "cpu"),
    ("requests", "memory"),
    ("limits", "memory"),
)
_HEADINGS = ("CPU request", "CPU limit", "memory request", "memory limit")


def title_of(application: str, members: Sequence[Recommendation]) -> str:
    """One line: how many workloads, of what, and the money."""
    workloads = members[0].workload.subject if len(members) == 1 else f"{len(members)} workloads"
    saving = _saving(members)
    money = f"saves {saving} a month" if saving.amount >= 0 else f"costs {_negated(saving)} more a month"
    return f"Right-size {workloads} of {application}: {money}"


def body_of(application: str, members: Sequence[Recommendation]) -> str:
    """Markdown with a hidden marker on its first line; sections that would make it too long are left out."""
    ordered = sorted(members, key=lambda one: one.workload.subject)
    rows = [row for member in ordered for row in _rows(member)]
    head = "\n".join(_introduction(application, ordered))
    table = list(_TABLE_HEAD)
    sections = [
        "## Why\n\n" + "\n".join(line for member in ordered for line in _evidence(member)),
        "\n".join(_charts(ordered)),
    ]
    tail = "\n".join(_rollback())
    body = ""
    # The longest form that fits: all of it, then without charts and reasons, then with fewer rows.
    for kept_rows, kept_sections in ((len(rows), 2), (len(rows), 1), (len(rows), 0), (150, 0), (0, 0)):
        lines = [*table, *rows[:kept_rows]]
        if kept_rows < len(rows):
            left_out = counted(len(rows) - kept_rows, "more container")
            lines.append(f"\n... and {left_out}; the commit has them all.")
        body = "\n\n".join([marker_of(ordered), head, "\n".join(lines), *sections[:kept_sections], tail])
        if len(body) <= LARGEST_BODY:
            break
    return body


def marker_of(members: Sequence[Recommendation]) -> str:
    """A comment that names the members and the hash of what the body says of them."""
    said = [json.dumps(member.model_dump(mode="json", include=_SAID), sort_keys=True) for member in members]
    marker = {"recommendations": [member.id for member in members], "content": digest(*said)}
    return MARKER + json.dumps(marker, separators=(",", ":")) + " -->"


_TABLE_HEAD = (
    f"| workload | container | {' | '.join(_HEADINGS)} | CPU p95 / max | memory p95 / max |",
    "|---|---|---|---|---|---|---|---|",
)
_SAID = {"id", "containers", "verdicts", "outcome", "monthly_saving"}


def _introduction(application: str, members: Sequence[Recommendation]) -> Iterator[str]:
    pods = sum(member.proposal.replicas for member in members)
    saving = _saving(members)
    yield (
        f"New requests and limits for {counted(len(members), 'workload')} of the Argo CD Application"
        f" **{application}**, from what they used. Merging restarts **{counted(pods, 'pod')}**, as each"
        " workload's update strategy has it."
    )
    yield ""
    yield f"Cost: **{_negated(saving).amount:+.2f} {saving.currency} a month.**"
    waiting = [member.workload.subject for member in members if member.outcome is Outcome.REQUIRE_APPROVAL]
    if waiting:
        yield ""
        yield f"**Needs a person's review** by policy: {', '.join(waiting)}."
    left_alone = Counter(name for member in members for name in member.not_in_git)
    if left_alone:
        named = ", ".join(
            f"**{name}** ({counted(number, 'workload')})" for name, number in sorted(left_alone.items())
        )
        yield ""
        yield (
            f"Left as they are, for their manifests in Git do not have them: {named}. Most likely they are"
            " injected at admission (by a service mesh or an agent), to be sized where that is configured."
            " Neither the table nor the money here counts them; policies have judged the workloads with them."
        )


def _rows(member: Recommendation) -> Iterator[str]:
    for container in member.containers:
        values = [_arrow(container, field) for field in _COLUMNS]
        usage = container.usage
        yield (
            "| "
            + " | ".join(
                (
                    member.workload.subject,
                    container.name,
                    *values,
                    f"{format_cpu(round(usage.cpu_p95_m))} / {format_cpu(round(usage.cpu_max_m))}",
                    f"{_mib(usage.memory_p95_bytes)} / {_mib(usage.memory_max_bytes)}",
                )
            )
            + " |"
        )


def _arrow(container: ContainerProposal, field: Field) -> str:
    before, after = value_of(container.current, field), value_of(container.proposed, field)
    if before == after:
        return shown(field, after)
    return f"{shown(field, before)} → **{shown(field, after)}**"


def _evidence(member: Recommendation) -> Iterator[str]:
    proposal = member.proposal
    days = proposal.history_seconds / 86400
    yield (
        f"**{member.workload.subject}** ({counted(proposal.replicas, 'pod')}, {days:.1f} days of history,"
        f" confidence {proposal.confidence:.0%}): saves {member.monthly_saving} a month"
    )
    engine = {container.name: container for container in proposal.containers}
    for container in member.containers:
        for reason in reasons(engine.get(container.name, container), container, member.verdicts):
            yield f"- {container.name}: {_inline(reason)}"
        if container.usage.oom_kills:
            yield f"- {container.name}: {counted(container.usage.oom_kills, 'OOM kill')} lately"
    for name in member.not_in_git:
        yield f"- {name}: {NOT_IN_GIT}"
    for verdict in member.verdicts:
        if verdict.outcome is not Outcome.ALLOW and verdict.container not in member.not_in_git:
            where = f" ({verdict.container})" if verdict.container else ""
            yield (
                f"- policy {verdict.policy} v{verdict.version}, {verdict.rule}{where}: "
                f"{verdict.outcome.value}: {_inline(verdict.message)}"
            )
    judged = ", ".join(f"{name} v{version}" for name, version in sorted(member.policies.items()))
    report = proposal.report
    yield f"- judged by {judged or 'no policy'}; report `{report.bucket}/{report.key}#{report.pointer}`"
    yield ""


def _charts(members: Sequence[Recommendation]) -> Iterator[str]:
    containers = [
        (f"{member.workload.name}/{container.name}", container)
        for member in members
        for container in member.containers
    ][:CHARTED]
    names = ", ".join(json.dumps(name) for name, _ in containers)
    series = (
        ("CPU, millicores", "cpu_request_m", [round(one.usage.cpu_p95_m) for _, one in containers], 1),
        (
            "memory, MiB",
            "memory_request_bytes",
            [one.usage.memory_p95_bytes // MIB for _, one in containers],
            MIB,
        ),
    )
    yield "## Usage against request"
    for title, attribute, p95, unit in series:
        before = [(getattr(one.current, attribute) or 0) // unit for _, one in containers]
        after = [(getattr(one.proposed, attribute) or 0) // unit for _, one in containers]
        yield from (
            "",
            "```mermaid",
            "xychart-beta",
            f'    title "{title} - bars: p95 used; upper line: request before, lower line: after"',
            f"    x-axis [{names}]",
            f"    bar [{_numbers(p95)}]",
            f"    line [{_numbers(before)}]",
            f"    line [{_numbers(after)}]",
            "```",
        )


def _rollback() -> Iterator[str]:
    yield "## How to roll back"
    yield ""
    yield (
        "Press *Revert* here once it is merged (or `git revert` the merge commit) and merge that: Argo CD "
        "puts the old values back. To refuse it, close this pull request. A commit of yours on this branch "
        "stops every further change to it by KubeFinOps."
    )


def _saving(members: Iterable[Recommendation]) -> Money:
    return reduce(add, (member.monthly_saving for member in members))


def _negated(money: Money) -> Money:
    return Money(amount=-money.amount, currency=money.currency)


def _mib(amount: int) -> str:
    return f"{amount / MIB:.0f}Mi"


def _numbers(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values)


def _inline(text: str) -> str:
    """One line that cannot break out of a list or a comment."""
    return " ".join(text.split()).replace("|", "\\|").replace("<!--", "").replace("-->", "")
