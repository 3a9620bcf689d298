"""Clause 6: essential cookies, no tracking. Our own server is asked, as a browser that nobody signed in would ask it."""

import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http.cookies import SimpleCookie
from urllib.error import HTTPError

from sqlalchemy.orm import Session

from core.policy.checks.asking import many
from core.policy.evidence import Evidence, judged, not_proven
from core.settings import settings

SECONDS = 3.0
ESSENTIAL = {
    "resocode": "session",
    "__Host-resocode": "session",
    "_streamlit_xsrf": "protection against forged requests",
}
OWN = ("'self'", "'none'", "'unsafe-inline'", "'wasm-unsafe-eval'", "data:", "blob:")


@dataclass(frozen=True)
class Answer:
    """What our server sent to somebody unknown: its headers (lower case), and the cookies that it set."""

    headers: Mapping[str, str]
    cookies: tuple[str, ...]


def answer() -> Answer | None:
    """Ask our own start page; None when no dashboard answers at the configured place."""
    known = settings()
    host = "127.0.0.1" if known.host in ("0.0.0.0", "::", "") else known.host  # noqa: S104 - where to ask, not where to listen
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # our own machine; only headers are looked at
    try:
        with urllib.request.urlopen(f"http://{host}:{known.port}/", timeout=SECONDS, context=context) as response:
            return _told(response.headers.items())
    except HTTPError as error:
        return _told(error.headers.items())
    except (OSError, ValueError):
        return None


def essential(session: Session, now: datetime) -> Evidence:
    """Our server sets essential cookies only, and lets a page ask nobody but ourselves."""
    found = answer()
    if found is None:
        return not_proven(
            f"No dashboard answers at {settings().host}:{settings().port}, so that its cookies could not be looked at."
        )
    others = [name for name in found.cookies if name not in ESSENTIAL]
    policy = found.headers.get("content-security-policy", "")
    elsewhere = sorted({part for rule in policy.split(";") for part in rule.split()[1:] if part not in OWN})
    figures: dict[str, int | str] = {"cookies set": ", ".join(found.cookies) or "none", "cookies that are not essential": len(others),
                                     "other hosts a page may ask": ", ".join(elsewhere) or "none"}  # fmt: skip
    if others:
        return judged(
            True, False, f"{many(len(others), 'cookie')} that nobody listed: {', '.join(others)}.", figures=figures
        )
    if not policy or elsewhere:
        what = f"pages may ask {', '.join(elsewhere)}" if elsewhere else "nothing forbids pages to ask other hosts"
        return judged(True, False, f"The content security policy is not ours: {what}.", figures=figures)
    return judged(
        False,
        False,
        "Essential cookies only (session, protection against forged requests); pages may ask nobody but ourselves.",
        figures=figures,
    )


def _told(headers: object) -> Answer:
    pairs = [(str(name).lower(), str(value)) for name, value in headers]  # type: ignore[attr-defined]
    jar = SimpleCookie()
    for name, value in pairs:
        if name == "set-cookie":
            jar.load(value)
    return Answer(dict(pairs), tuple(sorted(jar)))
