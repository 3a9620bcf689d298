"""Sign-in, sessions and throttling. Time is an argument throughout."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from core import db, privacy_actions
from core.errors import NotFresh, Refused
from core.privacy_actions import SignedIn
from tests.cast import NOW, PASSWORD, code_of, email_of, id_of

pytestmark = pytest.mark.usefixtures("house")


def enter(name: str = "paula", *, password: str = PASSWORD, now=NOW, email: str | None = None) -> SignedIn | None:
    with db.transaction() as session:
        return privacy_actions.sign_in(
            session, email=email or email_of(name), password=password, code=code_of(name, now), now=now
        )


def alive(secret: str, now=NOW) -> bool:
    with db.transaction() as session:
        return privacy_actions.live_session(session, secret=secret, now=now) is not None


def actions() -> list[str]:
    with db.transaction("worker") as session:
        return list(session.scalars(text("select action from privacy.audit_event order by seq")))


def test_the_right_password_opens_a_session() -> None:
    made = enter(email="  PAULA@staff.example ")
    assert made is not None
    with db.transaction() as session:
        staff = privacy_actions.live_session(session, secret=made.token, now=NOW)
    assert staff is not None
    assert (staff.id, staff.role, staff.cookie_hash) == (id_of("paula"), "program_staff", None)
    assert actions() == ["signed in"]


@pytest.mark.parametrize(
    ("email", "password"),
    [
        (email_of("paula"), "wrong"),
        (email_of("paula"), PASSWORD + " "),
        (email_of("paula"), ""),
        ("nobody@staff.example", PASSWORD),
        (email_of("dora"), PASSWORD),
        ("", ""),
        ("pau\x00la@staff.example", "a\x00b"),
        ("\ud800@staff.example", "\ud800"),
        ("x" * 5000, "y" * 5000),
    ],
)
def test_every_failure_has_one_answer_and_is_recorded(email: str, password: str) -> None:
    assert enter(email=email, password=password) is None
    assert actions() == ["sign-in failed"]


def test_an_unknown_name_takes_a_real_bcrypt_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import bcrypt

    checked: list[bytes] = []
    real = bcrypt.checkpw
    monkeypatch.setattr(bcrypt, "checkpw", lambda given, stored: checked.append(stored) or real(given, stored))
    enter(email="nobody@staff.example")
    enter(password="wrong")
    assert [stored[:7] for stored in checked] == [b"$2b$12$", b"$2b$12$"]


def test_five_failures_make_even_the_right_password_wait() -> None:
    for _ in range(5):
        assert enter(password="wrong") is None
    assert enter() is None, "locked"
    assert enter(now=NOW + timedelta(seconds=29)) is None
    assert enter(now=NOW + timedelta(seconds=31)) is not None
    assert enter(password="wrong") is None
    assert enter() is not None, "a success forgets the failures"


def test_the_wait_doubles_up_to_a_quarter_of_an_hour() -> None:
    moment, waits = NOW, []
    for attempt in range(12):
        with db.transaction() as session:
            row = session.execute(text("select * from staff.begin_attempt('x', :now)"), {"now": moment}).one()
        assert row.allowed
        waits.append((row.locked_until - moment).total_seconds() if row.locked_until else 0)
        moment = max(moment, row.locked_until or moment) + timedelta(seconds=attempt)
    assert waits == [0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900, 900]


def test_others_can_sign_in_while_one_name_waits() -> None:
    for _ in range(5):
        enter(password="wrong")
    assert enter("ada") is not None


def test_unknown_names_are_throttled_alike() -> None:
    for _ in range(5):
        enter(email="nobody@staff.example")
    enter(email="nobody@staff.example")
    with db.transaction("worker") as session:
        reasons = session.scalars(text("select details from privacy.audit_event order by seq")).all()
    assert reasons == ['{"reason":"wrong"}'] * 5 + ['{"reason":"throttled"}']


def test_parallel_guesses_do_not_outrun_the_counter() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def attempt(_: int) -> bool:
        with db.transaction() as session:
            return bool(
                session.execute(text("select allowed from staff.begin_attempt('y', :now)"), {"now": NOW}).scalar_one()
            )

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(attempt, range(200))) == 5


def test_idle_and_absolute_limits() -> None:
    made = enter()
    assert made
    assert alive(made.token, NOW + timedelta(minutes=14, seconds=59))
    assert alive(made.token, NOW + timedelta(minutes=29)), "seen a quarter of an hour ago, not more"
    assert not alive(made.token, NOW + timedelta(minutes=44, seconds=1))
    assert not alive(made.token, NOW + timedelta(minutes=30)), "over is over"
    busy = enter()
    assert busy
    for quarter in range(1, 34):
        if NOW + timedelta(minutes=14 * quarter) < NOW + timedelta(hours=8):
            assert alive(busy.token, NOW + timedelta(minutes=14 * quarter))
    assert not alive(busy.token, NOW + timedelta(hours=8))


def test_the_ticket_becomes_a_cookie_once_within_a_minute() -> None:
    made, late = enter(), enter()
    assert made and late
    with db.transaction() as session:
        cookie = privacy_actions.redeem_ticket(session, ticket=made.ticket, now=NOW + timedelta(seconds=59))
        assert cookie and cookie not in (made.ticket, made.token)
        assert privacy_actions.redeem_ticket(session, ticket=made.ticket, now=NOW) is None, "once"
        assert privacy_actions.redeem_ticket(session, ticket=late.ticket, now=NOW + timedelta(seconds=60)) is None, (
            "late"
        )
        assert privacy_actions.redeem_ticket(session, ticket="made up", now=NOW) is None
    assert alive(cookie)


def test_the_database_holds_no_secret_of_a_session() -> None:
    made = enter()
    assert made
    with db.transaction("worker") as session:
        dump = str(session.execute(text("select * from staff.session")).all())
    assert made.token not in dump and made.ticket not in dump


def test_signing_out_ends_token_and_cookie() -> None:
    made = enter()
    assert made
    with db.transaction() as session:
        cookie = privacy_actions.redeem_ticket(session, ticket=made.ticket, now=NOW)
        staff = privacy_actions.live_session(session, secret=made.token, now=NOW)
    assert cookie and staff
    with db.transaction() as session:
        privacy_actions.sign_out(session, by=staff, now=NOW)
    assert not alive(made.token) and not alive(cookie)
    assert actions() == ["signed in", "signed out"]


def test_nobody_ends_the_session_of_somebody_else() -> None:
    made = enter()
    assert made
    with db.transaction() as session:
        staff = privacy_actions.live_session(session, secret=made.token, now=NOW)
    assert staff
    with db.transaction(staff_id=id_of("ines")) as session:
        ended = session.scalar(text("select staff.end_session(:id, :now, 'x')"), {"id": staff.session_id, "now": NOW})
    assert ended is False
    assert alive(made.token)


@pytest.mark.parametrize("change", ["disable", "role"])
def test_disabling_and_a_change_of_role_end_every_session(change: str) -> None:
    made, bystander = enter("ines"), enter("marek")
    assert made and bystander
    with db.transaction("worker") as session:
        if change == "disable":
            privacy_actions.disable_staff(session, email=email_of("ines"), now=NOW)
        else:
            privacy_actions.change_role(session, email=email_of("ines"), role="auditor", now=NOW)
    assert not alive(made.token)
    assert alive(bystander.token)


def known(secret: str, now: datetime = NOW) -> privacy_actions.Staff:
    with db.transaction() as session:
        staff = privacy_actions.live_session(session, secret=secret, now=now)
    assert staff
    return staff


def confirm(
    staff: privacy_actions.Staff, password: str = PASSWORD, now: datetime = NOW
) -> privacy_actions.SignedIn | None:
    with db.transaction() as session:
        return privacy_actions.confirm_identity(session, password=password, code=None, by=staff, now=now)


def test_the_proof_of_identity_is_fresh_for_five_minutes() -> None:
    made = enter()
    assert made
    staff = known(made.token)
    assert staff.confirmed_at == staff.started_at == NOW
    privacy_actions.demand_fresh(staff, NOW + timedelta(minutes=4, seconds=59))
    with pytest.raises(NotFresh, match="5 minutes"):
        privacy_actions.demand_fresh(staff, NOW + timedelta(minutes=5, seconds=1))
    assert issubclass(NotFresh, Refused)


def test_a_confirmation_renews_the_proof_and_every_secret() -> None:
    made = enter()
    assert made
    later = NOW + timedelta(minutes=10)
    with db.transaction() as session:
        cookie = privacy_actions.redeem_ticket(session, ticket=made.ticket, now=NOW)
    assert cookie
    staff = known(made.token, later)
    renewed = confirm(staff, now=later)
    assert renewed
    assert known(renewed.token, later).confirmed_at == later
    assert known(renewed.token, later).session_id == staff.session_id
    assert known(renewed.token, later).started_at == NOW and known(renewed.token, later).expires_at == staff.expires_at
    assert not alive(made.token, later) and not alive(cookie, later), "a copy of the old secrets is worth nothing"
    with db.transaction() as session:
        assert privacy_actions.redeem_ticket(session, ticket=made.ticket, now=later) is None
        cookie = privacy_actions.redeem_ticket(session, ticket=renewed.ticket, now=later)
    assert cookie and alive(cookie, later)
    assert actions() == ["signed in", "identity confirmed"]


def test_a_wrong_confirmation_counts_like_a_wrong_sign_in() -> None:
    made = enter()
    assert made
    staff = known(made.token)
    for _ in range(5):
        assert confirm(staff, password="wrong") is None
    assert confirm(staff) is None, "the sixth is not even looked at"
    assert enter() is None
    assert known(made.token).confirmed_at == NOW, "nothing was confirmed"
    assert actions()[1:] == ["confirmation failed"] * 6 + ["sign-in failed"]
    assert confirm(staff, now=NOW + timedelta(seconds=31)) is not None


def test_a_session_that_ended_is_not_confirmed() -> None:
    made = enter()
    assert made
    staff = known(made.token)
    with db.transaction() as session:
        privacy_actions.sign_out(session, by=staff, now=NOW)
    assert confirm(staff) is None
    assert not alive(made.token)
