"""The GitHub stand-in when things break: crashes, outages, throttling; and the webhooks that it sends."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from github import Auth, Github, GithubRetry, RateLimitExceededException
from github.PullRequest import PullRequest
from github.Repository import Repository

from infra.standins.github.hosting import STATE_FILE, HostedRepository
from infra.standins.github.merge_commits import merge_commit
from infra.standins.github.state import Merge, MergeWish, load
from tests.github_standin_process import (
    BOT,
    PERSON,
    GitHubStandin,
    create_repository,
    github_standin,
    push_files,
)

NAME = "acme/shop"
SECRET = "webhook-secret"


def eventually(condition: Callable[[], bool], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def open_pull(repo: Repository, bare: Path, branch: str = "work") -> PullRequest:
    push_files(bare, branch, {f"{branch}.txt": f"{branch}\n"}, f"Work on {branch}")
    return repo.create_pull("main", branch, title="Work", body="")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return create_repository(tmp_path, NAME, {"README.md": "hello\n"})


@pytest.fixture
def standin(tmp_path: Path, bare: Path) -> Iterator[GitHubStandin]:
    with github_standin(tmp_path) as running:
        yield running


@pytest.fixture
def repo(standin: GitHubStandin) -> Repository:
    return standin.client().get_repo(NAME)


# Crashes


def kill(standin: GitHubStandin) -> None:
    standin.process.send_signal(signal.SIGKILL)
    standin.process.wait(timeout=10)


def test_a_killed_stand_in_starts_again_with_the_same_pull_requests(tmp_path: Path, bare: Path) -> None:
    with github_standin(tmp_path) as standin:
        repo = standin.client().get_repo(NAME)
        repo.get_branch("main").edit_protection(required_approving_review_count=1)
        repo.edit(allow_auto_merge=True)
        pull = open_pull(repo, bare)
        pull.add_to_labels("finops")
        pull.create_issue_comment("Look")
        pull.enable_automerge("MERGE")
        before = standin.call("GET", f"/repos/{NAME}/pulls/{pull.number}").text.replace(standin.url, "")
        kill(standin)
    with github_standin(tmp_path) as standin:
        after = standin.call("GET", f"/repos/{NAME}/pulls/{pull.number}").text.replace(standin.url, "")
        assert after == before
        standin.client(PERSON).get_repo(NAME).get_pull(pull.number).create_review(event="APPROVE")
        assert standin.client().get_repo(NAME).get_pull(pull.number).merged
        second = open_pull(standin.client().get_repo(NAME), bare, "second")
        assert second.number == pull.number + 1


@pytest.mark.parametrize("moved", [False, True], ids=["before the base moved", "after the base moved"])
def test_a_merge_cut_short_is_either_whole_or_absent(tmp_path: Path, bare: Path, moved: bool) -> None:
    """It dies between writing a squash down and finishing it; a squash does not say where it came from."""
    with github_standin(tmp_path) as standin:
        number = open_pull(standin.client().get_repo(NAME), bare).number
    hosted = HostedRepository("acme", "shop", bare)
    pull = hosted.state.pulls[number]
    base = hosted.branch("main")
    assert base is not None
    sha = merge_commit(hosted.git, pull, base, "acme", MergeWish(by=BOT, method="squash"))
    pull.merging = Merge(sha=sha, by=BOT)
    hosted.save()
    if moved:
        hosted.git.update_reference("refs/heads/main", sha, base)
    with github_standin(tmp_path) as standin:
        found = standin.client().get_repo(NAME).get_pull(number)
        assert found.merged is moved
        if moved:
            assert (found.merge_commit_sha, found.merged_by.login) == (sha, BOT)
        else:
            assert found.merge().merged


def test_the_state_is_never_half_written(tmp_path: Path, bare: Path) -> None:
    """Read at any moment, and after a kill, the file is whole and has everything that was answered for."""
    with github_standin(tmp_path) as standin:
        number = open_pull(standin.client().get_repo(NAME), bare).number
        answered: list[int] = []

        def write() -> None:
            path = f"/repos/{NAME}/issues/{number}/comments"
            while standin.process.poll() is None:
                try:
                    answered.append(standin.call("POST", path, json={"body": "x" * 5000}).json()["id"])
                except OSError:
                    return

        writer = threading.Thread(target=write)
        writer.start()
        deadline = time.monotonic() + 20
        while len(answered) < 60 and time.monotonic() < deadline:
            assert load(bare / STATE_FILE) is not None  # raises where it is half written
        kill(standin)
        writer.join(timeout=10)
    state = load(bare / STATE_FILE)
    assert state is not None
    assert len(answered) >= 60
    assert set(answered) <= {comment.id for comment in state.pulls[number].comments}


def test_it_ends_cleanly_when_it_is_told_to(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with github_standin(tmp_path) as standin:
            standin.process.send_signal(number)
            assert standin.process.wait(timeout=10) == 0


def test_a_bad_setting_is_said_in_one_line(tmp_path: Path, standin: GitHubStandin) -> None:
    port = standin.url.rsplit(":", 1)[1]
    for wrong, named in (
        (["--root", str(tmp_path / "none")], "--root"),
        (["--root", str(tmp_path), "--port", port], "--port"),
    ):
        command = [sys.executable, "-m", "infra.standins.github", "--token", "t", *wrong]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(f"{named}: ")
        assert len(done.stderr.splitlines()) == 1


# Faults on demand


def fault(standin: GitHubStandin, **what: object) -> None:
    assert standin.call("POST", "/_standin/faults", json=what).status_code == 201


def retrying_client(standin: GitHubStandin) -> Github:
    return Github(
        base_url=standin.url,
        auth=Auth.Token(standin.token),
        seconds_between_requests=None,
        seconds_between_writes=None,
        retry=GithubRetry(total=3, backoff_factor=0, secondary_rate_wait=0),
    )


def test_an_outage_lasts_as_long_as_asked(standin: GitHubStandin) -> None:
    fault(standin, status=503, path=f"/repos/{NAME}$", times=2, retry_after=7)
    path = f"/repos/{NAME}"
    first = standin.call("GET", path)
    assert (first.status_code, first.headers["Retry-After"], first.json()["message"]) == (
        503,
        "7",
        "Server Error",
    )
    assert standin.call("GET", f"{path}/branches").status_code == 200
    assert standin.call("GET", path).status_code == 503
    assert standin.call("GET", path).status_code == 200
    fault(standin, status=503, times=1000)
    assert standin.call("GET", path).status_code == 503
    assert standin.call("GET", "/_standin/faults").json()[0]["times"] == 999
    assert standin.call("DELETE", "/_standin/faults").status_code == 204
    assert standin.call("GET", path).status_code == 200


@pytest.mark.parametrize("status", [403, 429])
def test_secondary_rate_limits_are_told_as_github_tells_them(standin: GitHubStandin, status: int) -> None:
    fault(standin, status=status, times=1)
    refused = standin.call("GET", f"/repos/{NAME}")
    assert refused.status_code == status
    assert refused.json()["message"].startswith("You have exceeded a secondary rate limit.")
    fault(standin, status=403, times=1)
    with pytest.raises(RateLimitExceededException):
        standin.client().get_repo(NAME)
    fault(standin, status=403, times=1)
    assert retrying_client(standin).get_repo(NAME).full_name == NAME


def test_a_lost_answer_leaves_the_work_done(standin: GitHubStandin, repo: Repository) -> None:
    """What makes PyGithub's retried POST end in 422: the branch exists already."""
    main = repo.get_branch("main").commit.sha
    fault(standin, status=502, method="POST", path="/git/refs$", after=True)
    path = f"/repos/{NAME}/git/refs"
    body = {"ref": "refs/heads/lost", "sha": main}
    assert standin.call("POST", path, json=body).status_code == 502
    again = standin.call("POST", path, json=body)
    assert (again.status_code, again.json()["message"]) == (422, "Reference already exists")


def test_a_slow_request_holds_nobody_else_up(standin: GitHubStandin) -> None:
    fault(standin, path="/branches$", delay=1.5)
    slow = threading.Thread(target=standin.call, args=("GET", f"/repos/{NAME}/branches"))
    begun = time.monotonic()
    slow.start()
    eventually(lambda: standin.call("GET", "/_standin/faults").json() == [])
    assert standin.call("GET", f"/repos/{NAME}").status_code == 200
    assert time.monotonic() - begun < 1.5
    slow.join(timeout=10)
    assert time.monotonic() - begun >= 1.5


def test_faults_are_not_for_strangers_and_must_make_sense(standin: GitHubStandin) -> None:
    stranger = standin.session.post(f"{standin.url}/_standin/faults", json={}, timeout=10)
    assert stranger.status_code == 401
    for nonsense in ({"path": "("}, {"status": 200}, {"times": 0}):
        assert standin.call("POST", "/_standin/faults", json=nonsense).status_code == 422
    assert standin.call("GET", "/_standin/faults").json() == []


# Webhooks


class Receiver(ThreadingHTTPServer):
    """Keeps every delivery: headers, raw body."""

    daemon_threads = True

    def __init__(self) -> None:
        self.deliveries: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        super().__init__(("127.0.0.1", 0), _Handler)

    def named(self, event: str, action: str | None = None) -> list[dict[str, Any]]:
        bodies = [json.loads(body) for headers, body in self.deliveries if headers["X-GitHub-Event"] == event]
        return [body for body in bodies if action in (None, body.get("action"))]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.deliveries.append((dict(self.headers), body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join(timeout=10)


def test_webhooks_tell_the_life_of_a_pull_request_and_are_signed(
    tmp_path: Path, bare: Path, receiver: Receiver
) -> None:
    url = f"http://127.0.0.1:{receiver.server_port}/webhooks/github"
    with github_standin(tmp_path, webhook=url, webhook_secret=SECRET) as standin:
        repo = standin.client().get_repo(NAME)
        pull = open_pull(repo, bare)
        old, new = pull.head.sha, push_files(bare, "work", {"more.txt": "more\n"}, "More")
        merged = repo.get_pull(pull.number).merge()
        eventually(lambda: bool(receiver.named("pull_request", "closed")))
        eventually(lambda: any(one["after"] == merged.sha for one in receiver.named("push")))
    for headers, body in receiver.deliveries:
        expected = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert headers["X-Hub-Signature-256"] == expected
        assert headers["Content-Type"] == "application/json"
    ids = [headers["X-GitHub-Delivery"] for headers, _ in receiver.deliveries]
    assert len(set(ids)) == len(ids)

    actions = [one["action"] for one in receiver.named("pull_request")]
    assert actions == ["opened", "synchronize", "closed"]
    synchronize = receiver.named("pull_request", "synchronize")[0]
    assert (synchronize["before"], synchronize["after"]) == (old, new)
    closed = receiver.named("pull_request", "closed")[0]
    assert closed["pull_request"]["merged"] is True
    assert closed["pull_request"]["merge_commit_sha"] == merged.sha
    assert (closed["repository"]["full_name"], closed["sender"]["login"]) == (NAME, BOT)
    push = next(one for one in receiver.named("push") if one["after"] == merged.sha)
    assert (push["ref"], push["created"], push["deleted"], push["forced"]) == (
        "refs/heads/main",
        False,
        False,
        False,
    )
    assert push["head_commit"]["id"] == merged.sha
    assert {path for commit in push["commits"] for path in commit["added"]} == {"work.txt", "more.txt"}


def test_closing_without_merging_is_told_and_a_failed_delivery_is_not_repeated(
    tmp_path: Path, bare: Path, receiver: Receiver
) -> None:
    receiver.status = 500
    with github_standin(tmp_path, webhook=f"http://127.0.0.1:{receiver.server_port}/") as standin:
        repo = standin.client().get_repo(NAME)
        pull = open_pull(repo, bare)
        pull.edit(state="closed")
        repo.get_git_ref("heads/work").delete()
        eventually(lambda: any(one["deleted"] for one in receiver.named("push")))
        assert len(receiver.named("pull_request", "opened")) == 1
        closed = receiver.named("pull_request", "closed")
        assert [one["pull_request"]["merged"] for one in closed] == [False]
        assert all("X-Hub-Signature-256" not in headers for headers, _ in receiver.deliveries)


def test_a_receiver_that_is_down_costs_nothing_but_the_delivery(tmp_path: Path, bare: Path) -> None:
    with Receiver() as gone:
        port = gone.server_port
    with github_standin(tmp_path, webhook=f"http://127.0.0.1:{port}/", webhook_secret=SECRET) as standin:
        assert open_pull(standin.client().get_repo(NAME), bare).merge().merged
