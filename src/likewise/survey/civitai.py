"""Client: one page of models at a time from the public API, politely, with the key kept to itself.

It knows HTTP and how this site fails, and nothing of sampling or statistics. One request is under way at any
time, a pause apart; what may pass is tried again, what cannot is said at once.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from likewise import __version__
from likewise.errors import SurveyError
from likewise.survey import missing
from likewise.survey.shapes import EARLIEST, Page

if TYPE_CHECKING:
    import httpx2

URL = "https://civitai.com"
MODELS = "/api/v1/models"
TOKENS = ("CIVITAI_TOKEN", "CIVITAI_API_TOKEN", "CIVITAI_API_KEY")
"""Environment variables that hold the key; the first that is set counts."""
AGENT = f"likewise/{__version__} (survey of public counters)"
PAUSE = 1.0
TRIES = 6
MOST_FAILURES = 5
"""Requests that failed in a row, each after its tries, before the site is left alone."""
FIRST_WAIT, LONGEST_WAIT = 2.0, 60.0
"""Between tries, in pauses: a random part of 2, 4, 8 and so on up to 60."""
LONGEST_RETRY_AFTER = 600.0
"""Seconds that the site may ask to wait before it is better to come back another time."""
TIMEOUT = 60.0
"""Seconds for one answer, whole."""
MOST_BYTES = 64 << 20
_PASSING = {408, 425, 429, 500, 502, 503, 504, *range(520, 525)}
_REASONS = {
    401: ("wants a key", f"set {TOKENS[0]}, or check that it is still valid"),
    403: ("refuses this request", f"set {TOKENS[0]}; some countries are refused whatever is asked"),
    404: ("has nothing at this address", "is --url right?"),
    451: ("does not answer in this country", "nothing that likewise can do"),
}
_log = logging.getLogger(__name__)

Asked = tuple[tuple[str, str], ...]


class Unavailable(SurveyError):
    """One request failed for a reason that may pass, each time it was tried. `reason` is that of the last try."""

    def __init__(self, message: str, hint: str | None = None, *, reason: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


class _Passing(Exception):
    """One try failed; `after` is what the site asked to wait, in seconds."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Client:
    """The models of one site.

    `budget` is the most requests that it sends, tries included; `pause` and `timeout` are seconds; `contact` tells
    the site whom to write to.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        budget: int,
        pause: float = PAUSE,
        timeout: float = TIMEOUT,
        contact: str | None = None,
    ) -> None:
        try:
            import httpx2
        except ModuleNotFoundError:
            raise missing("httpx2") from None
        self.url, self.budget, self.pause, self.timeout = url.rstrip("/"), budget, pause, timeout
        self.sent = 0
        """Requests so far, tries included."""
        self._failures = self._tries = 0
        self._due = 0.0
        agent = f"{AGENT[:-1]}; {contact})" if contact else AGENT
        headers = {"User-Agent": agent, "Accept": "application/json", "Accept-Encoding": "gzip"}
        if key := _key(self.url):
            headers["Authorization"] = f"Bearer {key}"
        # Following a redirect, httpx2 drops the Authorization header wherever the host changes.
        self._http = httpx2.Client(headers=headers, timeout=timeout, follow_redirects=True, max_redirects=3)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._http.close()

    def models(self, asked: Asked) -> Page:
        """One page of `/models` for these parameters, each a pair; a name may come twice.

        Raises `Unavailable` when all tries failed, and `SurveyError` where trying again is no use: an answer that
        stays, the budget spent, or too many failures in a row.
        """
        try:
            import stamina
        except ModuleNotFoundError:
            raise missing("stamina") from None
        self._tries = 0
        # While the site fails, each further request has one try.
        attempts = 1 if self._failures else TRIES
        try:
            for attempt in stamina.retry_context(on=self._again, attempts=attempts, timeout=None):
                with attempt:
                    page = self._try(asked)
        except _Passing as error:
            self._failures += 1
            self._due = time.monotonic() + self._wait(error)
            if self._failures >= MOST_FAILURES:
                raise SurveyError(
                    f"{self.url} failed {self._failures} requests in a row: {error}",
                    "leave it alone for a while, then the same command goes on",
                ) from None
            raise Unavailable(
                f"{self.url} {error}, after {self._tries} tries",
                "later, the same command goes on",
                reason=str(error),
            ) from None
        self._failures = 0
        return page

    def _again(self, error: Exception) -> bool | float:
        """Whether to try again, and after how many seconds."""
        if not isinstance(error, _Passing):
            return False
        seconds = self._wait(error)
        if self._tries < TRIES:
            _log.warning("%s %s; trying again in %.0f s", self.url, error, seconds)
        return seconds

    def _wait(self, error: _Passing) -> float:
        """Full jitter, so that many clients do not come back at once; what the site asked for is the least."""
        most = min(LONGEST_WAIT, FIRST_WAIT * 2 ** max(self._tries - 1, 0)) * self.pause
        return max(random.uniform(0.0, most), error.after or 0.0)

    def _try(self, asked: Asked) -> Page:
        import httpx2

        if self.sent >= self.budget:
            raise SurveyError(
                f"the limit of {self.budget} requests is reached",
                "the same command goes on from here; --requests sets the limit",
            )
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._tries += 1
        self.sent += 1
        try:
            with self._http.stream("GET", self.url + MODELS, params=list(asked)) as response:
                body = self._body(response)
        except httpx2.TooManyRedirects:
            raise SurveyError(f"{self.url} redirects in circles", "is --url right?") from None
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL):
            raise SurveyError(f"{self.url!r} is not an address", "give one like https://host") from None
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise _Passing(f"gave no whole answer ({type(error).__name__})") from None
        finally:
            self._due = time.monotonic() + self.pause
        return self._page(asked, response, body)

    def _body(self, response: httpx2.Response) -> bytes:
        """The whole body, unless it drips or never ends; a timeout of the library is only from byte to byte."""
        began, parts, size = time.monotonic(), [], 0
        for part in response.iter_bytes():
            parts.append(part)
            size += len(part)
            if time.monotonic() - began > self.timeout:
                raise _Passing(f"was too slow (more than {self.timeout:g} seconds)")
            if size > MOST_BYTES:
                raise SurveyError(
                    f"{self.url} answers with more than {MOST_BYTES >> 20} MB", "is --url right?"
                )
        return b"".join(parts)

    def _page(self, asked: Asked, response: httpx2.Response, body: bytes) -> Page:
        """The page, or what its status means."""
        status, answer = response.status_code, _json(body)
        said = _said(answer)
        # Counts and ages must stand at one date, which is the site's: the clock of this machine may be wrong.
        at = _moment(response.headers.get("Date")) or datetime.now(UTC).replace(tzinfo=None)
        if status == 200:
            if not isinstance(answer, dict) or not isinstance(answer.get("items"), list):
                raise _Passing("answered something that is not a page of models")
            return Page(asked, status, answer, at)
        if status == 400 and "cursor" in said.lower() and isinstance(answer, dict):
            if "cursor" not in dict(asked):
                raise _Passing(f"answered 400 ({said}) where no cursor was sent")
            return Page(asked, status, answer, at)
        if status == 429 and "cursor" in said.lower():
            raise SurveyError(f"{self.url} gives no pages this far by number", "ask by cursor")
        if status in _PASSING:
            raise _Passing(f"answered {status}", self._retry_after(response.headers))
        reason, hint = _REASONS.get(status, (f"answered {status}", "is --url right?"))
        raise SurveyError(f"{self.url} {reason}" + (f": {said}" if said else ""), hint)

    def _retry_after(self, headers: Mapping[str, str]) -> float | None:
        """Seconds, from a number, or from a date by the site's own clock."""
        value = headers.get("Retry-After", "").strip()
        try:
            seconds = float(value)
        except ValueError:
            moment = _moment(value)
            now = _moment(headers.get("Date")) or datetime.now(UTC).replace(tzinfo=None)
            seconds = (moment - now).total_seconds() if moment else math.nan
        if not math.isfinite(seconds):
            return None
        if seconds > LONGEST_RETRY_AFTER:
            raise SurveyError(
                f"{self.url} asks to wait {seconds / 60:.0f} minutes", "then the same command goes on"
            )
        return max(0.0, seconds)


def asked(**parameters: str | int | bool | Iterable[int] | None) -> Asked:
    """Parameters as pairs in a fixed order. Those that are None or False are left out: the site reads any text of a
    boolean as true, and refuses some names for being there."""
    pairs: list[tuple[str, str]] = []
    for name, value in parameters.items():
        if value is None or value is False:
            continue
        if isinstance(value, str | int):
            pairs.append((name, "true" if value is True else str(value)))
        else:
            pairs.append((name, ",".join(map(str, value))))
    return tuple(pairs)


def _key(url: str) -> str | None:
    """The key, if there is one and the way to `url` is private."""
    name = next((name for name in TOKENS if os.environ.get(name, "").strip()), None)
    if name is None:
        return None
    key, parts = os.environ[name].strip(), urlsplit(url)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SurveyError(f"{name} holds letters that no key has", "copy it again")  # and does not show it
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    return key if parts.scheme == "https" or local else None


def _moment(value: str | None) -> datetime | None:
    """A date of HTTP in UTC, without a zone; None for what is none, or before such sites were."""
    try:
        moment = parsedate_to_datetime(value or "")
        moment = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (ValueError, OverflowError):
        return None
    return moment if moment >= EARLIEST else None


def _json(body: bytes) -> Any:
    """The value, with a sign for missing letters where bytes are no UTF-8; None where it is cut, or a page of HTML."""
    try:
        return json.loads(body.decode("utf-8-sig", errors="replace"))
    except (ValueError, RecursionError):
        return None


def _said(answer: Any) -> str:
    """What an error says of itself: `error` or `message`, as text or as an object, without codes for terminals."""
    if not isinstance(answer, dict):
        return ""
    said = answer.get("error") or answer.get("message") or ""
    while isinstance(said, dict):
        said = said.get("message") or said.get("name") or json.dumps(said)
    words = " ".join(str(said).split())[:200]
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words)
