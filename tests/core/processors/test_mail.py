"""SMTP on the wire: one recipient, the declared headers, encryption, and what each answer of a server means."""

import os
import smtplib
import ssl
import uuid
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes, policy
from email.utils import getaddresses
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from core import db
from core.errors import SettingsError
from core.processors import mail, registry
from core.processors.manual import Manual
from core.processors.protocol import Became, Change, Order, Person, Processor
from core.settings import settings
from tests.cast import NOW, id_of
from tests.hostile import NAMES
from tests.mail_server import FROM, Script, Server, server, started

__all__ = ["server"]

MANY_AT_ONCE = "250-hi\r\n250 PIPELINING"
LETTER = mail.Letter(uuid.UUID(int=7), "asha@students.example", "Hello", "Dear Asha,\n.\n..\nbye", NOW)


def to(address: str, **more: str) -> mail.Letter:
    """A letter to an address."""
    return mail.Letter(uuid.uuid4(), address, more.get("subject", "Hello"), more.get("body", "Text"), NOW)


def test_what_leaves_is_what_is_declared(server: Server) -> None:
    with mail.Line() as line:
        assert line.send(LETTER) == mail.Delivery("taken", "250")
    [envelope], [message] = server.envelopes, server.got
    assert (envelope.mail_from, envelope.rcpt_tos) == (FROM, ["asha@students.example"])
    assert set(message.keys()) == set(mail.HEADERS), "a header that is not declared leaves for nobody"
    assert message["Date"].datetime == NOW
    assert message["Message-ID"] == f"<{LETTER.id}@resocode.example>"
    assert message.get_content().replace("\r\n", "\n").strip() == LETTER.body
    parts = {"mail address used": LETTER.address, "subject": LETTER.subject, "letter": LETTER.body}
    assert tuple(parts) == mail.PAYLOAD, "each declared field has a test that it is all there is"


def test_what_is_said_around_a_letter_is_declared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The envelope to a server that offers delivery notices: sender, one recipient, the letter's own id, and nothing else."""
    script = Script(monkeypatch, "220 hi", "250-hi\r\n250 DSN", "250 ok", "250 ok", "354 go", "250 taken", "221 bye")
    with mail.Line() as line:
        assert line.send(LETTER).outcome == "taken"
    script.join(5)
    said = [each for each in script.read if each and not each.lower().startswith(("ehlo", "quit"))]
    assert said == [
        f"MAIL FROM:<{FROM}> ENVID={LETTER.id} RET=HDRS",
        f"RCPT TO:<{LETTER.address}> NOTIFY=FAILURE",
        "DATA",
    ]


def test_many_letters_go_over_one_connection(server: Server) -> None:
    server.answers = {"gone@students.example": "550 5.1.1 no", "busy@students.example": "451 4.7.1 later"}
    with mail.Line() as line:
        told = [line.send(to(f"{name}@students.example")).outcome for name in ("a", "gone", "b", "busy", "c")]
    assert told == ["taken", "refused", "taken", "later", "taken"]
    assert server.connections == 1


def test_a_server_that_ends_a_connection_after_some_letters_gets_another_one(server: Server) -> None:
    server.most = 2
    with mail.Line() as line:
        assert [line.send(to(f"{name}@students.example")).outcome for name in "abcde"] == ["taken"] * 5
    assert server.connections == 3 and len(set(server.ids)) == 5
    server.most = 0
    with mail.Line() as line:
        told = line.send(to("f@students.example"))
    assert told == mail.Delivery("later", "421", server=True), "a fresh one that is refused is the server's trouble"
    assert server.connections == 4


def test_where_a_server_offers_it_everything_before_the_text_is_said_at_once(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.pipelining, said = True, list[bytes | str]()
    server.answers = {"gone@students.example": "550 5.1.1 no"}
    real = smtplib.SMTP.send
    monkeypatch.setattr(smtplib.SMTP, "send", lambda self, given: said.append(given) or real(self, given))  # type: ignore[func-returns-value]
    with mail.Line() as line:
        told = [line.send(to(f"{name}@students.example")).outcome for name in ("a", "gone", "b")]
    assert told == ["taken", "refused", "taken"] and server.connections == 1
    assert server.envelopes[1].rcpt_tos == ["b@students.example"]
    at_once = [each for each in said if isinstance(each, str) and each.startswith("MAIL")]
    assert [each.count("\r\n") for each in at_once] == [3, 3, 3] and at_once[0].endswith("DATA\r\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_text_and_no_header(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_MAIL_FROM", FROM)
    one_line = " ".join(name.split())
    data = mail.written(to("a@b.example", subject=one_line, body=f"Dear {name},"), "a@b.example")
    message = message_from_bytes(data, policy=policy.default)
    assert set(message.keys()) == set(mail.HEADERS)
    assert [address for _, address in getaddresses([str(message["To"])])] == ["a@b.example"]
    assert data.isascii()
    for address in (name, f"{name}@students.example", f"asha@{name}"):
        wire = mail.envelope(address)
        assert wire is None or not set(wire) & set('\r\n <>,;"\t'), wire


@given(st.text(max_size=60))
def test_an_address_is_one_address_or_none(typed: str) -> None:
    for address in (typed, f"{typed}@example.org", f"a@{typed}"):
        wire = mail.envelope(address)
        if wire is not None:
            local, _, domain = wire.rpartition("@")
            assert domain.isascii() and len(wire.split()) == 1
            assert not set(wire) & set('\r\n\t\0 <>,;:"()[]\\') and local.count("@") == 0


@given(st.text(max_size=40), st.text(max_size=200))
@example("Hello\n", "")
@example("Hello\r\n", "Bcc: x@y.example")
@example("\r", "")
def test_no_subject_and_no_text_makes_a_header(subject: str, body: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESOCODE_MAIL_FROM", FROM)
        try:
            data = mail.written(to("a@b.example", subject=subject, body=body), "a@b.example")
        except ValueError:
            return
    message = message_from_bytes(data, policy=policy.default)
    assert set(message.keys()) == set(mail.HEADERS)


def test_a_subject_with_a_line_break_is_refused_before_anything_leaves(server: Server) -> None:
    with mail.Line() as line:
        for subject in ("Hi\r\nBcc: x@y.example", "Hi\n", "Hi\r\n", "\r", "Hi\x0b", "Hi\u2028", "Hi\0"):
            assert line.send(to("a@b.example", subject=subject)) == mail.Delivery("refused", "cannot be written")
        assert line.send(to("a@b.example, c@d.example")) == mail.Delivery("refused", "not an address")
        assert line.send(to("a@b.example>\r\nRCPT TO:<c@d.example")) == mail.Delivery("refused", "not an address")
    assert server.envelopes == [] and server.connections == 0


def test_to_addresses_that_are_nobodys_nothing_leaves(server: Server) -> None:
    """Synthetic people live under a name that the domain name system keeps free; a relay would bounce for each of them."""
    with mail.Line() as line:
        for address in ("canary@store.invalid", "Canary@STORE.INVALID", "a@invalid"):
            assert line.send(to(address)) == mail.Delivery("nobody", "address reserved")
        assert server.connections == 0
        assert line.send(to("a@invalid.example")).outcome == "taken"


def test_a_reserved_name_gets_nothing_unless_the_server_is_a_catcher(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names kept for examples and tests (RFC 2606, RFC 6761), and whatever is below them; names that only look like them are somebody's."""
    reserved = ("a@example.org", "a@EXAMPLE.com", "a@mail.example.net", "a@demo.example", "a@x.y.test", "a@localhost", "a@b.localhost",
                "a@例え.example", "a@test", "a@store.invalid")  # fmt: skip
    monkeypatch.delenv("RESOCODE_MAIL_CATCHER")
    with mail.Line() as line:
        for address in reserved:
            assert line.send(to(address)) == mail.Delivery("nobody", "address reserved"), address
        assert (server.envelopes, server.connections) == ([], 0)
        for address in (
            "a@example.de",
            "a@myexample.org",
            "a@test.de",
            "a@contest",
            "a@example.org.uk",
            "a@resocode.io",
        ):
            assert line.send(to(address)).outcome == "taken", address
    monkeypatch.setenv("RESOCODE_MAIL_CATCHER", "1")
    with mail.Line() as line:
        assert [line.send(to(address)).outcome for address in reserved] == ["taken"] * 9 + ["nobody"]


def test_a_catcher_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_MAIL_CATCHER", "1")
    for near in ("smtp://localhost:1025", "smtp://127.0.0.1", "smtp://[::1]:25"):
        monkeypatch.setenv("RESOCODE_SMTP_URL", near)
        assert mail.configured()
    monkeypatch.setenv("RESOCODE_SMTP_URL", "smtps://user:secret@mail.resocode.io")
    with pytest.raises(SettingsError, match="CATCHER is for a mail server on this machine") as error:
        mail.configured()
    assert "secret" not in str(error.value)


def test_an_international_address_needs_a_server_that_takes_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with mail.Line() as line:
        assert line.send(to("zoë@example.org")) == mail.Delivery("refused", "needs SMTPUTF8")
        assert line.send(to("zoe@straße.example")).outcome == "taken"
    assert server.envelopes[0].rcpt_tos == ["zoe@strasse.example"]
    for other in started(monkeypatch, enable_SMTPUTF8=True):
        monkeypatch.setenv("RESOCODE_SMTP_URL", f"smtp://127.0.0.1:{other_port()}")
        with mail.Line() as line:
            assert line.send(to("zoë@例え.example", subject="Größe")).outcome == "taken"
        assert other.envelopes[0].rcpt_tos == ["zoë@xn--r8jz45g.example"]
        assert other.envelopes[0].smtp_utf8


def other_port() -> int:
    """The port that the settings name."""
    from urllib.parse import urlsplit

    return urlsplit(settings().smtp_url or "").port or 0


@pytest.mark.parametrize(
    ("answers", "delivery"),
    [
        (("554 no service",), ("later", "554", True)),
        (("220 hi", "250 ok", "421 closing"), ("later", "421", True)),
        (("220 hi", "250 ok", "550 5.7.1 sender"), ("later", "550", True)),
        (("220 hi", "250 ok", "250 ok", "450 4.2.0 greylisted", "250 reset", "221"), ("later", "450", False)),
        (("220 hi", "250 ok", "250 ok", "421 too many", "221"), ("later", "421", True)),
        (("220 hi", "250 ok", "250 ok", "553 5.1.3 address", "250 reset", "221"), ("refused", "553", False)),
        (("220 hi", "250 ok", "250 ok", "250 ok", "451 4.3.0", "250 reset", "221"), ("later", "451", False)),
        (("220 hi", "250 ok", "250 ok", "250 ok", "354 go", "552 5.2.2 full", "250 reset", "221"), ("refused", "552", False)),
        (("220 hi", "250 ok", "250 ok", "250 ok", None), ("later", "no connection", True)),
        (("220 hi", "250 ok", "250 ok", "250 ok", "354 go", None), ("unclear", "no answer", True)),
        (("220 hi", "250 ok", "250 ok", "250 ok", "354 go", "what?", "221"), ("unclear", "no answer", True)),
        (("220 hi", "250 ok", "250 ok", "25", "221"), ("later", "no connection", True)),
        (("220 hi", "250 ok", "250 ok", "250 ok", "354 go", "250 queued", None), ("taken", "250", False)),
        (("220 hi", MANY_AT_ONCE, "550 sender", "503 what", "503 what", "221"), ("later", "550", True)),
        (("220 hi", MANY_AT_ONCE, "250 ok", "550 5.1.1 no", "503 nobody", "250 reset", "221"), ("refused", "550", False)),
        (("220 hi", MANY_AT_ONCE, "250 ok", "550 5.1.1 no", "354 go", "554 nobody", "250 reset", "221"), ("refused", "550", False)),
        (("220 hi", MANY_AT_ONCE, "250 ok", "250 ok", "451 busy", "250 reset", "221"), ("later", "451", False)),
        (("220 hi", MANY_AT_ONCE, "250 ok", None), ("later", "no connection", True)),
        (("220 hi", MANY_AT_ONCE, "250 ok", "250 ok", "354 go", None), ("unclear", "no answer", True)),
        (("220 hi", MANY_AT_ONCE, "250 ok", "250 ok", "354 go", "250 queued", None), ("taken", "250", False)),
    ],
)  # fmt: skip
def test_every_answer_has_its_meaning(
    answers: tuple[str | None, ...], delivery: tuple[str, str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(monkeypatch, *answers)
    with mail.Line() as line:
        assert line.send(LETTER) == mail.Delivery(*delivery)
    script.join(5)


def test_a_server_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail, "SECONDS", 0.2)
    Script(monkeypatch, "220 hi", "250 ok", "250 ok", "250 ok", "354 go")
    with mail.Line() as line:
        assert line.send(LETTER).outcome == "unclear"
    monkeypatch.setenv("RESOCODE_SMTP_URL", "smtp://127.0.0.1:1")
    with mail.Line() as line:
        assert line.send(LETTER) == mail.Delivery("later", "no connection", server=True)


def test_a_sender_that_is_no_address_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("", "Resocode", "a@b.example, c@d.example"):
        monkeypatch.setenv("RESOCODE_MAIL_FROM", wrong)
        with pytest.raises(SettingsError, match="RESOCODE_MAIL_FROM"):
            mail.sender()
    monkeypatch.setenv("RESOCODE_MAIL_FROM", "Resocode <privacy@b.example>")
    assert str(mail.sender()) == "Resocode <privacy@b.example>"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, with its key, that nobody signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    made = x509.CertificateBuilder(
        name, name, key.public_key(), 7, NOW - timedelta(days=900), NOW + timedelta(days=9000)
    )
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_bytes(
        made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, *plain)
    )
    return file


def context(certificate: Path) -> ssl.SSLContext:
    """The server's side."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate)
    return made


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Treat this machine as any other: nothing goes to it in the clear."""
    monkeypatch.setattr(mail, "LOCAL", ())
    yield


@pytest.mark.usefixtures("far_away")
def test_starttls_is_demanded_and_the_certificate_checked(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for far in started(monkeypatch, tls_context=context(certificate), require_starttls=True):
        with mail.Line() as line:
            assert line.send(LETTER) == mail.Delivery("later", "no connection", server=True), "nobody vouches for it"
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with mail.Line() as line:
            assert line.send(LETTER).outcome == "taken"
        assert len(far.got) == 1


@pytest.mark.usefixtures("far_away")
def test_a_server_without_encryption_gets_nothing(server: Server) -> None:
    with mail.Line() as line:
        assert line.send(LETTER) == mail.Delivery("later", "no encryption", server=True)
    assert server.envelopes == []


def test_implicit_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for near in started(monkeypatch, scheme="smtps", ssl_context=context(certificate)):
        with mail.Line() as line:
            assert line.send(LETTER).outcome == "taken"
        assert len(near.got) == 1


def test_a_password_that_is_refused_closes_the_line_and_stands_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(monkeypatch, "220 hi", "250-hi\r\n250 AUTH PLAIN", "535 5.7.8 no", "221")
    address = f"smtp://user:s3cret@127.0.0.1:{other_port()}"
    monkeypatch.setenv("RESOCODE_SMTP_URL", address)
    with mail.Line() as line:
        assert line.send(LETTER) == mail.Delivery("later", "535", server=True)
    script.join(5)


def test_the_address_of_the_server_may_stand_in_a_file_that_nobody_else_reads(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, there = tmp_path / "smtp", os.environ["RESOCODE_SMTP_URL"]
    monkeypatch.delenv("RESOCODE_SMTP_URL")
    assert not mail.configured()
    monkeypatch.setenv("RESOCODE_SMTP_URL_FILE", str(file))
    file.write_text("smtp://user:s3cret@127.0.0.1:1\n")
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600") as refused:
        settings()
    file.chmod(0o600)
    assert mail.configured() and "s3cret" not in repr(settings()) + str(refused.value)
    file.write_text(f"{there}\n")  # a new password in the file counts from the next connection on
    with mail.Line() as line:
        assert line.send(LETTER).outcome == "taken"
    file.write_text("s3cret without a scheme")
    with pytest.raises(SettingsError, match="RESOCODE_SMTP_URL") as refused:
        settings()
    assert "s3cret" not in str(refused.value) + refused.value.sentence


@pytest.mark.usefixtures("house")
def test_the_mail_provider_is_a_processor_whose_own_log_a_person_sees_to(server: Server) -> None:
    found = registry.configured("SMTP")
    assert isinstance(found, Processor) and found.payload == mail.PAYLOAD and not found.remote
    with db.transaction("worker") as session:
        person = Person("student", id_of("asha"), id_of("asha request"))
        preview = found.preview(session, person, now=NOW)
        assert [(line.what, line.rows) for line in preview.lines] == [("letters handed over, by our log", 1)]
        assert not preview.complete, "what the provider kept is not known here"
        order = Order(person, "erasure 1")
        assert found.erase(session, order, now=NOW).became is Became.WAITING
        assert found.verify(session, order, now=NOW).absent is None, "nothing is proven before two people said so"
        assert found.propagate(session, person, Change("marketing off"), now=NOW).became is Became.WAITING
    assert server.envelopes == []


def test_without_a_mail_server_everything_there_is_by_hand() -> None:
    assert type(registry.configured("SMTP")) is Manual
