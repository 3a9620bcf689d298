"""Addresses of the platform's own pages, by the template of ``RESOCODE_PLATFORM_URL``.

Only a row that came from the platform has a page there: one that an office spreadsheet or an open dataset brought has
not. What is filled in is quoted, so that no key can lead to another place than the one the template names.
"""

import uuid
from collections.abc import Iterable
from typing import Literal
from urllib.parse import quote, urlsplit

from core.settings import settings

Kind = Literal["student", "visitor", "cohort", "program", "submission", "certificate"]
LONGEST_LINK = 2_000
PLATFORM_SOURCES = ("mongodb", "seed")  # the seed plays the platform in a demonstration


def configured() -> bool:
    """Return whether the pages of the platform have a known address."""
    return settings().platform_url is not None


def platform_link(kind: Kind, source: str, key: str | None) -> str | None:
    """Return the address of one page of the platform; None without a template, or for a row the platform does not know.

    ``key`` is the row's own key there (``source_key``; a certificate's number).
    """
    return _address(settings().platform_url, kind, source, key) if source in PLATFORM_SOURCES else None


def platform_links(kind: Kind, rows: Iterable[tuple[uuid.UUID, str, str | None]]) -> dict[uuid.UUID, str | None]:
    """Return the addresses of many rows (id, source, key) by id; empty without a template."""
    template = settings().platform_url
    return {row: _address(template, kind, source, key) for row, source, key in rows} if template else {}


def _address(template: str | None, kind: Kind, source: str, key: str | None) -> str | None:
    if template is None or source not in PLATFORM_SOURCES or not key or key in (".", ".."):
        return None
    return template.format(kind=kind, id=quote(key, safe=""))


def web_link(address: str | None) -> str | None:
    """Return an address that somebody typed when it leads to the web (http or https, to a named host), else None.

    Whoever opens it sees where it leads: blanks, control characters and a user before the host are refused.
    """
    if not address or len(address) > LONGEST_LINK or not address.isprintable() or " " in address:
        return None
    try:
        parts = urlsplit(address)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return None
    return address if parts.scheme in ("http", "https") and host and "@" not in parts.netloc else None
