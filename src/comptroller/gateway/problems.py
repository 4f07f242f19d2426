"""What the door answers when something is wrong, in OpenAI's shape."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from comptroller.books.rates import RateExceededError
from comptroller.errors import (
    BudgetExceededError,
    ComptrollerError,
    DuplicateCallError,
    InputError,
    LedgerError,
    UnsupportedError,
)

NO_RETRY = {"x-should-retry": "false"}
"""Tells the official client that asking again changes nothing."""


class GatewayError(ComptrollerError):
    """A request that is refused or failed, with its HTTP status.

    param: the field at fault.  retry_after_s: when to come again, negative where it makes no sense.
    """

    def __init__(
        self, status: int, message: str, code: str = "", param: str | None = None, retry_after_s: float = -1.0
    ) -> None:
        self.status, self.code, self.param, self.retry_after_s = status, code, param, retry_after_s
        super().__init__(message)

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the answer."""
        if self.retry_after_s >= 0:
            return {"retry-after": str(max(1, round(self.retry_after_s)))}
        return NO_RETRY if self.status == 429 else {}

    @property
    def document(self) -> dict[str, Any]:
        """The body, as OpenAI writes it.

        >>> GatewayError(404, "no model x", "model_not_found", "model").document["error"]["type"]
        'invalid_request_error'
        """
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        about = {"type": kind, "param": self.param, "code": self.code or None}
        return {"error": {"message": str(self), **about}}

    @property
    def body(self) -> bytes:
        """The document as bytes."""
        return msgspec.json.encode(self.document)


NEVER = {501, 505, 511}
"""Statuses that say that the service will never do it."""
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


KEYS = re.compile(r"(?i)(?:\b(?:sk|rk|pk|xai|gsk|csk|nvapi|hf|r8|fw)[-_]|\bAIza|\bAKIA|\bbearer\s+)[\w.*~+/=-]{8,}")
"""What looks like the key of a provider (OpenAI, Anthropic, xAI, Groq, Cerebras, NVIDIA, Hugging Face, Replicate,
Fireworks, Google, AWS), or follows the scheme of one."""
HIDDEN = "[key]"


def without_keys(said: Any) -> Any:
    """Text of a service, or a document of such texts, without anything that looks like a key.

    >>> without_keys({"error": {"message": "Incorrect API key provided: sk-proj-abcdef123456", "code": 401}})
    {'error': {'message': 'Incorrect API key provided: [key]', 'code': 401}}
    """
    if isinstance(said, str):
        return KEYS.sub(HIDDEN, said)
    if isinstance(said, dict):
        return {name: without_keys(value) for name, value in said.items()}
    return [without_keys(value) for value in said] if isinstance(said, list) else said


class UpstreamError(GatewayError):
    """A service refused, broke off or was not there.

    said: its own error document, passed on as it is.  billable: whether it may have charged for what it did.
    again: whether the same request may be answered at another attempt; None where the status tells.
    away: whether it was not reached at all, which no request can cause.
    """

    def __init__(
        self,
        status: int,
        message: str,
        said: dict[str, Any] | None = None,
        retry_after_s: float = -1.0,
        billable: bool = False,
        **about: bool,
    ) -> None:
        super().__init__(status, without_keys(message), "upstream_error", None, retry_after_s)
        self.said, self.billable, self.away = said, billable, about.get("away", False)
        self._again = about.get("again")

    @property
    def transient(self) -> bool:
        """Whether another attempt may do better."""
        helps = self.status in {408, 409, 429} or (self.status >= 500 and self.status not in NEVER)
        return helps if self._again is None else self._again

    @property
    def tries(self) -> int:
        """Attempts at one service that may do better: one more where the reason may lie in the request (500)."""
        return 2 if self.status == 500 else 2**31

    @property
    def document(self) -> dict[str, Any]:
        """What the service said, without anything that looks like a key, or our words where it said nothing."""
        error = self.said.get("error") if self.said else None
        if isinstance(error, str) and error:
            return {"error": super().document["error"] | {"message": without_keys(error)}}
        if self.said is None or not isinstance(error, dict):
            return super().document
        found: dict[str, Any] = without_keys(self.said)
        return found


def problem_of(error: ComptrollerError) -> GatewayError:
    """Any of the package's errors as an answer.

    >>> problem_of(LedgerError("the disk is full")).status
    503
    """
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, BudgetExceededError | RateExceededError):
        return _limit_problem(error)
    if isinstance(error, LedgerError):
        return GatewayError(503, f"the books cannot be written, so nothing is spent: {error}", "books", None, 5.0)
    if isinstance(error, DuplicateCallError):
        return GatewayError(409, str(error), "already_booked")
    if isinstance(error, InputError | UnsupportedError):
        return GatewayError(400, str(error), "invalid_value")
    return GatewayError(500, f"{type(error).__name__}: {error}", "internal")


def _limit_problem(error: BudgetExceededError | RateExceededError) -> GatewayError:
    """A refusal for good, or until open calls have ended or a minute's limit has room."""
    if isinstance(error, RateExceededError):
        return GatewayError(429, str(error), "rate_limit_exceeded", None, error.wait_s)
    if error.passing:
        return GatewayError(429, f"{error}; come again when they have ended", "budget_held", None, 1.0)
    return GatewayError(429, str(error), "budget_exceeded")
