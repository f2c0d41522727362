"""Objects and references of one bare Git repository, through the `git` command line.

Every write is an ordinary Git object, so the repository can be cloned, fetched and checked by `git fsck`.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

NO_OBJECT = "0" * 40
_SHA = re.compile(r"[0-9a-f]{40}")
_REGULAR_MODES = ("100644", "100755", "120000", "160000")


class GitError(Exception):
    """A git command failed; the message is git's own."""


class ReferenceMovedError(GitError):
    """A reference no longer has the value that the caller saw."""


@dataclass(frozen=True)
class Signature:
    """Who wrote or committed, and when (an aware datetime; Git keeps seconds and the offset)."""

    name: str
    email: str
    when: datetime

    def encoded(self) -> str:
        """The form of a commit's header. Git forbids <, > and line breaks in names and addresses."""
        name, email = (re.sub(r"[<>\n\0]", "", part).strip() for part in (self.name, self.email))
        return f"{name} <{email}> {int(self.when.timestamp())} {self.when.strftime('%z')[:5]}"


@dataclass(frozen=True)
class Commit:
    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    message: str


@dataclass(frozen=True)
class TreeEntry:
    mode: str
    kind: str
    sha: str
    size: int | None
    path: str


@dataclass(frozen=True)
class Reference:
    name: str
    kind: str
    sha: str


@dataclass(frozen=True)
class FileChange:
    status: str
    path: str
    previous_path: str | None
    sha: str
    additions: int
    deletions: int
    patch: str | None


def _parse_signature(line: str) -> Signature:
    identity, seconds, offset = line.rsplit(" ", 2)
    name, _, email = identity.partition(" <")
    zone = datetime.strptime(offset, "%z").tzinfo
    return Signature(name, email.removesuffix(">"), datetime.fromtimestamp(int(seconds), zone))


def _parse_commit(sha: str, data: bytes) -> Commit:
    head, _, message = data.decode("utf-8", "replace").partition("\n\n")
    fields: dict[str, list[str]] = {}
    for line in head.split("\n"):
        key, _, value = line.partition(" ")
        fields.setdefault(key, []).append(value)
    return Commit(
        sha=sha,
        tree=fields["tree"][0],
        parents=tuple(fields.get("parent", ())),
        author=_parse_signature(fields["author"][0]),
        committer=_parse_signature(fields["committer"][0]),
        message=message,
    )


def _split_patches(text: str) -> list[str | None]:
    """One patch per file, from its first hunk on; None where there is none (binary, mode or name only)."""
    patches: list[str | None] = []
    for part in re.split(r"^diff --git .*\n", text, flags=re.MULTILINE)[1:]:
        hunk = re.search(r"^@@ ", part, flags=re.MULTILINE)
        patches.append(part[hunk.start() :].removesuffix("\n") if hunk else None)
    return patches


class GitRepository:
    """One bare repository. Methods raise GitError with git's message where git refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # The caller's configuration (hooks, signing, templates, a GIT_DIR) must not reach these commands.
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
        }

    def _run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        ok: Sequence[int] = (0,),
        environment: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", f"--git-dir={self.path}", *arguments],
            input=stdin,
            capture_output=True,
            check=False,
            env={**self._environment, **(environment or {})},
        )
        if done.returncode not in ok:
            detail = done.stderr.decode("utf-8", "replace").strip()
            raise GitError(f"git {arguments[0]} in {self.path}: {detail or f'exit {done.returncode}'}")
        return done

    def _text(self, *arguments: str, stdin: bytes = b"", environment: dict[str, str] | None = None) -> str:
        done = self._run(*arguments, stdin=stdin, environment=environment)
        return done.stdout.decode("utf-8", "replace").strip()

    # References

    def default_branch(self) -> str:
        return (self.path / "HEAD").read_text(encoding="utf-8").strip().removeprefix("ref: refs/heads/")

    def set_default_branch(self, branch: str) -> None:
        self._run("symbolic-ref", "HEAD", f"refs/heads/{branch}")

    def references(self, *prefixes: str) -> list[Reference]:
        """All references below the prefixes (whole path components), sorted by name."""
        lines = self._text("for-each-ref", "--format=%(objectname) %(objecttype) %(refname)", *prefixes)
        parts = (line.split(" ", 2) for line in lines.splitlines())
        return [Reference(name, kind, sha) for sha, kind, name in parts]

    def reference(self, name: str) -> Reference | None:
        return next((found for found in self.references(name) if found.name == name), None)

    def is_valid_reference(self, name: str) -> bool:
        return self._run("check-ref-format", name, ok=(0, 1)).returncode == 0

    def update_reference(self, name: str, new: str, old: str) -> None:
        """Moves a reference from old to new in one step; NO_OBJECT as old creates, as new deletes.

        Raises:
            ReferenceMovedError: its value is no longer old.
            GitError: git refuses it, for instance because a/b cannot stand beside a.
        """
        arguments = ("-d", name, old) if new == NO_OBJECT else (name, new, old)
        try:
            self._run("update-ref", *arguments)
        except GitError as error:
            current = self.reference(name)
            if (current.sha if current else NO_OBJECT) != old:
                raise ReferenceMovedError(str(error)) from error
            raise

    # Reading objects

    def resolve(self, name: str, kind: str) -> str | None:
        """The sha of the object of this kind (commit, tree, blob, object) that a name leads to."""
        if not name or "\n" in name:
            return None
        found = self._described(f"{name}^{{{kind}}}")
        return found[0] if found else None

    def kind_of(self, sha: str) -> str | None:
        found = self._described(sha) if _SHA.fullmatch(sha) else None
        return found[1] if found else None

    def _described(self, name: str) -> tuple[str, str] | None:
        """The sha and kind of an object; git repeats a name that it cannot find, with spaces and all."""
        answer = self._text("cat-file", "--batch-check", stdin=f"{name}\n".encode()).split(" ")
        found = len(answer) == 3 and _SHA.fullmatch(answer[0]) and answer[2].isdecimal()
        return (answer[0], answer[1]) if found else None

    def commits(self, shas: Iterable[str]) -> list[Commit]:
        """The commits of these shas, in their order."""
        wanted = list(shas)
        if not wanted:
            return []
        out = self._run("cat-file", "--batch", stdin="".join(f"{sha}\n" for sha in wanted).encode()).stdout
        commits, at = [], 0
        for sha in wanted:
            end = out.index(b"\n", at)
            _, kind, size = out[at:end].decode().split(" ")
            if kind != "commit":
                raise GitError(f"{sha} in {self.path} is a {kind}, not a commit")
            commits.append(_parse_commit(sha, out[end + 1 : end + 1 + int(size)]))
            at = end + 2 + int(size)
        return commits

    def commit(self, sha: str) -> Commit:
        return self.commits([sha])[0]

    def blob(self, sha: str) -> bytes:
        return self._run("cat-file", "blob", sha).stdout

    def tree(self, treeish: str, *, recursive: bool = False) -> list[TreeEntry]:
        flags = ("-r", "-t") if recursive else ()
        return self._entries("ls-tree", "-z", "-l", *flags, treeish)

    def entry(self, treeish: str, path: str) -> TreeEntry | None:
        """The entry at a path (no trailing slash), or None."""
        return next(
            (
                found
                for found in self._entries("ls-tree", "-z", "-l", treeish, "--", path)
                if found.path == path
            ),
            None,
        )

    def _entries(self, *arguments: str) -> list[TreeEntry]:
        entries = []
        for record in self._run(*arguments).stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]:
            description, _, path = record.partition("\t")
            mode, kind, sha, size = description.split()
            entries.append(TreeEntry(mode, kind, sha, None if size == "-" else int(size), path))
        return entries

    # History

    def merge_base(self, one: str, other: str) -> str | None:
        return self._run("merge-base", one, other, ok=(0, 1)).stdout.decode().strip() or None

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        done = self._run("merge-base", "--is-ancestor", ancestor, descendant, ok=(0, 1))
        return done.returncode == 0

    def ahead_behind(self, base: str, head: str) -> tuple[int, int]:
        """How many commits head has that base has not, and the other way round."""
        behind, ahead = self._text("rev-list", "--left-right", "--count", f"{base}...{head}").split()
        return int(ahead), int(behind)

    def history(self, head: str, *, without: str | None = None, path: str | None = None) -> list[str]:
        """Shas reachable from head and not from `without`, newest first, optionally those touching a path."""
        limits = [f"^{without}"] if without else []
        paths = [f":(literal){path}"] if path else []
        return self._text("rev-list", "--topo-order", head, *limits, "--", *paths).split()

    def changes(self, base: str, head: str) -> list[FileChange]:
        """What differs from one tree-ish to another, with renames found, by path."""
        # --raw -z: ":mode mode sha sha S\0path\0", two paths for renames; --numstat -z: "a\td\tpath\0".
        command = ("diff-tree", "-r", "-M", "--no-commit-id")
        raw = self._run(*command, "--raw", "-z", base, head).stdout.decode("utf-8", "replace").split("\0")
        numbers = self._run(*command, "--numstat", "-z", base, head).stdout.decode("utf-8", "replace")
        counts = re.findall(r"\0(\d+|-)\t(\d+|-)\t", "\0" + numbers)
        patches = iter(
            _split_patches(self._run(*command, "-p", base, head).stdout.decode("utf-8", "replace"))
        )
        statuses = {"A": "added", "D": "removed", "M": "modified", "T": "changed", "R": "renamed"}
        changes, at = [], 0
        for added, deleted in counts:
            _, _, old, new, status = raw[at].split(" ")
            renamed = status.startswith("R")
            patch = next(patches)
            if status == "T":  # a file that became a link has two patches: its removal and its creation
                patch = next(patches)
            changes.append(
                FileChange(
                    status=statuses[status[0]],
                    path=raw[at + 2] if renamed else raw[at + 1],
                    previous_path=raw[at + 1] if renamed else None,
                    sha=old if status == "D" else new,
                    additions=0 if added == "-" else int(added),
                    deletions=0 if deleted == "-" else int(deleted),
                    patch=patch,
                )
            )
            at += 3 if renamed else 2
        return changes

    def patch(self, base: str, head: str) -> str:
        """What differs from one tree-ish to another, as git's own patch."""
        done = self._run("diff-tree", "-r", "-M", "--no-commit-id", "--no-color", "-p", base, head)
        return done.stdout.decode("utf-8", "replace")

    # Writing objects

    def write_blob(self, content: bytes) -> str:
        return self._text("hash-object", "-w", "-t", "blob", "--stdin", stdin=content)

    def write_commit(
        self, tree: str, parents: Sequence[str], message: str, author: Signature, committer: Signature
    ) -> str:
        """Writes a commit byte by byte as given: the same input is the same sha."""
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [f"author {author.encoded()}", f"committer {committer.encoded()}"]
        data = "\n".join(lines) + "\n\n" + message
        return self._text("hash-object", "-w", "-t", "commit", "--stdin", stdin=data.encode())

    def write_tree(self, base: str | None, changes: Iterable[tuple[str, str, str | None]]) -> str:
        """Writes a tree: the base's entries with changes (path, mode, sha; a sha of None removes the path).

        Raises:
            GitError: a removed path does not exist, a mode is unknown, or an object is missing.
        """
        files = {entry.path: (entry.mode, entry.sha) for entry in self._files(base)} if base else {}
        for path, mode, sha in changes:
            below = [known for known in files if known == path or known.startswith(f"{path}/")]
            if sha is None and not below:
                raise GitError(f"cannot remove {path}: it does not exist")
            for known in below:
                del files[known]
            if sha is None:
                continue
            parts = path.split("/")
            for length in range(1, len(parts)):
                files.pop("/".join(parts[:length]), None)
            if mode == "040000":
                found = self._files(sha)
                files.update({f"{path}/{entry.path}": (entry.mode, entry.sha) for entry in found})
            elif mode in _REGULAR_MODES:
                files[path] = (mode, sha)
            else:
                raise GitError(f"{path}: {mode} is no file mode")
        lines = "".join(f"{mode} {sha}\t{path}\0" for path, (mode, sha) in files.items())
        with tempfile.TemporaryDirectory() as scratch:
            environment = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            data = lines.encode("utf-8", "surrogateescape")
            self._run("update-index", "-z", "--index-info", stdin=data, environment=environment)
            return self._text("write-tree", environment=environment)

    def _files(self, treeish: str) -> list[TreeEntry]:
        return self._entries("ls-tree", "-z", "-l", "-r", treeish)

    def merge_trees(self, ours: str, theirs: str) -> str | None:
        """The tree of a three-way merge of two commits, or None where they conflict."""
        done = self._run("merge-tree", "--write-tree", "--no-messages", ours, theirs, ok=(0, 1))
        return done.stdout.decode().split("\n", 1)[0] if done.returncode == 0 else None

    def replay(self, commit: Commit, onto: Commit) -> str | None:
        """The tree of a commit's change applied to another commit (a cherry-pick), or None on conflict.

        merge-tree takes an explicit merge base only from git 2.40 on. Commits made for this purpose, whose
        common parent holds the tree before the change, give it the same base in git 2.38 and 2.39.
        """
        parent = self.commit(commit.parents[0])
        who = commit.committer
        base = self.write_commit(parent.tree, [], "base", who, who)
        ours = self.write_commit(onto.tree, [base], "ours", who, who)
        theirs = self.write_commit(commit.tree, [base], "theirs", who, who)
        return self.merge_trees(ours, theirs)
