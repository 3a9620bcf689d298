"""Consent on the real database: from a declared age to verified by two people, refused, withdrawn; what stays secret; and what the
database refuses when the guards in Python are off."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db, privacy_actions, queries
from core.errors import AdminError, BadInput, NotFound, NotFresh, Refused, Stale
from core.models.consent import CONSENT_STATES, WITHOUT_CONSENT, Guardian
from core.privacy import artifacts, consent, consent_letters, consent_watch
from core.privacy.age_letters import AGE_LETTERS
from core.privacy.deletion import declare_single_officer
from tests import cast
from tests.cast import NOW, email_of, id_of
from tests.core.privacy import house_of_consent as c
from tests.core.privacy import house_of_requests as requests
from tests.hostile import NAMES, UNSTORABLE

pytestmark = pytest.mark.usefixtures("house")


# What an age does


def test_a_minor_is_restricted_at_once_and_only_a_minor_has_a_birth_date() -> None:
    receipt = c.minor()
    assert (receipt.state, c.case().birth_date, c.case().adult) == ("missing", c.BORN, None)
    assert c.restricted() == ["consent missing"]
    told = c.on("declare_age", adult=True, how="told by the student")
    assert (told.state, c.case().birth_date, c.case().adult) == ("not needed", None, True)
    assert c.restricted() == []
    assert c.history() == [("age declared", "missing"), ("age declared", "not needed")]
    assert requests.lines(id_of("cleo")).count("age declared") == 2
    assert not [
        d
        for (d,) in requests.rows("select details from privacy.audit_event where action = 'age declared'")
        if "20" in d or "minor" in d
    ]


def test_a_birth_date_of_somebody_of_age_is_not_kept() -> None:
    c.on("declare_age", adult=False, birth_date=date(1990, 1, 1), how="told by the student")
    assert (c.case().birth_date, c.case().adult, c.case().state) == (None, True, "not needed")
    with pytest.raises(BadInput, match="no birth date is kept"):
        c.on("declare_age", adult=True, birth_date=date(1990, 1, 1), how="told by the student")


@pytest.mark.parametrize(("born", "sentence"), [(date(2026, 11, 25), "future"), (date(1900, 1, 1), "cannot be right")])
def test_an_impossible_birth_date_is_refused(born: date, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        c.minor(born=born)
    assert c.case().version == 1


@pytest.mark.parametrize(
    ("now", "restricted"),
    [(datetime(2027, 3, 1, 11, 59, tzinfo=UTC), ["consent missing"]), (datetime(2027, 3, 1, 12, tzinfo=UTC), [])],
)
def test_17_years_and_364_days_at_both_ends_of_the_world(now: datetime, restricted: list[str]) -> None:
    """Declared on the birthday: a minor until it has begun everywhere, of age (and without a date) from then on."""
    c.minor(now=now)
    assert c.restricted() == restricted
    assert c.case().birth_date == (c.BORN if restricted else None)


def test_a_minor_without_a_birth_date_cannot_be_verified() -> None:
    c.on("declare_age", adult=False, how="answered our letter")
    assert c.restricted() == ["consent missing"] and c.case().adult is False
    c.on("request_consent", **c.GUARDIAN)
    c.on("enter_consent", given=True, method="video call")
    with pytest.raises(BadInput, match="birth date first"):
        c.on("verify_consent", "olga")
    c.on("declare_age", adult=False, birth_date=c.BORN, how="told by the guardian")
    assert (c.case().state, c.case().adult) == ("given", None)
    assert c.on("verify_consent", "olga").state == "verified"


# From request to verified


def test_from_the_request_to_verified_by_two_people(owner: Connection) -> None:
    before = cast.snapshot(owner, "ben")
    owner.rollback()
    c.requested()
    assert c.letters() == [("consent request", "greta@guardians.example")]
    [(body,)] = requests.rows("select body from privacy.outbox where kind = 'consent request'")
    assert "Dear Greta Guardian" in body and "Cleo Example" in body and "{" not in body
    receipt = c.on("enter_consent", given=True, method="signed form", evidence=c.picture())
    assert receipt.state == "given" and c.restricted() == ["consent missing"]
    done = c.on("verify_consent", "olga")
    assert done.state == "verified" and c.restricted() == []
    assert c.letters() == [("consent opened", email_of("cleo")), ("consent request", "greta@guardians.example"),
                           ("consent verified", "greta@guardians.example")]  # fmt: skip
    assert c.history() == [("age declared", "missing"), ("consent requested", "requested"), ("consent entered", "given"),
                           ("consent verified", "verified")]  # fmt: skip
    who = c.seen()
    assert (who.entered_by, who.verified_by, who.method) == ("Omar", "Olga", "signed form")
    assert (who.history[0].what, who.history[0].by) == ("consent verified", "Olga")
    assert cast.snapshot(owner, "ben") == before


def test_evidence_is_encrypted_seen_once_through_a_link_and_destroyed_with_the_decision() -> None:
    c.given(evidence=c.picture())
    kept = c.case()
    assert kept.evidence_id is not None and kept.evidence_sha256
    olga = requests.staff("olga")
    secret = requests.act("open_evidence", olga, student_id=id_of("cleo"))
    with db.transaction(staff_id=olga.id, session_id=olga.session_id) as session:
        opened = privacy_actions.open_file(session, token=secret, now=NOW)
        assert opened is not None and opened.artifact is not None and opened.media_type == "image/png"
        assert artifacts.part(session, opened=opened.artifact, number=0).startswith(b"\x89PNG")
    with db.transaction(staff_id=olga.id, session_id=olga.session_id) as session:
        assert privacy_actions.open_file(session, token=secret, now=NOW + timedelta(minutes=2)) is None, "twice"
    other = requests.staff("oskar")
    again = requests.act("open_evidence", olga, student_id=id_of("cleo"))
    with db.transaction(staff_id=other.id, session_id=other.session_id) as session:
        assert privacy_actions.open_file(session, token=again, now=NOW) is None, "another session"
    assert "person viewed" in requests.lines(id_of("cleo"))
    c.on("verify_consent", "olga")
    assert c.case().evidence_id is None and c.case().evidence_sha256 == kept.evidence_sha256
    [(key, parts)] = requests.rows(
        "select wrapped_key, (select count(*) from privacy.artifact_part) from privacy.artifact"
    )
    assert (key, parts) == (None, 0)
    with db.transaction(staff_id=olga.id, session_id=olga.session_id) as session, pytest.raises(NotFound):
        privacy_actions.open_file(session, token=again, now=NOW)
    with pytest.raises(NotFound, match="destroyed"):
        requests.act("open_evidence", olga, student_id=id_of("cleo"))


@pytest.mark.parametrize("end", ["refuse", "withdraw", "adult"])
def test_evidence_goes_whatever_the_decision_is(end: str) -> None:
    c.given(evidence=c.picture())
    if end == "refuse":
        c.on("refuse_consent", "olga", reason="the evidence cannot be read")
    elif end == "withdraw":
        c.on("withdraw_consent", who="guardian")
    else:
        c.on("declare_age", adult=True, how="told by the student")
    assert requests.rows("select wrapped_key, destroyed_why from privacy.artifact") == [(None, "not needed any more")]


def test_evidence_that_is_no_picture_changes_nothing() -> None:
    c.requested()
    version = c.case().version
    with pytest.raises(BadInput, match="SVG"):
        c.on("enter_consent", given=True, method="signed form", evidence=b"<svg onload='alert(1)'/>")
    assert c.case().version == version
    assert requests.rows("select 1 from privacy.artifact") == []


def test_refused_by_the_second_officer_and_asked_again() -> None:
    c.given()
    with pytest.raises(BadInput, match="Choose a reason"):
        c.on("refuse_consent", "olga", reason="because")
    c.on("refuse_consent", "olga", reason="not a parent or guardian")
    assert c.case().state == "refused" and c.restricted() == ["consent missing"]
    assert ("consent refused", "greta@guardians.example") in c.letters()
    c.on("request_consent", guardian_name="Gustav Guardian", guardian_email="gustav@guardians.example")
    assert c.case().state == "requested" and ("consent request", "gustav@guardians.example") in c.letters()


def test_a_guardian_may_say_no() -> None:
    c.requested()
    with pytest.raises(BadInput, match="needs no evidence"):
        c.on("enter_consent", given=False, method="in person", evidence=c.picture())
    receipt = c.on("enter_consent", given=False, method="called back on a known number")
    assert receipt.state == "refused" and c.restricted() == ["consent missing"]
    assert c.case().guardian_id is None, "as the letter promised: the worker erases who is not needed"


@pytest.mark.parametrize("who", ["guardian", "student"])
def test_withdrawn_restricts_at_once_and_tells_both(who: str) -> None:
    c.verified()
    assert c.restricted() == []
    c.on("withdraw_consent", who=who)
    assert (c.case().state, c.case().verified_at) == ("withdrawn", None) and c.restricted() == ["consent missing"]
    assert {kind for kind, _ in c.letters()[-2:]} == {"consent withdrawn"} and len(
        {to for _, to in c.letters()[-2:]}
    ) == 2


# Who may not


def test_who_entered_it_neither_verifies_nor_refuses() -> None:
    c.given()
    for verb, more in (("verify_consent", {}), ("refuse_consent", {"reason": "entered by mistake"})):
        with pytest.raises(Refused, match="You entered this"):
            c.on(verb, "omar", **more)
    assert c.case().state == "given"


def test_a_single_officer_verifies_alone_when_the_company_declared_it(owner: Connection) -> None:
    c.given()
    owner.execute(text("update staff.staff_member set disabled_at = now() where name in ('Olga', 'Oskar')"))
    owner.commit()
    with db.transaction("worker") as session:
        declare_single_officer(session, on=True, now=NOW)
    c.on("verify_consent", "omar")
    assert c.case().state == "verified"
    assert (
        '"alone":true'
        in requests.rows("select details from privacy.audit_event where action = 'consent verified'")[0][0]
    )


@pytest.mark.parametrize("role", ["paula", "ines", "marek", "ada", "aiko"])
def test_other_roles_do_nothing_and_see_nothing(role: str) -> None:
    c.given(evidence=c.picture())
    version = c.case().version
    for verb, more in (("declare_age", {"adult": True, "how": "told by the student"}), ("request_consent", c.GUARDIAN), ("verify_consent", {}),
                       ("enter_consent", {"given": True, "method": "in person"}), ("withdraw_consent", {"who": "student"})):  # fmt: skip
        with pytest.raises(Refused):
            c.on(verb, role, **more)
    for verb, arguments in (("open_evidence", {"student_id": id_of("cleo")}), ("reveal_consent", {"student_id": id_of("cleo")}),
                            ("find_consent", {"email": email_of("cleo")})):  # fmt: skip
        with pytest.raises(Refused):
            requests.act(verb, role, **arguments)
    assert c.case().version == version and c.seen(role) is None and c.needs(role) == {}


def test_a_proof_that_is_not_fresh_is_asked_for_again() -> None:
    c.given(evidence=c.picture())
    old = requests.staff("olga", now=NOW - timedelta(minutes=5, seconds=1))
    for verb, arguments in (("verify_consent", {"version": c.case().version}), ("open_evidence", {}),
                            ("refuse_consent", {"version": c.case().version, "reason": "entered by mistake"})):  # fmt: skip
        with pytest.raises(NotFresh):
            requests.act(verb, old, student_id=id_of("cleo"), **arguments)


def test_nobody_decides_about_their_own_record(owner: Connection) -> None:
    owner.execute(text("update staff.staff_member set email = :email where name = 'Olga'"), {"email": email_of("cleo")})
    owner.commit()
    c.given()
    with pytest.raises(Refused, match="your own record"):
        c.on("verify_consent", "olga")
    with without_guard(), pytest.raises(DBAPIError, match="own record"):
        c.on("verify_consent", "olga")


def test_no_line_of_the_audit_says_of_a_student_that_somebody_has_to_consent_for_them() -> None:
    """Auditors read the audit and no consent: lines about a consent name its case, lines about a student nothing that minors have."""
    c.minor()
    c.on("request_consent", guardian_name="Greta", guardian_email="greta@guardians.example")
    c.on("correct_guardian", guardian_name="Greta G.", guardian_email="greta@guardians.example")
    c.on("enter_consent", given=True, method="signed form", evidence=c.picture())
    requests.act("open_evidence", "olga", student_id=id_of("cleo"))
    c.on("verify_consent", "olga")
    c.on("withdraw_consent", who="guardian")
    theirs = requests.rows("select action || coalesce(details::text, '') from privacy.audit_event where subject_id = :id", id=id_of("cleo"))  # fmt: skip
    assert len(theirs) >= 3, "the age, the view and the restriction are theirs"
    assert [told for (told,) in theirs if any(word in told for word in ("guardian", "evidence", "consent re", "consent v", "consent e"))] == []  # fmt: skip
    cases = requests.rows("select distinct cast(details as jsonb) ->> 'case' from privacy.audit_event where subject_kind = 'consent' and action <> 'file destroyed'")  # fmt: skip
    assert cases == [(f"C-{c.case().number}",)]


def test_a_stale_screen_and_a_second_click() -> None:
    c.given()
    version = c.case().version
    olga = requests.staff("olga")
    arguments = {"student_id": id_of("cleo"), "version": version}
    assert not requests.act("verify_consent", olga, **arguments).again
    assert requests.act("verify_consent", olga, **arguments).again
    with pytest.raises(Stale):
        requests.act("verify_consent", "oskar", **arguments)
    assert requests.lines().count("consent verified") == 1


def test_the_students_own_address_is_no_guardians() -> None:
    c.minor()
    for address in (email_of("cleo"), " CLEO@students.example "):
        with pytest.raises(BadInput, match="own address"):
            c.on("request_consent", guardian_name="Mum", guardian_email=address)
    with pytest.raises(BadInput, match="name and e-mail"):
        c.on("request_consent", guardian_name="Mum")
    with pytest.raises(BadInput, match="not an e-mail"):
        c.on("request_consent", guardian_name="Mum", guardian_email="mum")


# With the guards in Python off, the database holds


@contextmanager
def without_guard() -> Iterator[None]:
    """Every check in Python answers yes."""
    with pytest.MonkeyPatch.context() as patch:
        for check in ("_demand_move", "_demand_not_own", "demand_fresh"):
            patch.setattr(consent, check, lambda *_a, **_k: None)
        yield


def test_the_database_refuses_what_the_guard_refuses() -> None:
    c.given()
    with without_guard():
        with pytest.raises(DBAPIError, match="another officer decides"):
            c.on("verify_consent", "omar")
        with pytest.raises(DBAPIError, match="within five minutes"):
            c.on("verify_consent", requests.staff("olga", now=NOW - timedelta(minutes=6)))
    c.on("withdraw_consent", who="guardian")
    with without_guard(), pytest.raises(DBAPIError, match='from "withdrawn" to "verified"'):
        c.on("verify_consent", "olga")
    assert c.case().state == "withdrawn" and c.restricted() == ["consent missing"]


def as_app(name: str, statement: str, **values: Any) -> int:
    who = requests.staff(name)
    with db.transaction(staff_id=who.id, session_id=who.session_id) as session:
        return session.execute(text(statement), {"id": id_of("cleo"), **values}).rowcount  # type: ignore[attr-defined,no-any-return]


SETS = "version = version + 1, changed_at = now(), changed_what = 'x'"


@pytest.mark.parametrize(
    ("name", "statement", "refusal"),
    [
        ("paula", f"update privacy.consent set state = 'verified', {SETS}", None),  # sees no row
        ("ada", f"update privacy.consent set adult = true, birth_date = null, state = 'not needed', {SETS}", None),
        ("omar", f"update privacy.consent set state = 'verified', {SETS.replace('now()', ':now')} where student_id = :id", "another officer"),
        ("olga", f"update privacy.consent set state = 'lapsed', {SETS} where student_id = :id", "does not go"),
        ("olga", f"update privacy.consent set birth_date = '1990-01-01', {SETS} where student_id = :id", "by a declaration only"),
        ("olga", "update privacy.consent set state = 'withdrawn' where student_id = :id", "which version"),
        ("olga", f"update privacy.consent set entered_by = :olga, {SETS} where student_id = :id", "does not change"),
        ("olga", f"update privacy.consent set evidence_id = gen_random_uuid(), {SETS} where student_id = :id", "from who entered"),
        ("olga", f"update privacy.consent set guardian_id = null, {SETS} where student_id = :id", "stays with the guardian"),
        ("olga", "update privacy.consent set version = 9 where student_id = :id", "which version"),
        ("olga", "update privacy.consent set number = 9 where student_id = :id", "updated to DEFAULT"),
        ("olga", "delete from privacy.consent where student_id = :id", "permission denied"),
        ("olga", "delete from privacy.guardian", "permission denied"),
        ("olga", "update privacy.guardian set student_id = :ben", "permission denied"),
        ("olga", "update privacy.consent_step set what = 'x'", "permission denied"),
        ("olga", "delete from privacy.consent_step", "permission denied"),
        ("olga", "insert into privacy.consent_move values ('given', 'given', 'privacy_officer')", "permission denied"),
        ("olga", "insert into privacy.consent_round (id, kind, people, begun_at, begun_by) values (gen_random_uuid(), 'remind', 1, now(), :omar)",
         "row-level security"),
        ("olga", "insert into privacy.guardian (id, student_id, name, email, added_at, added_by) values (gen_random_uuid(), :id, 'x', 'x@y', now(), :omar)",
         "row-level security"),
        ("olga", "insert into privacy.guardian (id, student_id, name, email, added_at, added_by) values (gen_random_uuid(), :ben, 'x', 'x@y', now(), :olga)",
         "row-level security"),
    ],
)  # fmt: skip
def test_bare_sql_of_the_dashboards_role_changes_nothing(name: str, statement: str, refusal: str | None) -> None:
    c.given()
    before = requests.rows("select * from privacy.consent order by 1")
    people = {"omar": id_of("omar"), "olga": id_of("olga"), "ben": id_of("ben"), "now": NOW}
    used = {key: value for key, value in people.items() if f":{key}" in statement}
    if refusal is None:
        assert as_app(name, statement, **used) == 0
    else:
        with pytest.raises(DBAPIError, match=refusal):
            as_app(name, statement, **used)
    assert requests.rows("select * from privacy.consent order by 1") == before


def test_the_worker_cannot_verify_either_nor_rewrite_the_history() -> None:
    c.given()
    with db.transaction("worker") as session, pytest.raises(DBAPIError, match="does not go"):
        session.execute(
            text(f"update privacy.consent set state = 'verified', {SETS} where student_id = :id"), {"id": id_of("cleo")}
        )
    with db.transaction("worker") as session, pytest.raises(DBAPIError, match="permission denied"):
        session.execute(text("update privacy.consent_step set what = 'x'"))
    with db.transaction("owner") as session:  # row-level security hides everything from the owner
        assert session.execute(text(f"update privacy.consent set state = 'verified', {SETS}")).rowcount == 0  # type: ignore[attr-defined]


def test_only_officers_see_rows_and_only_of_cases() -> None:
    c.given()
    for name in cast.ROLES:
        with db.transaction(staff_id=id_of(name)) as session:
            seen = []
            for table in ("consent_step", "guardian"):
                try:
                    with session.begin_nested():
                        seen += session.scalars(text(f"select student_id from privacy.{table}")).all()
                except DBAPIError:
                    pass
            assert set(seen) == ({id_of("cleo")} if name == "omar" else set()), name


def test_words_of_states_are_known() -> None:
    with db.transaction("worker") as session:
        moves = session.execute(
            text("select from_state, to_state, requires_distinct_actor, needs_fresh from privacy.consent_move")
        ).all()
    assert {state for move in moves for state in move[:2]} == set(CONSENT_STATES)
    assert {(move.from_state, move.to_state) for move in moves if move.requires_distinct_actor and move.needs_fresh} == {
        ("given", "verified"), ("given", "refused")}  # fmt: skip
    assert set(WITHOUT_CONSENT) < set(CONSENT_STATES)


def test_finding_a_student_is_by_exact_address_and_recorded() -> None:
    assert requests.act("find_consent", "omar", email="cleo") is None
    found = requests.act("find_consent", "omar", email="CLEO@students.example")
    assert found is not None and found.name == "Cleo Example"
    assert requests.lines(id_of("cleo")) == ["person viewed"]
    with pytest.raises(AdminError):
        requests.act("find_consent", "omar", email="")


def test_two_hundred_hostile_names_as_guardian_and_in_letters() -> None:
    """Kept byte for byte (in NFC, trimmed) or refused with a sentence; in a letter they stay what they are, its subject one line."""
    c.minor()
    kept = 0
    for number, name in enumerate((*NAMES, *UNSTORABLE)):
        try:
            c.on(
                "request_consent",
                now=NOW + timedelta(minutes=number),
                guardian_name=name,
                guardian_email=f"g{number}@guardians.example",
            )
        except BadInput as error:
            assert error.sentence
            continue
        kept += 1
        [(written, subject, body)] = requests.rows(
            "select g.name, o.subject, o.body from privacy.guardian g join privacy.outbox o on o.address = g.email where g.email = :e",
            e=f"g{number}@guardians.example")  # fmt: skip
        assert written == unicodedata.normalize("NFC", name).strip()
        assert body.startswith(f"Dear {written},") and "\n" not in subject and "\r" not in subject
        assert c.seen().guardian.name == written
    assert kept > 150


def test_every_letter_can_be_filled_in() -> None:
    c.requested()
    with db.transaction("worker") as session:
        about = consent_letters.pupil(session, id_of("cleo"), by=None)
        guardian = session.get(Guardian, c.case().guardian_id)
        for kind in AGE_LETTERS:
            consent_letters.write(session, about, kind, to=guardian, key=kind, until=NOW, reason="r", words="{name}", by=None, now=NOW)  # fmt: skip
    for subject, body in requests.rows("select subject, body from privacy.outbox where dedupe_key = kind"):
        assert "{" not in subject + body.replace("{name}", ""), subject


# Guardians are people, too


def test_a_guardian_gets_a_copy_a_correction_and_is_forgotten() -> None:
    c.verified(evidence=c.picture())
    found = requests.act("find_consent", "omar", email="GRETA@guardians.example")
    assert found is not None and found.name == "Cleo Example", "by the guardian's address, too"
    who = requests.staff("omar")
    with db.transaction(staff_id=who.id, session_id=who.session_id) as session:
        told = dict(queries.guardian_copy(session, id_of("cleo")))
    assert (
        told["guardian's name"] == "Greta Guardian"
        and told["parental consent"] == "verified"
        and "2009" not in str(told)
    )
    c.on("correct_guardian", guardian_name="Greta Grün", guardian_email="gg@guardians.example")
    assert (c.seen().guardian.name, c.case().state) == ("Greta Grün", "verified")
    with pytest.raises(BadInput, match="own address"):
        c.on("correct_guardian", guardian_name="x", guardian_email=email_of("cleo"))
    with pytest.raises(BadInput, match="to confirm"):
        c.on("forget_guardian", confirmation="C-0")
    c.on("forget_guardian", confirmation=f"c-{c.case().number}")
    assert (c.case().state, c.case().guardian_id) == ("withdrawn", None) and c.restricted() == ["consent missing"]
    assert ("guardian forgotten", "gg@guardians.example") in c.letters()
    assert ("consent request", "greta@guardians.example") not in [
        each for each in c.letters() if each[1] == "gg@guardians.example"
    ]
    with db.transaction("worker") as session:
        consent_watch.drop_guardians(session, now=NOW)
    assert requests.rows("select 1 from privacy.guardian where name like 'Greta%'") == []
    assert len(requests.rows("select 1 from privacy.guardian where student_id = :id", id=id_of("ben"))) == 1
    for name in ("paula", "ada"):
        with pytest.raises(Refused):
            c.on("correct_guardian", name, guardian_name="x", guardian_email="x@y.example")
        assert as_app(name, "update privacy.guardian set email = 'x' where student_id = :id") == 0
