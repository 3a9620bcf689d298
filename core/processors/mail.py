"""Mail over SMTP: one letter, handed to the company's own server. What the server said is the answer, never a guess.

Danger: a letter sent twice, or with a header that somebody typed. Principle: a server that took it gives "taken"; one that refused
it for good gives "refused"; everything else is "later". Mechanism: EmailMessage refuses line breaks in headers; the
``Message-ID`` is made of the letter's own id, so that a second copy after a crash is recognized as one.
"""

import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from core.errors import SettingsError
from core.settings import settings

SECONDS = 10.0


@dataclass(frozen=True)
class Delivery:
    """What the server answered: "taken", "refused" or "later", with its code ("550", "no connection")."""

    outcome: str
    code: str


def configured() -> bool:
    """Return whether letters go out by mail; otherwise they wait to be sent by hand."""
    return settings().smtp_url is not None


def deliver(*, letter_id: str, address: str, subject: str, body: str) -> Delivery:
    """Hand one letter to the server of RESOCODE_SMTP_URL. Raises SettingsError when none is set."""
    known = settings()
    if known.smtp_url is None or known.mail_from is None:
        raise SettingsError("Set RESOCODE_SMTP_URL and RESOCODE_MAIL_FROM to send letters by mail.")
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = known.mail_from, address, subject
    message["Message-ID"] = f"<{letter_id}@{known.mail_from.rpartition('@')[2].strip('>')}>"
    message.set_content(body)
    try:
        with _connected(known.smtp_url) as server:
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        code = next(iter(error.recipients.values()))[0]
        return Delivery("refused" if code >= 500 else "later", str(code))
    except smtplib.SMTPResponseException as error:
        return Delivery("refused" if error.smtp_code >= 500 else "later", str(error.smtp_code))
    except (OSError, smtplib.SMTPException):
        return Delivery("later", "no connection")
    return Delivery("taken", "250")


def _connected(address: str) -> smtplib.SMTP:
    parts = urlsplit(address)
    host, context = parts.hostname or "", ssl.create_default_context()
    if parts.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, parts.port or 465, timeout=SECONDS, context=context)
    else:
        server = smtplib.SMTP(host, parts.port or 587, timeout=SECONDS)
        if host not in ("localhost", "127.0.0.1", "::1"):
            server.starttls(context=context)
    if parts.username:
        server.login(unquote(parts.username), unquote(parts.password or ""))
    return server
