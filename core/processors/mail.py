"""Mail over SMTP: letters handed to the company's own server, one after the other over one connection. What the server said is
the answer, never a guess. A server that offers PIPELINING (RFC 2920) is told sender, recipient and DATA at once; one that ends a
connection after so many letters gets a new one.

Danger: a letter sent twice, a header or a second recipient that somebody typed, an address in a log. Principle: a server that took
a letter gives "taken"; one that refused it for good, "refused"; one that cannot now, "later"; one that fell silent after it had
the text, "unclear": it may have arrived. Mechanism: the steps of SMTP are taken one by one, so that it is known how far a
broken connection had come; addresses are checked before they are written anywhere; ``Message-ID`` is made of the letter's own id,
so that a second copy is recognized as one. Answers hold codes, never what the server wrote: it likes to repeat the address.
"""

import re
import smtplib
import ssl
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, EmailPolicy
from email.utils import format_datetime, getaddresses
from functools import lru_cache
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from core.errors import SettingsError
from core.settings import LOCAL, settings

SECONDS = 20.0
MAIL, RCPT, DATA = range(3)
# Names that are nobody's, and everything below them (RFC 2606, RFC 6761). Made-up and synthetic people live there.
NOBODYS = ("test", "example", "invalid", "localhost", "example.com", "example.net", "example.org")
NOWHERE = "invalid"  # not even a catcher gets these: canaries live there
RESERVED = "address reserved"
HEADERS = ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type", "Content-Transfer-Encoding")  # fmt: skip
PAYLOAD = ("mail address used", "subject", "letter")
WIRE = SMTP.clone(cte_type="7bit")
_LOCAL_PART = re.compile(r"[^\s@<>()\[\]\\,;:\"]{1,64}")
_DOMAIN = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
_BREAKS = re.compile(r"[\x00\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
_LONE_DOT = re.compile(rb"(?m)^\.")


@dataclass(frozen=True)
class Letter:
    """What is handed over. ``id`` becomes the Message-ID; ``at`` the date of the letter."""

    id: uuid.UUID
    address: str
    subject: str
    body: str
    at: datetime


@dataclass(frozen=True)
class Delivery:
    """What became of a letter: "taken", "refused", "later", "unclear" or "nobody", with a code ("550", "no connection").

    "nobody": the address stands under a name that is kept for examples and tests; nothing was handed over.

    ``server`` is True when the server itself is the reason: the next letter would fare no better, and this one is not to blame.
    """

    outcome: str
    code: str
    server: bool = False


def configured() -> bool:
    """Return whether letters go out by mail; otherwise they wait to be sent by hand."""
    return settings().smtp_url is not None


def envelope(address: str) -> str | None:
    """Return an address as it stands on the wire, or None when it is not exactly one address that mail can be sent to.

    The domain is written in ASCII (IDNA); a local part that is not, needs a server with SMTPUTF8.
    """
    local, at, domain = address.rpartition("@")
    if not at or not _LOCAL_PART.fullmatch(local) or local.strip(".") != local or ".." in local:
        return None
    if any(unicodedata.category(char)[0] in "CZ" for char in address):
        return None
    try:
        ascii_domain = domain.encode("idna").decode("ascii") if not domain.isascii() else domain
    except UnicodeError:
        return None
    return f"{local}@{ascii_domain}" if _DOMAIN.fullmatch(ascii_domain) and len(address) <= 254 else None


def reserved(address: str) -> bool:
    """Return whether an address stands under a name that is reserved, so that nobody can have it and nothing is sent there.

    A mail server that catches everything on this machine (``RESOCODE_MAIL_CATCHER``) gets these, too, but for ``.invalid``.
    """
    domain = address.rpartition("@")[2].lower().rstrip(".")
    nobodys = (NOWHERE,) if settings().mail_catcher else NOBODYS
    return domain.endswith(tuple(f".{name}" for name in nobodys)) or domain in nobodys


def written(letter: Letter, to: str) -> bytes:
    """Return a letter as bytes for the wire. Raises ValueError for a header with a line break, before anything is sent."""
    wire, from_ = WIRE if to.isascii() else SMTPUTF8, sender()
    local, _, domain = to.rpartition("@")
    content = EmailMessage(policy=wire)
    content.set_content(letter.body)
    return b"".join((
        _folded(wire, "From", str(from_)),
        _header(wire, "To", Address(username=local, domain=domain)) if not to.isascii() else f"To: {to}\r\n".encode(),
        _folded(wire, "Subject", letter.subject),
        _folded(wire, "Date", format_datetime(letter.at)),
        f"Message-ID: <{letter.id}@{from_.domain}>\r\nAuto-Submitted: auto-generated\r\n".encode(),
        content.as_bytes(),
    ))  # fmt: skip


def _header(wire: "EmailPolicy[Any]", name: str, value: str | Address) -> bytes:
    """One header as it stands on the wire. The library refuses a line break inside a text, and writes one at its end as it is: that
    would end the headers. Raises ValueError for both."""
    if isinstance(value, str) and _BREAKS.search(value):
        raise ValueError("a header is one line")
    return wire.fold_binary(*wire.header_store_parse(name, value))


_folded = lru_cache(maxsize=64)(_header)  # what many letters share: folding headers takes longer than sending them


@dataclass
class Line:
    """One connection for many letters: opened when it is needed, anew after it broke, closed in the end."""

    _server: smtplib.SMTP | None = field(default=None)
    _taken: int = 0  # letters that this connection carried

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def send(self, letter: Letter) -> Delivery:
        """Hand one letter over. Raises SettingsError when no server is set."""
        to = envelope(letter.address)
        if to is None:
            return Delivery("refused", "not an address")
        if reserved(to):
            return Delivery("nobody", RESERVED)
        try:
            data = written(letter, to)
        except ValueError:  # a line break in a header, half a surrogate pair
            return Delivery("refused", "cannot be written")
        used = self._taken > 0
        delivery = self._handed(letter.id, to, data)
        if used and delivery.server and delivery.outcome == "later" and self._server is None:
            delivery = self._handed(letter.id, to, data)  # it had enough of that connection; of us, a new one tells
        return delivery

    def _handed(self, letter_id: uuid.UUID, to: str, data: bytes) -> Delivery:
        try:
            server = self._connected()
        except _CannotSend as error:
            return self._broken(Delivery("later", str(error), server=True))
        except smtplib.SMTPResponseException as error:
            return self._broken(Delivery("later", str(error.smtp_code), server=True))
        except (OSError, smtplib.SMTPException):
            return self._broken(Delivery("later", "no connection", server=True))
        if not to.isascii() and not server.has_extn("smtputf8"):
            return Delivery("refused", "needs SMTPUTF8")
        return self._spoken(server, to, data, letter_id)

    def _spoken(self, server: smtplib.SMTP, to: str, data: bytes, letter_id: uuid.UUID) -> Delivery:
        given = False
        try:
            for step, (code, ready) in enumerate(_asked(server, to, letter_id)):
                if code >= 400 or (step == DATA and code != 354):
                    if ready:  # it waits for a text whose recipient it refused: it gets an empty one, for nobody
                        server.docmd(".")
                    return self._answered(server, code, about_us=step == MAIL)
            given = True
            server.send(_LONE_DOT.sub(b"..", data) + (b"" if data.endswith(b"\r\n") else b"\r\n") + b".\r\n")
            code = _understood(server.getreply())
        except (OSError, smtplib.SMTPException):
            return self._broken(
                Delivery("unclear" if given else "later", "no answer" if given else "no connection", True)
            )
        if code >= 400:
            return self._answered(server, code)
        self._taken += 1
        return Delivery("taken", str(code))

    def _answered(self, server: smtplib.SMTP, code: int, *, about_us: bool = False) -> Delivery:
        """What a refusal means. 421 closes the line; what is said to our own address is not this letter's fault."""
        if code == 421 or about_us:
            return self._broken(Delivery("later", str(code), server=True))
        try:
            server.rset()
        except (OSError, smtplib.SMTPException):
            self._leave()
        return Delivery("refused" if code >= 500 else "later", str(code))

    def _connected(self) -> smtplib.SMTP:
        if self._server is None:
            self._server = _connect()
        return self._server

    def _broken(self, delivery: Delivery) -> Delivery:
        self._leave()
        return delivery

    def _leave(self) -> None:
        server, self._server, self._taken = self._server, None, 0
        if server is not None:
            try:
                server.quit()
            except (OSError, smtplib.SMTPException):
                server.close()


def _understood(reply: tuple[int, bytes]) -> int:
    """The code of a reply. What is none, or half of one, says nothing: neither that a letter was taken, nor that it was not."""
    if not 200 <= reply[0] <= 599:
        raise smtplib.SMTPServerDisconnected("not understood")
    return reply[0]


def _asked(server: smtplib.SMTP, to: str, letter_id: uuid.UUID) -> Iterator[tuple[int, bool]]:
    """Say MAIL, RCPT and DATA; yield the answer to each, and whether the server already waits for the text.

    All at once where the server takes that; otherwise each is said when the answer to the one before was looked at.
    """
    wide = ["SMTPUTF8", "BODY=8BITMIME"] if not to.isascii() else []
    wide += [f"ENVID={letter_id}", "RET=HDRS"] if server.has_extn("dsn") else []
    told = ["NOTIFY=FAILURE"] if server.has_extn("dsn") else []
    said = (" ".join([f"MAIL FROM:<{sender().addr_spec}>", *wide]), " ".join([f"RCPT TO:<{to}>", *told]), "DATA")
    server.command_encoding = "ascii" if to.isascii() else "utf-8"
    if not server.has_extn("pipelining"):
        for each in said:
            yield _understood(server.docmd(each)), False
        return
    server.send("\r\n".join(said) + "\r\n")
    codes = [_understood(server.getreply()) for _ in said]
    yield from ((code, codes[DATA] == 354) for code in codes)


class _CannotSend(Exception):
    """The server does not offer what we send by."""


def _connect() -> smtplib.SMTP:
    """Connect, encrypted unless the server is this machine, and sign in."""
    address = settings().smtp_url
    if address is None:
        raise SettingsError(
            "Set RESOCODE_SMTP_URL (or RESOCODE_SMTP_URL_FILE) and RESOCODE_MAIL_FROM to send letters by mail."
        )
    parts = urlsplit(address)
    host, context = parts.hostname or "", ssl.create_default_context()
    if parts.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, parts.port or 465, timeout=SECONDS, context=context)
    else:
        server = smtplib.SMTP(host, parts.port or 587, timeout=SECONDS)
    try:
        server.ehlo_or_helo_if_needed()
        if parts.scheme != "smtps" and host not in LOCAL:
            if not server.has_extn("starttls"):
                raise _CannotSend("no encryption")
            server.starttls(context=context)
            server.ehlo()
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
    except BaseException:
        server.close()
        raise
    return server


def sender() -> Address:
    """Return who letters come from. Raises SettingsError when RESOCODE_MAIL_FROM is no address."""
    return _sender(settings().mail_from or "")


@lru_cache(maxsize=4)
def _sender(typed: str) -> Address:
    [(name, address), *more] = getaddresses([typed]) or [("", "")]
    if more or envelope(address) is None:
        raise SettingsError("Set RESOCODE_MAIL_FROM to the address that letters come from, like privacy@example.org.")
    return Address(display_name=name, addr_spec=address)
