"""What is requested for an image, and what the response means: an image, a reason for having none, or another try."""

import errno
from http import HTTPStatus
from math import inf

import msgspec
import pycurl
from msgspec.structs import replace

from filters.web_url import web_url, without_fragment
from mmc4_pipeline.errors import UserError
from mmc4_pipeline.images.fetching.addresses import ForbiddenAddressError
from mmc4_pipeline.images.fetching.interface import FetchResult, ImageHandler
from mmc4_pipeline.images.fetching.messages import (
    LOCATION,
    RESERVATION,
    RETRY_AFTER,
    ROBOTS_TAG,
    USAGE,
    Response,
    has_content,
)
from mmc4_pipeline.images.fetching.routes import Route
from mmc4_pipeline.storage.http.client import retry_after
from schemas.declarations import TDM_HEADER, USAGE_HEADER, bounded
from schemas.reasons import Reason

_BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_REDIRECTS = (
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.FOUND,
    HTTPStatus.SEE_OTHER,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
)
_TOO_LARGE = 100  # libcurl's code for a header beyond its limits; pycurl has no name for it
# What libcurl reports if it refuses a header; the second is for its first line, the third for its Transfer-Encoding.
REFUSED = (pycurl.E_FTP_WEIRD_SERVER_REPLY, pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_BAD_CONTENT_ENCODING)
_MALFORMED = (*REFUSED, _TOO_LARGE)


class Target(msgspec.Struct, frozen=True):
    """An image, or a file of its host such as robots.txt, to download by one route. `url` names its result.

    No request for it begins after `deadline`, in the event loop's time. `declarations` are those of its host's files.
    """

    url: str
    route: Route
    handler: ImageHandler
    deadline: float = inf
    is_host_file: bool = False
    declarations: tuple[str, ...] = ()

    @property
    def empty_result(self) -> FetchResult:
        """Return a result that has only its URL and route, and what files of its host declare."""
        return FetchResult(self.url, self.route.template, declarations="\n".join(self.declarations) or None)


class Outcome(msgspec.Struct, frozen=True):
    """How one request ended. The result is final unless one of the others is set.

    `pushback` is set if the host is busy (429 or 503): how many seconds it asked to wait, 0 if it did not say.
    `may_retry` is set after a failure that may pass, and `is_excused` if it is not the host's. `location` is where a
    redirect leads. `unread_from` is the address and port whose response libcurl can't read, but lenient.py perhaps can.
    """

    result: FetchResult
    pushback: float | None = None
    may_retry: bool = False
    is_excused: bool = False
    location: str | None = None
    unread_from: tuple[str, int] | None = None


def is_server_failure(status: int) -> bool:
    """Return whether a status says that the server is broken, whatever was requested."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR


def failed(target: Target, reason: Reason, error: str, *, may_retry: bool = False) -> Outcome:
    """Return the outcome of a request that got no response, or one that can't be read."""
    return Outcome(replace(target.empty_result, reason=reason, error=error), may_retry=may_retry)


def result_of(response: Response, target: Target) -> FetchResult:
    """Return a result with what the header of a response says."""
    fields, lines = response.headers, target.declarations
    found = [f"{TDM_HEADER}: {value}" for value in fields.get(RESERVATION, ())]
    if usage := fields.get(USAGE):  # several fields are one dictionary (RFC 9110, section 5.3)
        found.append(f"{USAGE_HEADER}: {', '.join(usage)}")
    return FetchResult(
        target.url,
        target.route.template,
        response.status,
        robots_tag="\n".join(fields.get(ROBOTS_TAG, ())) or None,
        declarations="\n".join(bounded([*lines, *found]) if found else lines) or None,
    )


def outcome_of(response: Response, target: Target, address: str, max_bytes: int) -> Outcome:
    """Return what a response means; a body of more than `max_bytes` is too large.

    Raises UserError if this machine can't open more connections.
    """
    status = response.status
    is_success = status is not None and has_content(status, may_be_part=target.is_host_file)
    if status is None or (is_success and not response.is_complete and not response.is_too_long):
        return _failure(response, target)
    result = result_of(response, target)
    if is_success:
        if response.is_too_long and not target.is_host_file:
            return Outcome(replace(result, reason=Reason.TOO_LARGE, error=f"more than {max_bytes} bytes"))
        return Outcome(replace(result, body=response.body))
    if status in _REDIRECTS and (location := next(filter(None, response.headers.get(LOCATION, ())), None)):
        target_url = web_url(location, address)
        if target_url is None:
            return failed(target, Reason.HTTP_ERROR, f"redirected to {location[:200]!r}")
        return Outcome(result, location=without_fragment(target_url))
    result = replace(result, reason=Reason.HTTP_ERROR, error=f"HTTP {status}")
    return Outcome(result, pushback=_wait(response) if status in _BUSY else None)


def _wait(response: Response) -> float:
    values = response.headers.get(RETRY_AFTER)
    return retry_after({"Retry-After": values[0]} if values else {})


def _failure(response: Response, target: Target) -> Outcome:
    problem = response.os_error
    if isinstance(problem, ForbiddenAddressError) and response.code == pycurl.E_COULDNT_CONNECT:
        return failed(target, Reason.FORBIDDEN_ADDRESS, str(problem))
    if problem is not None and problem.errno in (errno.EMFILE, errno.ENFILE):
        raise UserError("cannot open more connections (see ulimit -n): lower --max_open_requests") from problem
    if response.code == pycurl.E_OPERATION_TIMEDOUT:
        return failed(target, Reason.TIMEOUT, "no response in time", may_retry=True)
    if response.code == pycurl.E_URL_MALFORMAT:
        return failed(target, Reason.HTTP_ERROR, "no valid URL")
    if response.code in _MALFORMED:
        return failed(target, Reason.CORRUPT, f"malformed response: {response.message}")
    if response.status is not None:
        return failed(target, Reason.CORRUPT, f"the response broke off: {response.message}", may_retry=True)
    return failed(target, Reason.HOST_UNAVAILABLE, response.message, may_retry=True)
