"""The GitHub stand-in as a process of its own, for any test that needs a Git host."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from github import Auth, Github

BOT = "kubefinops-bot"
PERSON = "alice"
DEFAULT_TOKENS = {BOT: "bot-token", PERSON: "alice-token"}


@dataclass
class GitHubStandin:
    """A running stand-in: its address, its tokens by login, its process."""

    url: str
    root: Path
    tokens: Mapping[str, str]
    process: subprocess.Popen[str]
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def token(self) -> str:
        return self.tokens[BOT]

    def client(self, login: str = BOT) -> Github:
        """PyGithub without its pauses and without its retries."""
        return Github(
            base_url=self.url,
            auth=Auth.Token(self.tokens[login]),
            seconds_between_requests=None,
            seconds_between_writes=None,
            retry=None,
        )

    def call(
        self,
        method: str,
        path: str,
        login: str = BOT,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> requests.Response:
        """A plain request to a path below the address; options (json, params, ...) as requests takes them."""
        sent = {"Authorization": f"Bearer {self.tokens[login]}", **(headers or {})}
        return self.session.request(method, self.url + path, headers=sent, timeout=30, **options)


@contextmanager
def github_standin(
    root: Path,
    *,
    tokens: Mapping[str, str] = DEFAULT_TOKENS,
    webhook: str | None = None,
    webhook_secret: str | None = None,
    port: int = 0,
) -> Iterator[GitHubStandin]:
    """Serves the bare repositories below root until the block ends, whatever happens in it."""
    command = [sys.executable, "-m", "infra.standins.github", "--port", str(port), "--root", str(root)]
    for login, token in tokens.items():
        command += ["--token", f"{login}={token}"]
    if webhook:
        command += ["--webhook", webhook]
    if webhook_secret:
        command += ["--webhook-secret", webhook_secret]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("ready "), f"the stand-in did not start: {line!r}"
            standin = GitHubStandin(line.split()[1], root, dict(tokens), process)
            with standin.session:
                yield standin
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def git(*arguments: str, directory: Path) -> str:
    """Runs git as a person would, with an identity and without the machine's configuration."""
    identity = ["-c", "user.name=Someone", "-c", "user.email=someone@example.com"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=directory, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def create_repository(root: Path, full_name: str, files: Mapping[str, str] | None = None) -> Path:
    """A bare repository root/<owner>/<name>.git with branch main and, with files, one commit."""
    path = root / f"{full_name}.git"
    path.mkdir(parents=True)
    git("init", "--quiet", "--bare", "--initial-branch=main", ".", directory=path)
    if files:
        push_files(path, "main", files, "initial")
    return path


def push_files(bare: Path, branch: str, files: Mapping[str, str], message: str) -> str:
    """Commits files on a branch from a clone and pushes it by path, past the API; returns the commit."""
    clone = bare.parent / f"{bare.stem}-clone"
    if not clone.exists():
        git("clone", "--quiet", str(bare), str(clone), directory=bare.parent)
    git("fetch", "--quiet", "origin", directory=clone)
    known = git("branch", "--remotes", "--list", f"origin/{branch}", directory=clone)
    if known:
        git("checkout", "--quiet", "-B", branch, f"origin/{branch}", directory=clone)
    else:
        git("checkout", "--quiet", "-B", branch, directory=clone)
    for name, content in files.items():
        file = clone / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    git("add", "--all", directory=clone)
    git("commit", "--quiet", "--message", message, directory=clone)
    git("push", "--quiet", "origin", branch, directory=clone)
    return git("rev-parse", "HEAD", directory=clone)
