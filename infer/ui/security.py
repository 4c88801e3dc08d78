"""Access to the server: one middleware in front of everything else."""

import hmac
import json
import time
from collections import OrderedDict
from collections.abc import Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infer.ui.refusal import Refusal
from infer.ui.settings import LOOPBACK

COOKIE = "sdvsr_ui"
BURST = 5.0
"""Seconds' worth of requests that may come at once: opening the page takes a dozen."""
ADDRESSES = 4096
"""Addresses whose rate is remembered; more would let a stranger fill the memory."""
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), display-capture=(self), microphone=()",
}
HEALTH = "/healthz"
"""Answered without a token: it says nothing but how the server is."""


class Guard:
    """ASGI middleware: path prefix, Host, Origin, token, rate, and headers of answers.

    hosts: names by which the server may be called; token: empty if none is asked for.
    """

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str], token: str, prefix: str, rate: float
    ) -> None:
        self._app = app
        self._hosts = {*LOOPBACK, *hosts}
        self._token = token
        self._prefix = prefix.rstrip("/")
        self._limit = RateLimit(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        self._strip(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(message)
            await send(message)

        try:
            self._check(scope)
        except Refusal as refusal:
            await _refuse(scope, send_guarded, refusal)
            return
        if self._token and self._wants_cookie(scope):
            await self._welcome(scope, send_guarded)
            return
        await self._app(scope, receive, send_guarded)

    def openapi(self) -> dict[str, Any]:
        """Returns the OpenAPI document of the application behind."""
        return self._app.openapi()  # type: ignore[attr-defined]

    def _strip(self, scope: MutableMapping[str, Any]) -> None:
        """Take the proxy's prefix off the path, if the proxy left it on."""
        path = scope["path"]
        # whole parts only: /upscale is no beginning of /upscaled
        is_below = f"{path}/".startswith(f"{self._prefix}/")
        if self._prefix and is_below:
            scope["path"] = path[len(self._prefix) :] or "/"
            scope["raw_path"] = scope["path"].encode()

    def _check(self, scope: Scope) -> None:
        headers = _headers(scope)
        host = headers.get("host", "")
        if _name_of(f"//{host}") not in self._hosts:
            sentence = (
                "This server has another name; --public NAME lets it be called so."
            )
            raise Refusal(421, sentence)
        self._check_origin(scope, headers, host)
        client = scope.get("client") or ("", 0)
        if not self._limit.allows(client[0]):
            raise Refusal(429, "Too many requests: wait a second.")
        is_open = not self._token or scope["path"] == HEALTH
        if not is_open and not self._knows_token(scope, headers):
            sentence = "The token is missing or wrong: open the link that was printed."
            raise Refusal(401, sentence)

    def _check_origin(self, scope: Scope, headers: dict[str, str], host: str) -> None:
        """Other pages in the same browser must neither change nor see anything."""
        origin = headers.get("origin")
        if origin is None:
            # Browsers say where a request comes from even without an Origin.
            site = headers.get("sec-fetch-site", "none")
            is_page = headers.get("sec-fetch-mode") == "navigate"
            foreign = site not in ("none", "same-origin") and not is_page
        else:
            foreign = urlsplit(origin).netloc != host
        if foreign:
            raise Refusal(403, "This request comes from another page.")

    def _knows_token(self, scope: Scope, headers: dict[str, str]) -> bool:
        offers = [
            headers.get("authorization", "").removeprefix("Bearer "),
            _cookie(headers.get("cookie", "")),
            _query_token(scope),
        ]
        secret = self._token.encode()
        # in a time that tells nothing about how much of an offer is right
        return any(hmac.compare_digest(offer.encode(), secret) for offer in offers)

    def _wants_cookie(self, scope: Scope) -> bool:
        return scope["type"] == "http" and bool(_query_token(scope))

    async def _welcome(self, scope: Scope, send: Send) -> None:
        """The printed link becomes a cookie, so that the token leaves the address."""
        cookie = f"{COOKIE}={self._token}; HttpOnly; SameSite=Strict; Path=/"
        # relative, because only the proxy knows the address in front of it
        headers = [(b"location", b"."), (b"set-cookie", cookie.encode("latin-1"))]
        start = {"type": "http.response.start", "status": 303, "headers": headers}
        await send(start)
        await send({"type": "http.response.body", "body": b""})


class RateLimit:
    """A bucket of requests for every address. rate: requests per second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str) -> bool:
        """Whether one more request of this address may be served now."""
        now = time.monotonic()
        most = self._rate * BURST
        # popped and put back at the end: those who came least lately are forgotten
        room, before = self._buckets.pop(address, (most, now))
        inflow = (now - before) * self._rate
        room = min(most, room + inflow)
        allowed = room >= 1
        if allowed:
            room -= 1
        self._buckets[address] = (room, now)
        if len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)
        return allowed


def _headers(scope: Scope) -> dict[str, str]:
    headers = {}
    for name, value in scope["headers"]:
        headers[name.decode("latin-1")] = value.decode("latin-1")
    return headers


def _name_of(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _cookie(text: str) -> str:
    try:
        cookie = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _query_token(scope: Scope) -> str:
    text = scope["query_string"].decode("latin-1")
    query = dict(parse_qsl(text))
    return query.get("token", "")


def _add_headers(message: Message) -> None:
    headers = list(message["headers"])
    present = {name.lower() for name, _ in headers}
    for text, value in HEADERS.items():
        name = text.encode()
        if name not in present:
            headers.append((name, value.encode()))
    message["headers"] = headers


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    if scope["type"] == "websocket":
        # 1008: policy violation; a reason may have 123 bytes at most
        reason = refusal.sentence[:100]
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    body = json.dumps({"error": refusal.sentence}).encode()
    headers = [(b"content-type", b"application/json")]
    if refusal.status == 429:
        headers.append((b"retry-after", b"1"))
    status = refusal.status
    start = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
