"""Errors in GitHub's form: a status, a message, and errors per field where validation failed."""

from __future__ import annotations

from typing import Any, NoReturn

DOCUMENTATION = "https://docs.github.com/rest"


class ApiError(Exception):
    """An answer with an error status; `errors` are GitHub's details of a failed validation."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        errors: list[Any] | None = None,
        documentation: str = DOCUMENTATION,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors
        self.documentation = documentation

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"message": self.message}
        if self.errors is not None:
            body["errors"] = self.errors
        return {**body, "documentation_url": self.documentation, "status": str(self.status)}


def not_found() -> NoReturn:
    raise ApiError(404, "Not Found")


def invalid(
    resource: str, *, code: str = "custom", field: str | None = None, message: str | None = None
) -> NoReturn:
    """Refuses a request as GitHub's validation does.

    Raises:
        ApiError: always, 422 "Validation Failed".
    """
    detail = {"resource": resource, "code": code, "field": field, "message": message}
    known = {key: value for key, value in detail.items() if value is not None}
    raise ApiError(422, "Validation Failed", errors=[known])
