"""What is done by hand, as the contract suite meets it: the mail provider, which also takes letters over SMTP, and Vercel.

``kept`` is what somebody finds in the provider's console, and takes away before they say so.
"""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from core.processors import mail
from core.processors.protocol import Processor
from core.processors.registry import configured
from tests.cast import NOW, email_of
from tests.core.privacy.house_of_requests import act, rows
from tests.mail_server import FROM, Server, free_port

SAYS = {"429 with Retry-After": ("RCPT", "421 4.7.0 too many"), "500": ("DATA", "451 4.3.0 local error"), "401": ("MAIL", "550 5.7.1 not you"),
        "200 with an error body": ("DATA", "554 5.6.0 no"), "200 that is no JSON": ("DATA", "what?")}  # fmt: skip
CUTS = {"dropped before": "RCPT", "executed, then dropped": "DATA", "cut in the middle": "DATA", "hanging": "DATA"}
MEANS = {"refused": ("later", "no connection"), "hanging": ("unclear", "no answer"), "429 with Retry-After": ("later", "421"),
         "500": ("later", "451"), "401": ("later", "550"), "200 with an error body": ("refused", "554"),
         "200 that is no JSON": ("unclear", "no answer"), "cut in the middle": ("unclear", "no answer"),
         "executed, then dropped": ("unclear", "no answer"), "dropped before": ("later", "no connection")}  # fmt: skip


@dataclass
class ByHand:
    """A provider that is seen to in its own console."""

    name: str
    kept: set[str] = field(default_factory=set)

    def processor(self) -> Processor:
        """As the settings make it."""
        return configured(self.name)

    def people_do_it(self) -> None:
        """One takes away what is kept of Cleo and attests it, another one confirms."""
        for (step,) in rows(
            "select id from privacy.manual_step where processor = :name and state = 'open'", name=self.name
        ):
            self.kept.discard("cleo")
            act("attest_manual_step", "omar", step_id=step, evidence="Seen in the console.")
            act("confirm_manual_step", "olga", step_id=step)

    def calls(self) -> int:
        """How often it was called from here."""
        return 0

    def breaks(self, fault: str) -> None:
        """There is no line that could break."""

    def mend(self) -> None:
        """Nor one to mend."""


class Mailman(Server):
    """A mail server at which one thing goes wrong, once."""

    fault = ""

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        return await self._wrong(server, "MAIL") or await super().handle_MAIL(
            server, session, envelope, address, options
        )

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        return await self._wrong(server, "RCPT") or await super().handle_RCPT(
            server, session, envelope, address, options
        )

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        return await self._wrong(server, "DATA", envelope) or await super().handle_DATA(server, session, envelope)

    async def _wrong(self, server: Any, step: str, envelope: Any = None) -> str:
        at, said = SAYS.get(self.fault, ("", ""))
        if at == step:
            self.fault = ""
            return said
        if CUTS.get(self.fault) != step:
            return ""
        fault, self.fault = self.fault, ""
        if fault == "hanging":
            await asyncio.sleep(0.6)
        if fault == "cut in the middle":
            server.transport.write(b"25")
        if fault == "executed, then dropped":
            await super().handle_DATA(server, None, envelope)
        server.transport.close()
        return "250 never heard"


@dataclass
class Post(ByHand):
    """The mail provider: a real SMTP server, whose own log is seen to by hand."""

    server: Mailman = field(default_factory=Mailman)
    controller: Controller | None = None
    port: int = 0
    letter: mail.Letter = field(
        default_factory=lambda: mail.Letter(uuid.uuid4(), email_of("cleo"), "Hello", "Dear Cleo,\nbye", NOW)
    )

    def up(self) -> None:
        """Listen, on the same port as before."""
        self.controller = Controller(self.server, hostname="127.0.0.1", port=self.port, enable_SMTPUTF8=False)
        self.controller.start()

    def down(self) -> None:
        """Listen no more."""
        if self.controller:
            self.controller.stop()
            self.controller = None

    def send(self) -> mail.Delivery:
        """Hand the letter over, the same one every time."""
        with pytest.MonkeyPatch.context() as patch, mail.Line() as line:
            patch.setattr(mail, "SECONDS", 0.3 if self.server.fault == "hanging" else 5)
            return line.send(self.letter)

    def calls(self) -> int:
        return self.server.connections

    def breaks(self, fault: str) -> None:
        if fault == "refused":
            self.down()
        elif fault in SAYS or fault in CUTS:
            self.server.fault = fault

    def mend(self) -> None:
        self.server.fault = ""
        if self.controller is None:
            self.up()


@contextmanager
def by_hand(name: str, patch: pytest.MonkeyPatch) -> Iterator[ByHand]:
    """Vercel, or the mail provider with its server."""
    if name != "SMTP":
        yield ByHand(name, {"cleo", "ben"})
        return
    post = Post(name, {"cleo", "ben"}, port=free_port())
    post.up()
    patch.setenv("RESOCODE_SMTP_URL", f"smtp://127.0.0.1:{post.port}")
    patch.setenv("RESOCODE_MAIL_FROM", FROM)
    patch.setenv("RESOCODE_MAIL_CATCHER", "1")
    yield post
    post.down()
