"""The gate in front of Streamlit, and the three HTTP routes of our own.

Danger: Streamlit serves media, uploads, components and metrics to anyone who has the address, and its own downloads to
anyone at all. Principle: without a live session nothing but the empty shell of the page is served. Mechanism: an ASGI
middleware answers 403 on every such path and adds the security headers; files leave through ``/files/{secret}``, which
row-level security opens to the session that asked for it, once.
"""

import json
from collections.abc import Iterator
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import db, privacy_actions
from core.errors import NotFound
from core.privacy_actions import OpenedArtifact, Staff
from core.settings import settings
from ui import closed
from ui.clock import now

# Everything of Streamlit's that holds or takes data. Its page, script bundle, health check and websocket stay open: the
# websocket shows the sign-in until the session is known.
CLOSED = ("/media", "/component", "/app/static", "/files", "/_stcore")
OPEN = ("/_stcore/health", "/_stcore/host-config", "/_stcore/stream", "/_stcore/script-health-check")

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def cookie_name() -> str:
    """Return the name of the session cookie; behind HTTPS its prefix binds it to this host."""
    return "__Host-resocode" if settings().https else "resocode"


class Gate:
    """ASGI middleware: 403 without a live session on the closed paths, security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or refuse it."""
        if scope["type"] == "websocket" and not _same_origin(Headers(scope=scope)):
            await _refuse_websocket(receive, send)
        elif (
            scope["type"] in ("http", "websocket")
            and scope["path"] != "/healthz"
            and await run_in_threadpool(closed.is_closed)
        ):
            await _turn_away(scope, receive, send)
        elif scope["type"] == "http" and _closed(scope["path"]) and not await _is_live(scope):
            refused = PlainTextResponse("Sign in first.\n", status_code=403)
            await refused(scope, receive, _with_headers(scope, send))
        else:
            await self.app(scope, receive, _with_headers(scope, send))


async def exchange_cookie(request: Request) -> Response:
    """POST /auth/cookie: a single-use ticket for the HttpOnly cookie. An empty ticket takes a dead cookie away; a live
    one (another tab got it meanwhile) stays, and 205 says that the page is worth loading again."""
    if not _same_origin(request.headers) or request.headers.get("content-type") != "application/json":
        return PlainTextResponse("Refused.\n", status_code=403)
    try:
        ticket = json.loads(await request.body())["ticket"]
    except (ValueError, KeyError, TypeError):
        return PlainTextResponse("A ticket is needed.\n", status_code=400)
    if ticket == "":
        alive = await run_in_threadpool(_staff, request.headers)
        return Response(status_code=205) if alive else _without_cookie()
    cookie = await run_in_threadpool(_redeemed, str(ticket))
    if cookie is None:
        return PlainTextResponse("This ticket was used or is too old.\n", status_code=410)
    answer = Response(status_code=204)
    answer.set_cookie(cookie_name(), cookie, httponly=True, samesite="strict", secure=settings().https, path="/")
    return answer


async def send_file(request: Request) -> Response:
    """GET /files/{secret}: the file, once, to the session that asked for it. HEAD looks without opening."""
    return await run_in_threadpool(_file_answer, request)


async def health(_request: Request) -> Response:
    """GET /healthz: whether this process and its database answer, and the dashboard is open. Nothing else is told."""
    well = await run_in_threadpool(db.reachable)
    behind = well and await run_in_threadpool(closed.is_closed)
    told = "restore-check\n" if behind else "ok\n" if well else "database\n"
    return PlainTextResponse(told, status_code=200 if well and not behind else 503)


ROUTES = [
    Route("/auth/cookie", exchange_cookie, methods=["POST"]),
    Route("/files/{secret}", send_file, methods=["GET", "HEAD"]),
    Route("/healthz", health, methods=["GET"]),
]


def _closed(path: str) -> bool:
    return _under(path, CLOSED) and not _under(path, OPEN)


def _under(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)


async def _is_live(scope: Scope) -> bool:
    return await run_in_threadpool(_staff, Headers(scope=scope)) is not None


def _staff(headers: Headers) -> Staff | None:
    cookie = SimpleCookie(headers.get("cookie", "")).get(cookie_name())
    if cookie is None:
        return None
    try:
        with db.transaction() as session:
            return privacy_actions.live_session(session, secret=cookie.value, now=now())
    except SQLAlchemyError:
        return None


def _redeemed(ticket: str) -> str | None:
    with db.transaction() as session:
        return privacy_actions.redeem_ticket(session, ticket=ticket, now=now())


def _file_answer(request: Request) -> Response:
    staff = _staff(request.headers)
    if staff is None:
        return PlainTextResponse("Sign in first.\n", status_code=403)
    secret = request.path_params["secret"]
    with db.transaction(staff_id=staff.id, session_id=staff.session_id) as session:
        if request.method == "HEAD":
            return Response(status_code=200 if privacy_actions.file_exists(session, token=secret, now=now()) else 410)
        try:
            opened = privacy_actions.open_file(session, token=secret, now=now())
        except NotFound as gone:
            return PlainTextResponse(f"{gone.sentence}\n", status_code=410)
    if opened is None:
        return PlainTextResponse("This link was used, is too old, or belongs to another session.\n", status_code=410)
    headers = {"content-disposition": f'attachment; filename="{opened.name}"'}
    if opened.artifact is None:
        return Response(opened.content, media_type=opened.media_type, headers=headers)
    parts = _parts(staff, opened.artifact)
    if opened.password is not None:
        parts = privacy_actions.sealed(parts, password=opened.password)
    else:
        headers["content-length"] = str(opened.artifact.size)
    return StreamingResponse(parts, media_type=opened.media_type, headers=headers)


def _parts(staff: Staff, opened: OpenedArtifact) -> Iterator[bytes]:
    """A short transaction for each part: a slow download holds none open. What fails breaks the download off."""
    for number in range(opened.parts):
        with db.transaction(staff_id=staff.id, session_id=staff.session_id) as session:
            content = privacy_actions.file_part(session, opened=opened, number=number)
        yield content


def _without_cookie() -> Response:
    answer = Response(status_code=204, headers={"clear-site-data": '"cache", "storage"'})
    answer.delete_cookie(cookie_name(), httponly=True, samesite="strict", secure=settings().https, path="/")
    return answer


def _same_origin(headers: Headers) -> bool:
    """Whether the browser says that the request comes from our own page; no Origin at all is no browser of ours."""
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")


async def _turn_away(scope: Scope, receive: Receive, send: Send) -> None:
    """Nothing is open while the database is behind the erasure ledger, not even the sign-in."""
    if scope["type"] == "websocket":
        await _refuse_websocket(receive, send)
    else:
        answer = HTMLResponse(closed.PAGE, status_code=503, headers={"retry-after": "60"})
        await answer(scope, receive, _with_headers(scope, send))


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 1008})


def _with_headers(scope: Scope, send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            if not scope["path"].startswith("/static/"):
                headers["cache-control"] = "no-store"
            if settings().https:
                headers["strict-transport-security"] = "max-age=31536000; includeSubDomains"
        await send(message)

    return send_with_headers
