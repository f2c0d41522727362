"""GitHub's JSON bodies of pull requests and what belongs to them."""

from __future__ import annotations

from urllib.parse import quote

from infra.standins.github.bodies import Body, RepositoryBodies, node_id
from infra.standins.github.identity import user_id
from infra.standins.github.state import Comment, Pull, Review

_SHARED_WITH_ISSUES = frozenset(
    [
        "id",
        "node_id",
        "number",
        "html_url",
        "state",
        "locked",
        "active_lock_reason",
        "title",
        "user",
        "body",
        "labels",
        "milestone",
        "assignee",
        "assignees",
        "draft",
        "author_association",
        "created_at",
        "updated_at",
        "closed_at",
    ]
)


class PullBodies(RepositoryBodies):
    """The bodies of one repository's pull requests."""

    def label(self, name: str) -> Body:
        return {
            "id": user_id(name),
            "node_id": node_id("LA", f"{self.repo.full_name}:{name}"),
            "url": f"{self.url}/labels/{quote(name)}",
            "name": name,
            "color": "ededed",
            "default": False,
            "description": None,
        }

    def _end(self, branch: str, sha: str) -> Body:
        repository = self.repository()
        return {
            "label": f"{self.repo.owner}:{branch}",
            "ref": branch,
            "sha": sha,
            "user": repository["owner"],
            "repo": repository,
        }

    def pull(self, pull: Pull) -> Body:
        """A pull request as lists show it."""
        url, issue = f"{self.url}/pulls/{pull.number}", f"{self.url}/issues/{pull.number}"
        wish = pull.auto_merge
        merge_commit = pull.merge_commit_sha
        if pull.state == "open":
            merge_commit = self.repo.test_merge(pull)
        return {
            "url": url,
            "id": pull.id,
            "node_id": node_id("PR", f"{self.repo.full_name}#{pull.number}"),
            "html_url": f"{self.html}/pull/{pull.number}",
            "diff_url": f"{self.html}/pull/{pull.number}.diff",
            "patch_url": f"{self.html}/pull/{pull.number}.patch",
            "issue_url": issue,
            "commits_url": f"{url}/commits",
            "review_comments_url": f"{url}/comments",
            "comments_url": f"{issue}/comments",
            "statuses_url": f"{self.url}/statuses/{pull.head_sha}",
            "number": pull.number,
            "state": pull.state,
            "locked": False,
            "title": pull.title,
            "user": self.user(pull.user),
            "body": pull.body,
            "labels": [self.label(name) for name in pull.labels],
            "milestone": None,
            "active_lock_reason": None,
            "created_at": pull.created_at,
            "updated_at": pull.updated_at,
            "closed_at": pull.closed_at,
            "merged_at": pull.merged_at,
            "merge_commit_sha": merge_commit,
            "assignee": None,
            "assignees": [],
            "requested_reviewers": [self.user(login) for login in pull.requested_reviewers],
            "requested_teams": [],
            "draft": pull.draft,
            "head": self._end(pull.head, pull.head_sha),
            "base": self._end(pull.base, pull.base_sha),
            "_links": {
                "self": {"href": url},
                "html": {"href": f"{self.html}/pull/{pull.number}"},
                "issue": {"href": issue},
                "comments": {"href": f"{issue}/comments"},
                "review_comments": {"href": f"{url}/comments"},
                "commits": {"href": f"{url}/commits"},
                "statuses": {"href": f"{self.url}/statuses/{pull.head_sha}"},
            },
            "author_association": "CONTRIBUTOR",
            "auto_merge": wish
            and {
                "enabled_by": self.user(wish.by),
                "merge_method": wish.method,
                "commit_title": wish.title,
                "commit_message": wish.message,
            },
        }

    def full_pull(self, pull: Pull, *, just_created: bool = False) -> Body:
        """A pull request by itself. Right after its creation GitHub does not know whether it can merge."""
        git = self.repo.git
        start = git.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
        changes = git.changes(start, pull.head_sha)
        found = self.repo.mergeability(pull)
        return {
            **self.pull(pull),
            **({"merge_commit_sha": None} if just_created else {}),
            "merged": pull.merged_at is not None,
            "mergeable": None if just_created else found.mergeable,
            "rebaseable": None if just_created else found.mergeable,
            "mergeable_state": "unknown" if just_created else found.state,
            "merged_by": self.user(pull.merged_by) if pull.merged_by else None,
            "comments": len(pull.comments),
            "review_comments": 0,
            "maintainer_can_modify": False,
            "commits": len(git.history(pull.head_sha, without=pull.base_sha)),
            "additions": sum(change.additions for change in changes),
            "deletions": sum(change.deletions for change in changes),
            "changed_files": len(changes),
        }

    def issue(self, pull: Pull) -> Body:
        url = f"{self.url}/issues/{pull.number}"
        whole = {key: value for key, value in self.pull(pull).items() if key in _SHARED_WITH_ISSUES}
        pull_url = f"{self.html}/pull/{pull.number}"
        return {
            **whole,
            "closed_by": self.user(pull.closed_by) if pull.closed_by else None,
            "url": url,
            "repository_url": self.url,
            "labels_url": f"{url}/labels{{/name}}",
            "comments_url": f"{url}/comments",
            "events_url": f"{url}/events",
            "comments": len(pull.comments),
            "pull_request": {
                "url": f"{self.url}/pulls/{pull.number}",
                "html_url": pull_url,
                "diff_url": f"{pull_url}.diff",
                "patch_url": f"{pull_url}.patch",
                "merged_at": pull.merged_at,
            },
        }

    def review(self, pull: Pull, review: Review) -> Body:
        html_url = f"{self.html}/pull/{pull.number}#pullrequestreview-{review.id}"
        pull_url = f"{self.url}/pulls/{pull.number}"
        return {
            "id": review.id,
            "node_id": node_id("PRR", f"{self.repo.full_name}:{review.id}"),
            "user": self.user(review.user),
            "body": review.body,
            "state": review.state,
            "html_url": html_url,
            "pull_request_url": pull_url,
            "submitted_at": review.submitted_at,
            "commit_id": review.commit_id,
            "author_association": "COLLABORATOR",
            "_links": {"html": {"href": html_url}, "pull_request": {"href": pull_url}},
        }

    def comment(self, pull: Pull, comment: Comment) -> Body:
        return {
            "id": comment.id,
            "node_id": node_id("IC", f"{self.repo.full_name}:{comment.id}"),
            "url": f"{self.url}/issues/comments/{comment.id}",
            "html_url": f"{self.html}/pull/{pull.number}#issuecomment-{comment.id}",
            "issue_url": f"{self.url}/issues/{pull.number}",
            "user": self.user(comment.user),
            "body": comment.body,
            "created_at": comment.created_at,
            "updated_at": comment.updated_at,
            "author_association": "CONTRIBUTOR",
        }
