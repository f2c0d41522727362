"""GitHub's JSON bodies. `api` is the address by which the client reaches the API, without a final slash."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from infra.standins.github.git import Commit, FileChange, Reference, Signature, TreeEntry
from infra.standins.github.hosting import HostedRepository
from infra.standins.github.identity import login_of, user_id
from infra.standins.github.state import Protection

Body = dict[str, Any]
INLINE_CONTENT_BYTES = 1024 * 1024  # larger files have encoding "none" and no content
COMPARED_FILES = 300
COMPARED_COMMITS = 250


def node_id(kind: str, identity: str) -> str:
    """A global id, as GraphQL takes it: the kind and what identifies the object."""
    return f"{kind}_{base64.urlsafe_b64encode(identity.encode()).decode()}"


def node_identity(node: str) -> tuple[str, str] | None:
    """The kind and identity inside a global id, or None where it is none of ours."""
    kind, _, encoded = node.partition("_")
    try:
        return kind, base64.urlsafe_b64decode(encoded).decode()
    except ValueError:
        return None


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _person(who: Signature) -> Body:
    return {"name": who.name, "email": who.email, "date": _time(who.when)}


def user(api: str, login: str) -> Body:
    return {
        "login": login,
        "id": user_id(login),
        "node_id": node_id("U", login),
        "avatar_url": "",
        "gravatar_id": "",
        "url": f"{api}/users/{login}",
        "html_url": f"{api}/{login}",
        "type": "User",
        "site_admin": False,
        "name": login,
    }


def protection(url: str, rules: Protection) -> Body:
    body: Body = {
        "url": url,
        "enforce_admins": {"url": f"{url}/enforce_admins", "enabled": rules.enforce_admins},
        "required_linear_history": {"enabled": False},
        "allow_force_pushes": {"enabled": False},
        "allow_deletions": {"enabled": False},
    }
    if rules.required_checks or rules.strict_checks:
        body["required_status_checks"] = {
            "url": f"{url}/required_status_checks",
            "contexts_url": f"{url}/required_status_checks/contexts",
            "strict": rules.strict_checks,
            "contexts": rules.required_checks,
            "checks": [{"context": name, "app_id": None} for name in rules.required_checks],
        }
    if rules.required_approving_review_count is not None:
        body["required_pull_request_reviews"] = {
            "url": f"{url}/required_pull_request_reviews",
            "dismiss_stale_reviews": rules.dismiss_stale_reviews,
            "require_code_owner_reviews": False,
            "require_last_push_approval": False,
            "required_approving_review_count": rules.required_approving_review_count,
        }
    return body


@dataclass(frozen=True)
class RepositoryBodies:
    """The bodies of one repository's objects, with addresses that suit the client."""

    api: str
    repo: HostedRepository

    @property
    def url(self) -> str:
        return f"{self.api}/repos/{self.repo.full_name}"

    @property
    def html(self) -> str:
        return f"{self.api}/{self.repo.full_name}"

    def user(self, login: str) -> Body:
        return user(self.api, login)

    def repository(self) -> Body:
        repo, settings, path = self.repo, self.repo.state.settings, str(self.repo.path.resolve())
        return {
            "id": user_id(repo.full_name),
            "node_id": node_id("R", repo.full_name),
            "name": repo.name,
            "full_name": repo.full_name,
            "private": True,
            "visibility": "private",
            "owner": self.user(repo.owner),
            "html_url": self.html,
            "description": settings.description,
            "fork": False,
            "archived": False,
            "disabled": False,
            "url": self.url,
            "branches_url": f"{self.url}/branches{{/branch}}",
            "git_refs_url": f"{self.url}/git/refs{{/sha}}",
            "pulls_url": f"{self.url}/pulls{{/number}}",
            "clone_url": path,
            "ssh_url": path,
            "git_url": path,
            "default_branch": repo.git.default_branch(),
            "open_issues_count": len(repo.open_pulls()),
            "permissions": {"admin": True, "maintain": True, "push": True, "triage": True, "pull": True},
            "allow_auto_merge": settings.allow_auto_merge,
            "allow_merge_commit": settings.allow_merge_commit,
            "allow_squash_merge": settings.allow_squash_merge,
            "allow_rebase_merge": settings.allow_rebase_merge,
            "delete_branch_on_merge": settings.delete_branch_on_merge,
        }

    # Git data

    def reference(self, found: Reference) -> Body:
        kinds = {"commit": "commits", "tag": "tags", "tree": "trees", "blob": "blobs"}
        return {
            "ref": found.name,
            "node_id": node_id("REF", f"{self.repo.full_name}:{found.name}"),
            "url": f"{self.url}/git/{quote(found.name)}",
            "object": {
                "sha": found.sha,
                "type": found.kind,
                "url": f"{self.url}/git/{kinds[found.kind]}/{found.sha}",
            },
        }

    def git_commit(self, commit: Commit) -> Body:
        return {
            "sha": commit.sha,
            "node_id": node_id("C", f"{self.repo.full_name}:{commit.sha}"),
            "url": f"{self.url}/git/commits/{commit.sha}",
            "html_url": f"{self.html}/commit/{commit.sha}",
            "author": _person(commit.author),
            "committer": _person(commit.committer),
            "message": commit.message,
            "tree": {"sha": commit.tree, "url": f"{self.url}/git/trees/{commit.tree}"},
            "parents": [
                {
                    "sha": sha,
                    "url": f"{self.url}/git/commits/{sha}",
                    "html_url": f"{self.html}/commit/{sha}",
                }
                for sha in commit.parents
            ],
            "verification": {
                "verified": False,
                "reason": "unsigned",
                "signature": None,
                "payload": None,
                "verified_at": None,
            },
        }

    def tree(self, sha: str, entries: Sequence[TreeEntry], *, truncated: bool) -> Body:
        kinds = {"blob": "blobs", "tree": "trees", "commit": "commits"}
        return {
            "sha": sha,
            "url": f"{self.url}/git/trees/{sha}",
            "tree": [
                {
                    "path": entry.path,
                    "mode": entry.mode,
                    "type": entry.kind,
                    "sha": entry.sha,
                    **({} if entry.size is None else {"size": entry.size}),
                    "url": f"{self.url}/git/{kinds[entry.kind]}/{entry.sha}",
                }
                for entry in entries
            ],
            "truncated": truncated,
        }

    def commit(self, commit: Commit) -> Body:
        author, committer = login_of(commit.author), login_of(commit.committer)
        git = self.git_commit(commit)
        return {
            "sha": commit.sha,
            "node_id": git["node_id"],
            "commit": {
                **{
                    key: git[key] for key in ("author", "committer", "message", "tree", "url", "verification")
                },
                "comment_count": 0,
            },
            "url": f"{self.url}/commits/{commit.sha}",
            "html_url": git["html_url"],
            "comments_url": f"{self.url}/commits/{commit.sha}/comments",
            "author": self.user(author) if author else None,
            "committer": self.user(committer) if committer else None,
            "parents": [
                {**parent, "url": f"{self.url}/commits/{parent['sha']}"} for parent in git["parents"]
            ],
        }

    def full_commit(self, commit: Commit, changes: Sequence[FileChange]) -> Body:
        additions = sum(change.additions for change in changes)
        deletions = sum(change.deletions for change in changes)
        return {
            **self.commit(commit),
            "stats": {"additions": additions, "deletions": deletions, "total": additions + deletions},
            "files": [self.file(change, commit.sha) for change in changes],
        }

    def file(self, change: FileChange, commit: str) -> Body:
        body = {
            "sha": change.sha,
            "filename": change.path,
            "status": change.status,
            "additions": change.additions,
            "deletions": change.deletions,
            "changes": change.additions + change.deletions,
            "blob_url": f"{self.html}/blob/{commit}/{quote(change.path)}",
            "raw_url": f"{self.html}/raw/{commit}/{quote(change.path)}",
            "contents_url": f"{self.url}/contents/{quote(change.path)}?ref={commit}",
        }
        optional = {"patch": change.patch, "previous_filename": change.previous_path}
        return {**body, **{key: value for key, value in optional.items() if value is not None}}

    def branch(self, name: str, sha: str) -> Body:
        rules = self.repo.protection(name)
        checks = rules.required_checks if rules else []
        return {
            "name": name,
            "commit": {"sha": sha, "url": f"{self.url}/commits/{sha}"},
            "protected": rules is not None,
            "protection": {
                "enabled": rules is not None,
                "required_status_checks": {
                    "enforcement_level": "non_admins" if checks else "off",
                    "contexts": checks,
                    "checks": [],
                },
            },
            "protection_url": f"{self.url}/branches/{quote(name)}/protection",
        }

    def compare(self, base: Commit, head: Commit, merge_base: Commit) -> Body:
        ahead, behind = self.repo.git.ahead_behind(base.sha, head.sha)
        shas = self.repo.git.history(head.sha, without=base.sha)[::-1]
        status = ("diverged" if behind else "ahead") if ahead else ("behind" if behind else "identical")
        changes = self.repo.git.changes(merge_base.sha, head.sha)
        return {
            "url": f"{self.url}/compare/{base.sha}...{head.sha}",
            "html_url": f"{self.html}/compare/{base.sha}...{head.sha}",
            "permalink_url": f"{self.html}/compare/{base.sha}...{head.sha}",
            "base_commit": self.commit(base),
            "merge_base_commit": self.commit(merge_base),
            "status": status,
            "ahead_by": ahead,
            "behind_by": behind,
            "total_commits": ahead,
            "commits": [self.commit(one) for one in self.repo.git.commits(shas[:COMPARED_COMMITS])],
            "files": [self.file(change, head.sha) for change in changes[:COMPARED_FILES]],
        }

    def content(self, entry: TreeEntry, path: str, ref: str, *, inline: bool) -> Body:
        """A file or directory as the contents API shows it; only a single file brings its content along."""
        url = f"{self.url}/contents/{quote(path)}?ref={quote(ref)}"
        kind = {"tree": "dir", "commit": "submodule"}.get(entry.kind, "file")
        git_url = f"{self.url}/git/{'trees' if kind == 'dir' else 'blobs'}/{entry.sha}"
        html_url = f"{self.html}/blob/{quote(ref)}/{quote(path)}"
        body: Body = {
            "type": "symlink" if entry.mode == "120000" else kind,
            "name": path.rsplit("/", 1)[-1],
            "path": path,
            "sha": entry.sha,
            "size": entry.size or 0,
            "url": url,
            "git_url": git_url,
            "html_url": html_url,
            "download_url": None,
            "_links": {"self": url, "git": git_url, "html": html_url},
        }
        if inline:
            small = (entry.size or 0) <= INLINE_CONTENT_BYTES
            encoded = base64.encodebytes(self.repo.git.blob(entry.sha)).decode() if small else ""
            body |= {"encoding": "base64" if small else "none", "content": encoded}
        return body
