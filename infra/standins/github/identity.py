"""Logins, and who they are in commits."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256

from infra.standins.github.git import Signature


def user_id(login: str) -> int:
    """A stable number for a login, as GitHub's users have one."""
    return int(sha256(login.encode()).hexdigest()[:7], 16)


def signature_of(login: str) -> Signature:
    """Who a login is in commits that GitHub writes for it: its private address, the present second."""
    email = f"{user_id(login)}+{login}@users.noreply.github.com"
    return Signature(login, email, datetime.now(UTC))


def login_of(who: Signature) -> str | None:
    """The login whose private address wrote a commit, or None."""
    match = re.fullmatch(r"(?:\d+\+)?([A-Za-z0-9-]+)@users\.noreply\.github\.com", who.email)
    return match.group(1) if match else None
