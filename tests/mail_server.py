"""A real SMTP server on loopback that says what a test wants, and keeps what it took."""

import re
import socket
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller

FROM = "privacy@resocode.example"
MESSAGE_ID = re.compile(rb"(?m)^Message-ID: <([0-9a-f-]{36})@")


class Server:
    """What the server answers, by the step of SMTP; ``answers`` by recipient go before ``answer``.

    ``connections`` counts who came, ``envelopes`` keeps sender, recipients and options as they stood on the wire, ``ids`` the
    letters that arrived; without ``keep`` only these.
    """

    def __init__(self) -> None:
        self.answer, self.answers = "250 OK", dict[str, str]()
        self.got: list[EmailMessage] = []
        self.ids: list[str] = []
        self.keep = True
        self.envelopes: list[Any] = []
        self.connections = 0
        self.drop_after_data = self.refuse_sender = self.pipelining = False
        self.most = 10**9  # letters over one connection

    async def handle_EHLO(  # noqa: N802
        self, _server: Any, session: Any, _envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.connections += 1
        session.letters = 0
        return [responses[0], "250-PIPELINING", *responses[1:]] if self.pipelining else responses

    async def handle_MAIL(self, _server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        if self.refuse_sender:
            return "550 5.7.1 not you"
        session.letters += 1
        if session.letters > self.most:
            return "421 4.7.0 enough for one connection"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        said = self.answers.get(address, self.answer)
        if said.startswith(("550", "421")):
            return said
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        said = self.answers.get(envelope.rcpt_tos[0], self.answer)
        if self.drop_after_data:
            self.envelopes.append(envelope)
            server.transport.close()
            return "250 never heard"
        if said.startswith("2"):
            self.ids += [each.decode() for each in MESSAGE_ID.findall(envelope.content)]
        if said.startswith("2") and self.keep:
            self.envelopes.append(envelope)
            message = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(message, EmailMessage)
            self.got.append(message)
        return said


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def started(monkeypatch: pytest.MonkeyPatch, *, scheme: str = "smtp", **options: Any) -> Iterator[Server]:
    """Start a server, point the settings at it, stop it in the end."""
    made, port = Server(), free_port()
    controller = Controller(made, hostname="127.0.0.1", port=port, **options)
    controller.start()
    monkeypatch.setenv("RESOCODE_SMTP_URL", f"{scheme}://{'localhost' if options else '127.0.0.1'}:{port}")
    monkeypatch.setenv("RESOCODE_MAIL_FROM", FROM)
    monkeypatch.setenv("RESOCODE_MAIL_CATCHER", "1")  # the people of tests live under reserved names
    yield made
    controller.stop()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that takes everything, until it is told otherwise."""
    yield from started(monkeypatch, enable_SMTPUTF8=False)


class Script(threading.Thread):
    """A server that follows a script: for each command it reads, the next answer; None hangs up. ``read`` keeps the commands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: str | None) -> None:
        super().__init__(daemon=True)
        self.answers, self.read = list(answers), list[str]()
        self.socket = socket.create_server(("127.0.0.1", 0))
        monkeypatch.setenv("RESOCODE_SMTP_URL", f"smtp://127.0.0.1:{self.socket.getsockname()[1]}")
        monkeypatch.setenv("RESOCODE_MAIL_FROM", FROM)
        monkeypatch.setenv("RESOCODE_MAIL_CATCHER", "1")
        self.start()

    def run(self) -> None:
        """Talk to one client."""
        talker, _ = self.socket.accept()
        with talker, talker.makefile("rwb") as line:
            for answer in self.answers:
                if answer is None:
                    break
                line.write(answer.encode() + b"\r\n")
                line.flush()
                if answer.startswith("354"):
                    while line.readline().strip() != b".":
                        pass
                    continue
                said = line.readline().decode()
                self.read.append(said.strip())
        self.socket.close()
