"""One-time codes: right ones count once, near ones count, and the secrets are of no use to whoever copies the rows."""

import uuid
from datetime import timedelta

import pyotp
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core import db, keys, privacy_actions
from core.errors import NotFresh, Refused
from core.privacy import codes
from tests.admins import act, call, inside, row
from tests.cast import CODE_SECRET, NOW, PASSWORD, code_of, email_of, id_of
from ui.clock import now

SECRET = CODE_SECRET


def enter(code: str | None, at=NOW) -> privacy_actions.SignedIn | None:
    with db.transaction() as session:
        return privacy_actions.sign_in(session, email=email_of("omar"), password=PASSWORD, code=code, now=at)


def made_at(seconds: float) -> str:
    return pyotp.TOTP(SECRET).at(NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(("seconds", "fits"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_a_code_counts_one_step_before_and_after(seconds: int, fits: bool) -> None:
    assert (codes.step_of(SECRET, made_at(seconds), now=NOW) is not None) is fits
    spaced = f" {made_at(seconds)[:3]} {made_at(seconds)[3:]} "
    assert (codes.step_of(SECRET, spaced, now=NOW) is not None) is fits


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "٣٤٥٦٧٨", "\x00", "\ud800"])
def test_what_is_no_code_does_not_fit(code: str) -> None:
    assert codes.step_of(SECRET, code, now=NOW) is None


def test_a_secret_opens_with_its_key_and_for_its_owner_only(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = codes.sealed(SECRET, staff_id=id_of("omar"))
    assert SECRET.encode() not in kept
    assert codes.unsealed(kept, staff_id=id_of("omar")) == SECRET
    assert codes.unsealed(kept, staff_id=id_of("ada")) is None, "copied to another row"
    assert codes.unsealed(kept[:-1] + bytes([kept[-1] ^ 1]), staff_id=id_of("omar")) is None
    monkeypatch.setattr(keys, "keys", lambda _purpose: {})
    assert codes.unsealed(kept, staff_id=id_of("omar")) is None


def test_invitation_codes_read_alike_however_they_are_typed() -> None:
    made = codes.new_invitation_code()
    assert len(made) == 29 and set(made) - {"-"} <= set(codes.ALPHABET)
    assert codes.invitation_digest(made) == codes.invitation_digest(f" {made.lower().replace('-', ' ')}\n")
    assert codes.invitation_digest("0O1Il-x") == codes.invitation_digest("00111X")
    assert len({codes.new_invitation_code() for _ in range(100)}) == 100


@pytest.mark.usefixtures("house")
def test_a_password_without_its_code_is_not_enough() -> None:
    assert enter(None) is None and enter("") is None and enter("000000") is None
    assert enter(code_of("ada", NOW)) is not None, "the same secret in the cast"
    with db.transaction("worker") as session:
        actions = session.scalars(text("select action from privacy.audit_event order by seq")).all()
    assert actions == ["sign-in failed"] * 3 + ["signed in"]


@pytest.mark.usefixtures("house")
def test_no_code_counts_twice_nor_after_a_later_one() -> None:
    assert enter(made_at(0)) is not None
    assert enter(made_at(0)) is None
    assert enter(made_at(30)) is not None, "the next one, a little early"
    assert enter(made_at(0), NOW + timedelta(seconds=20)) is None, "an earlier one after a later one"


@pytest.mark.usefixtures("house")
def test_the_same_code_at_the_same_moment_lets_one_in() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        entered = list(pool.map(lambda _: enter(made_at(0)), range(4)))
    assert sum(found is not None for found in entered) == 1


@pytest.mark.usefixtures("house")
def test_the_sixth_wrong_code_blocks_the_right_one() -> None:
    for _ in range(5):
        assert enter("000000") is None
    assert enter(made_at(0)) is None
    assert enter(made_at(31), NOW + timedelta(seconds=31)) is not None


@pytest.mark.usefixtures("house")
def test_a_confirmation_needs_the_code_too() -> None:
    omar = inside("omar")[1]
    assert act(privacy_actions.confirm_identity, omar, password=PASSWORD, code=None) is None
    later = now() + timedelta(seconds=60)
    code = pyotp.TOTP(SECRET).at(later)
    assert act(privacy_actions.confirm_identity, omar, at=later, password=PASSWORD, code=code) is not None


@pytest.mark.usefixtures("house")
def test_codes_are_set_up_by_their_owner_with_a_fresh_proof_and_end_other_sessions() -> None:
    other, _ = inside("paula")
    paula, secret = inside("paula")[1], privacy_actions.new_secret()
    good = pyotp.TOTP(secret)
    late = now() + timedelta(minutes=6)
    with pytest.raises(NotFresh):
        act(privacy_actions.set_up_codes, paula, at=late, secret=secret, code=good.at(late))
    assert act(privacy_actions.set_up_codes, paula, secret=secret, code="000000") is False
    assert row("select totp_secret from staff.staff_member where name = 'Paula'").totp_secret is None
    moment = now()
    assert act(privacy_actions.set_up_codes, paula, at=moment, secret=secret, code=good.at(moment)) is True
    kept = row("select totp_secret from staff.staff_member where name = 'Paula'").totp_secret
    assert codes.unsealed(kept, staff_id=paula.id) == secret
    with db.transaction() as session:
        assert privacy_actions.live_session(session, secret=other.token, now=now()) is None
        again = privacy_actions.sign_in(
            session, email=email_of("paula"), password=PASSWORD, code=good.at(moment), now=moment
        )
    assert again is None, "the code that turned them on is used"
    ended = row("select ended_at from staff.session where id = :id", id=paula.session_id)
    assert ended.ended_at is None, "this one goes on"


@pytest.mark.usefixtures("house")
def test_wrong_first_codes_are_throttled() -> None:
    paula, secret = inside("paula")[1], privacy_actions.new_secret()
    moment = now()
    for _ in range(5):
        assert act(privacy_actions.set_up_codes, paula, at=moment, secret=secret, code="000000") is False
    with pytest.raises(Refused, match="too many wrong codes"):
        act(privacy_actions.set_up_codes, paula, at=moment, secret=secret, code=pyotp.TOTP(secret).at(moment))


@pytest.mark.usefixtures("house")
def test_codes_are_turned_off_where_the_role_needs_none() -> None:
    with pytest.raises(Refused, match="obligatory"):
        act(privacy_actions.remove_codes, "omar")
    paula, secret, moment = inside("paula")[1], privacy_actions.new_secret(), now()
    act(privacy_actions.set_up_codes, paula, at=moment, secret=secret, code=pyotp.TOTP(secret).at(moment))
    act(privacy_actions.remove_codes, paula, at=moment)
    with db.transaction() as session:
        assert privacy_actions.sign_in(session, email=email_of("paula"), password=PASSWORD, now=now())
    assert row("select totp_secret from staff.staff_member where name = 'Omar'").totp_secret


@pytest.mark.usefixtures("house")
@pytest.mark.parametrize("name", ["omar", "ada"])
def test_without_obligatory_codes_nothing_opens_in_the_database(name: str) -> None:
    staff = inside(name)[1]
    seen = "select count(*) from staff.staff_member"
    assert call(seen, staff) > 0 and not staff.must_set_up_codes
    with db.transaction("worker") as session:
        session.execute(
            text("update staff.staff_member set totp_secret = null, totp_since = null where id = :id"), {"id": staff.id}
        )
    assert call(seen, staff) == 0
    assert call("select staff.my_role()", staff) is None
    with pytest.raises(DBAPIError, match="does not open"):
        call("select staff.start_review(:id, '2100-01-01', now())", staff, id=uuid.uuid4())
    with db.transaction("worker") as session:
        session.execute(text("update staff.staff_member set demo = true where id = :id"), {"id": staff.id})
    assert call(seen, staff) > 0, "demo accounts are exempt"


@pytest.mark.usefixtures("house")
def test_a_password_is_changed_by_its_owner_and_ends_every_session() -> None:
    other, _ = inside("paula")
    made, paula = inside("paula")
    bystander, _ = inside("ines")
    with pytest.raises(NotFresh):
        act(
            privacy_actions.change_password, paula, at=now() + timedelta(minutes=6), password="juniper-lagoon-meadow-77"
        )
    act(privacy_actions.change_password, paula, password="juniper-lagoon-meadow-77")
    with db.transaction() as session:
        assert [privacy_actions.live_session(session, secret=s.token, now=now()) is not None for s in (other, made, bystander)] == [
            False, False, True,
        ]  # fmt: skip
        assert privacy_actions.sign_in(session, email=email_of("paula"), password=PASSWORD, now=now()) is None
        assert privacy_actions.sign_in(session, email=email_of("paula"), password="juniper-lagoon-meadow-77", now=now())
