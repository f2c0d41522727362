"""From proposals to edited files: what the manifests of one Application should say, proved by rendering."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from functions.gitops.documents import CannotEdit, Pointer
from functions.gitops.layers import Location, NotLocated, Target
from functions.gitops.locating import Locator
from functions.gitops.quantities import (
    containers_of,
    differences,
    effective,
    proposed,
    scalar_of,
    shown,
    spelled,
    value_of,
    with_values,
    written,
)
from functions.gitops.rendering import Object, Render
from functions.gitops.splicing import splice
from functions.gitops.writing import Value
from shared.contracts.events import ContainerProposal, FailureReason, Resources


@dataclass(frozen=True)
class WorkloadChange:
    """The values that a workload's containers should have.

    `is_open`: it is in a pull request already, so that Git may have moved on since it was proposed.
    """

    id: str
    target: Target
    containers: tuple[ContainerProposal, ...]
    is_open: bool = False


@dataclass(frozen=True)
class Rejected:
    """Why a workload is not changed through Git."""

    reason: FailureReason
    message: str


@dataclass
class Edits:
    """The files that change, with their new texts; for each change its files, or why it is not among them.

    `not_in_git`: of a change that is accepted, the containers that its manifest does not have, if there are
    any. They are left alone.
    """

    files: dict[str, str] = field(default_factory=dict)
    accepted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rejected: dict[str, Rejected] = field(default_factory=dict)
    not_in_git: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Planned:
    """`change` has only the containers that are in Git."""

    change: WorkloadChange
    writes: Mapping[str, Mapping[Pointer, Value]]
    not_in_git: tuple[str, ...]


def plan_edits(
    files: Mapping[str, str], application_path: str, changes: Sequence[WorkloadChange], render: Render
) -> Edits:
    """The edits that give each workload its proposed values, and nothing else.

    Args:
        files: path to text of the whole repository; only what is needed is read.
        application_path: the folder that Argo CD deploys.
        changes: at most one for each workload.
        render: as `rendering.renderer` makes one.

    Raises:
        Temporary: rendering took too long.
    """
    locator = Locator(files, application_path)
    edits = Edits()
    located: dict[str, Location] = {}
    for change in changes:
        try:
            located[change.id] = locator.locate(change.target)
        except (NotLocated, CannotEdit, UnicodeError) as error:
            edits.rejected[change.id] = Rejected(FailureReason.NOT_LOCATED, str(error))
    manifests = {location.manifest.path for location in located.values()}
    try:
        before = render(files, locator.folder, manifests) if located else []
    except (NotLocated, CannotEdit, UnicodeError) as error:
        for change_id in located:
            edits.rejected[change_id] = Rejected(FailureReason.NOT_LOCATED, str(error))
        return edits
    planned = []
    for change in changes:
        if change.id in located:
            found = _planned(change, located[change.id], before)
            if isinstance(found, Rejected):
                edits.rejected[change.id] = found
            else:
                planned.append(found)

    def apply(some: Sequence[_Planned]) -> dict[str, str]:
        """Raises NotLocated or CannotEdit."""
        changed = _spliced(files, some)
        after = render(_Overlaid(files, changed), locator.folder, manifests)
        _verify(before, after, some)
        return changed

    _accept(edits, planned, apply)
    return edits


def _accept(
    edits: Edits, planned: Sequence[_Planned], apply: Callable[[Sequence[_Planned]], dict[str, str]]
) -> None:
    """All together, or where that fails one after another, leaving out those that cannot be."""
    accepted: list[_Planned] = []
    if any(one.writes for one in planned):
        try:
            edits.files = apply(planned)
            accepted = list(planned)
        except (NotLocated, CannotEdit, UnicodeError):
            for one in planned:
                try:
                    edits.files = apply([*accepted, one])
                    accepted.append(one)
                except (NotLocated, CannotEdit, UnicodeError) as error:
                    edits.rejected[one.change.id] = Rejected(FailureReason.NOT_LOCATED, str(error))
    else:
        accepted = list(planned)
    for one in accepted:
        edits.accepted[one.change.id] = tuple(sorted(one.writes))
        if one.not_in_git:
            edits.not_in_git[one.change.id] = one.not_in_git


def _planned(change: WorkloadChange, location: Location, before: Sequence[Object]) -> _Planned | Rejected:
    try:
        manifest = before[_place(before, change.target)]
        change, not_in_git = _in_git(change, manifest)
        in_git = {one.name: written(manifest, change.target, one.name) for one in change.containers}
        if not change.is_open:
            rejected = _disagreement(change, {name: effective(found) for name, found in in_git.items()})
            if rejected is not None:
                return rejected
        writes: dict[str, dict[Pointer, Value]] = defaultdict(dict)
        for one in change.containers:
            values = {
                wanted: None
                if value is None
                else spelled(wanted, value, scalar_of(manifest, change.target, one.name, wanted))
                for wanted, value in differences(in_git[one.name], one.proposed).items()
            }
            for place, value in location.places(one.name, values).items():
                # Two containers that are new to the same patch are appended together.
                there = writes[place.path].get(place.pointer)
                if isinstance(there, list) and isinstance(value, list):
                    value = there + value  # noqa: PLW2901
                writes[place.path][place.pointer] = value
    except NotLocated as error:
        return Rejected(FailureReason.NOT_LOCATED, str(error))
    return _Planned(change, writes, not_in_git)


def _in_git(change: WorkloadChange, manifest: Object) -> tuple[WorkloadChange, tuple[str, ...]]:
    """The change of those containers that the manifest has, and the names of the others.

    Others are put into the pods at admission: by a service mesh, or an agent. But a manifest that has none of
    those that change is not the one, and what is in a pull request already has been in Git.

    Raises:
        NotLocated: nothing would be changed, or less than the pull request tells.
    """
    names = {one.get("name") for one in containers_of(manifest, change.target)}
    there = tuple(one for one in change.containers if one.name in names)
    missing = tuple(one.name for one in change.containers if one.name not in names)
    wanted = [one for one in change.containers if one.current != one.proposed] or change.containers
    if missing and (change.is_open or not any(one in there for one in wanted)):
        called = f"container{'' if len(missing) == 1 else 's'} {', '.join(map(repr, missing))}"
        raise NotLocated(
            f"{change.target} has no {called} in Git: most likely injected at admission (by a service mesh or"
            " an agent), to be sized where that is configured"
        )
    return replace(change, containers=there), missing


def _disagreement(change: WorkloadChange, in_git: Mapping[str, Resources]) -> Rejected | None:
    """Whether Git has the proposal already, or says something else than what runs."""
    if all(in_git[one.name] == effective(one.proposed) for one in change.containers):
        return Rejected(FailureReason.ALREADY_IN_GIT, "already in Git: the manifest has the proposed values")
    for one in change.containers:
        for wanted, live in differences(in_git[one.name], one.current).items():
            value, field = value_of(in_git[one.name], wanted), ".".join(wanted)
            runs = f"without {field}" if live is None else f"with {field} {shown(wanted, live)}"
            return Rejected(
                FailureReason.MANAGED_ELSEWHERE,
                f"managed-elsewhere: container {one.name} runs {runs}, Git says"
                f" {'nothing of it' if value is None else shown(wanted, value)}: a change is under way, or"
                " something else (VPA, a webhook, a LimitRange, a change by hand) sets it",
            )
    return None


def _place(objects: Sequence[Object], target: Target) -> int:
    found = [
        index
        for index, one in enumerate(objects)
        if one.get("kind") == target.kind
        and (one.get("metadata") or {}).get("name") == target.name
        and (one.get("metadata") or {}).get("namespace") in (None, target.namespace)
    ]
    if len(found) > 1:
        said = [i for i in found if objects[i]["metadata"].get("namespace") == target.namespace]
        found = said or found
    if len(found) != 1:
        times = "is not among" if not found else "stands more than once among"
        raise NotLocated(f"{target} {times} the rendered manifests")
    return found[0]


def _spliced(files: Mapping[str, str], planned: Sequence[_Planned]) -> dict[str, str]:
    writes: dict[str, dict[Pointer, Value]] = defaultdict(dict)
    for one in planned:
        for path, values in one.writes.items():
            if writes[path].keys() & values.keys():
                raise NotLocated(f"{path}: a value that serves more than one workload")
            writes[path] |= values
    changed = {}
    for path, values in writes.items():
        try:
            changed[path] = splice(files[path], values)
        except CannotEdit as error:
            raise CannotEdit(f"{path}: {error}") from None
    return changed


def _verify(before: Sequence[Object], after: Sequence[Object], planned: Sequence[_Planned]) -> None:
    """Raises NotLocated unless the rendered difference is exactly the proposals."""
    expected = list(before)
    found = list(after)
    if len(expected) != len(found):
        raise NotLocated(f"rendered, the change would make {len(found)} objects of {len(expected)}")
    for one in planned:
        place = _place(before, one.change.target)
        wanted = proposed(one.change.containers)
        expected[place] = with_values(expected[place], one.change.target, wanted)
        found[place] = with_values(found[place], one.change.target, dict.fromkeys(wanted))
    for said, rendered in zip(expected, found, strict=True):
        if said != rendered:
            name = f"{rendered.get('kind')} {(rendered.get('metadata') or {}).get('name')}"
            hint = ": kustomize knows no schema of a Rollout, and replaces its list of containers"
            raise NotLocated(
                f"rendered, the change would do something else to {name} than is proposed"
                + (hint if rendered.get("kind") == "Rollout" else "")
            )


class _Overlaid(Mapping[str, str]):
    """Files with some of them changed."""

    def __init__(self, files: Mapping[str, str], changed: Mapping[str, str]) -> None:
        self._files = files
        self._changed = changed

    def __getitem__(self, path: str) -> str:
        return self._changed[path] if path in self._changed else self._files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __contains__(self, path: object) -> bool:
        return path in self._files

    def __len__(self) -> int:
        return len(self._files)
