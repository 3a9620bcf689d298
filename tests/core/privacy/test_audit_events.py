"""Every kind of line is written exactly once by its verb, with the details that docs/audit.md names."""

import dataclasses
import json
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyotp
import pytest
from sqlalchemy import Connection, text

from core import backup, db, keys, privacy_actions, timekeeping
from core.anon.builder import due_releases
from core.importers.seed import seed
from core.models.platform import HELP_LIMITS
from core.models.promises import PromiseAlert
from core.policy.promises import LEDGER
from core.privacy import (
    alerts,
    artifacts,
    audit,
    below_age,
    brakes,
    consent_watch,
    grace,
    ledger,
    propagating,
    restore,
    retention,
    standing,
    suppression,
    unknown_people,
)
from core.privacy.audit import Action
from core.privacy.erasure import note_failure
from core.privacy.releases import publish_release
from core.privacy_actions import Filed, Staff
from core.processors.manual import Manual
from core.processors.protocol import Order, Person
from tests.anon import world
from tests.cast import NOW, PASSWORD, email_of, id_of
from tests.conftest import sign_in
from tests.core.privacy import house_of_consent as consent
from tests.core.privacy import house_of_erasures as erasures
from tests.core.privacy import house_of_exports as exporting
from tests.core.privacy import house_of_requests as requests
from tests.core.privacy.scenes_of_mail import NOTICE_VERBS
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")


@dataclass
class Scene:
    """What a verb may need: everything as the superuser, and somebody who is signed in."""

    owner: Connection

    def staff(self, name: str) -> Staff:
        return sign_in(name)[1]

    def staff_without_code(self, name: str) -> Staff:
        """Somebody whose one-time codes the test chose itself: the newest session of theirs."""
        asked = "select id, staff_id from staff.session where staff_id = :id order by started_at desc limit 1"
        row = self.owner.execute(text(asked), {"id": id_of(name)}).one()
        return dataclasses.replace(sign_in("ines")[1], id=row.staff_id, session_id=row.id)

    def id_of_account(self, email: str) -> uuid.UUID:
        return self.owner.execute(
            text("select id from staff.staff_member where email = :email"), {"email": email}
        ).scalar_one()


def as_worker(verb: Callable[..., object], **arguments: object) -> None:
    with db.transaction("worker") as session:
        verb(session, now=NOW, **arguments)


def as_app(verb: Callable[..., object], by: Staff, **arguments: object) -> object:
    with db.transaction() as session:
        return verb(session, by=by, now=now(), **arguments)


def fail_to_sign_in(_scene: Scene) -> None:
    with db.transaction() as session:
        assert (
            privacy_actions.sign_in(session, email=email_of("paula"), password="wrong " + PASSWORD, now=now()) is None
        )


def open_a_file(scene: Scene) -> None:
    by = scene.staff("paula")
    secret = as_app(privacy_actions.export_list, by, what="enrollments", name="e.csv", content=b"x", rows=1)
    for _ in range(2):
        with db.transaction(staff_id=by.id, session_id=by.session_id) as session:
            assert privacy_actions.open_file(session, token=str(secret), now=now())


def destroy_a_file(_scene: Scene) -> None:
    owner_id = uuid.uuid4()
    with db.transaction("worker") as session:
        kept = artifacts.keep(session, kind="export", owner_id=owner_id, name="e.zip", media_type="application/zip",
                              chunks=[b"x"], expires_at=NOW + timedelta(days=7), now=NOW)  # fmt: skip
    for _ in range(2):
        as_worker(artifacts.destroy, artifact_id=kept, why="expired")


def publish(scene: Scene) -> None:
    scene.owner.execute(text("set session_replication_role = replica"))
    scene.owner.execute(text("delete from privacy.policy_version"))
    scene.owner.commit()
    as_worker(privacy_actions.publish_first_version)
    as_worker(privacy_actions.publish_first_version)


def import_seed(scene: Scene) -> None:
    scene.owner.execute(text("update platform.program set code = 'CAST-' || code"))
    scene.owner.commit()
    as_worker(seed)


def enable(_scene: Scene) -> None:
    as_worker(privacy_actions.disable_staff, email=email_of("ines"))
    as_worker(privacy_actions.enable_staff, email=email_of("ines"))


def break_the_log(scene: Scene) -> None:
    fail_to_sign_in(scene)
    scene.owner.execute(text("alter table privacy.audit_event disable trigger all"))
    scene.owner.execute(text('update privacy.audit_event set details = \'{"reason":"x"}\' where seq = 1'))
    scene.owner.commit()
    as_worker(privacy_actions.check_audit)
    as_worker(privacy_actions.check_audit)


def mend_the_log(scene: Scene) -> None:
    break_the_log(scene)
    scene.owner.execute(text('update privacy.audit_event set details = \'{"reason":"wrong"}\' where seq = 1'))
    scene.owner.commit()
    as_worker(privacy_actions.check_audit)
    as_worker(privacy_actions.check_audit)


def restore_the_log(scene: Scene) -> None:
    for _ in range(2):
        fail_to_sign_in(scene)
    as_worker(privacy_actions.sign_audit)
    scene.owner.execute(text("alter table privacy.audit_event disable trigger all"))
    scene.owner.execute(text("delete from privacy.audit_event where seq > 1"))
    scene.owner.commit()
    as_worker(audit.accept_restore)
    as_worker(audit.accept_restore)


def follow_up(scene: Scene, verb: Callable[..., object], **arguments: object) -> None:
    by = scene.staff("paula")
    for _ in range(2):
        as_app(verb, by, visitor_id=id_of("vera"), seen=0, **arguments)


def ask(kind: str = "access") -> Filed:
    filed = requests.file(kind)
    requests.act("ask_identity", "omar", **requests.on(filed))
    return filed


def resume(_scene: Scene) -> None:
    requests.act("resume_clock", "omar", reason="the person answered", **requests.on(ask()))


def pause(_scene: Scene) -> None:
    filed = ask()
    requests.act("resume_clock", "omar", reason="the person answered", **requests.on(filed))
    requests.act("pause_clock", "omar", reason="proof was not enough", **requests.on(filed))


def letter(verb: str) -> None:
    ask()
    [(letter_id,)] = requests.rows("select id from privacy.outbox")
    for _ in range(2):
        requests.act(verb, "omar", letter_id=letter_id)


def write_a_letter(_scene: Scene) -> None:
    filed, key = requests.file(), uuid.uuid4()
    for _ in range(2):
        requests.act("write_letter", "omar", request_id=filed.request_id, kind="acknowledgement", subject="Hello",
                     body="We have it.", form_key=key)  # fmt: skip


def note(_scene: Scene) -> None:
    filed, key = requests.file(), uuid.uuid4()
    for _ in range(2):
        requests.act("add_note", "omar", request_id=filed.request_id, form_key=key, note="Called.")


def file_again(_scene: Scene) -> None:
    requests.file(words="Please.", student_id=id_of("cleo"))
    requests.file(words="Please.", student_id=id_of("cleo"))


def change_the_plan(scene: Scene) -> None:
    filed = requests.closed()
    shown = requests.act("open_plan", "olga", request_id=filed.request_id)
    scene.owner.execute(text("set session_replication_role = replica"))
    scene.owner.execute(text("update privacy.deletion_plan set fingerprint = 'old'"))
    scene.owner.execute(text("update privacy.plan_view set fingerprint = 'old'"))
    scene.owner.execute(text("update privacy.request set plan_fingerprint = 'old' where kind = 'delete'"))
    scene.owner.commit()
    given = {"fingerprint": "old", "confirmation": filed.number, "reason": "plan is right"}
    done = requests.act("approve_deletion", "olga", **given, **requests.on(filed))
    assert (done.what, done.state) == ("plan changed", "to approve")
    assert requests.row(filed.request_id)["plan_fingerprint"] == shown.fingerprint


def confirm_a_step(_scene: Scene) -> None:
    requests.closed()
    step = requests.rows("select id from privacy.propagation where what = 'sign-in off'")[0][0]
    for _ in range(2):
        as_worker(propagating.pass_on, propagation_id=step)
    hand = requests.rows("select id from privacy.manual_step")[0][0]
    requests.act("attest_manual_step", "omar", step_id=hand, evidence="Done there.")
    requests.act("confirm_manual_step", "olga", step_id=hand)
    for _ in range(2):
        as_worker(propagating.pass_on, propagation_id=step)


def single_officer(_scene: Scene) -> None:
    for _ in range(2):
        as_worker(privacy_actions.declare_single_officer, on=True)


def find_a_closing(scene: Scene) -> None:
    shut = "update platform.student set account_status = 'closed', closed_at = registered_at where name like 'Cleo%'"
    scene.owner.execute(text(shut))
    scene.owner.commit()
    for _ in range(2):
        as_worker(grace.adopt_closing, student_id=id_of("cleo"))


def sign_of_life(_scene: Scene) -> None:
    from tests.core.privacy.test_grace import use_platform

    filed = requests.waiting()
    use_platform("cleo", NOW + timedelta(days=2))
    for _ in range(2):
        as_worker(grace.heed_sign_of_life, request_id=filed.request_id)


def text_to_judge(_scene: Scene) -> Filed:
    """An export of Asha that waits for an officer, because a review names somebody."""
    with db.transaction("worker") as session:
        session.execute(text("update platform.code_review set comment = 'As Jonas said, and Ben.'"))
    filed = requests.verified("export", student_id=id_of("asha"))
    exporting.work()
    exporting.work()
    return filed


def judge(scene: Scene) -> None:
    filed = text_to_judge(scene)
    for _ in range(2):
        requests.act("judge_export_texts", "omar", request_id=filed.request_id, decision="redact")


def make_anew(_scene: Scene) -> None:
    filed = exporting.ready()
    for _ in range(2):
        requests.act("remake_export", "omar", request_id=filed.request_id)


EXPORT_VERBS: dict[Action, Callable[[Scene], object]] = {
    Action.EXPORT_WAITS: text_to_judge,
    Action.EXPORT_TEXTS_JUDGED: judge,
    Action.EXPORT_BUILT: lambda _scene: [exporting.ready(), exporting.work()],
    Action.EXPORT_REMADE: make_anew,
    Action.EXPORT_HANDED_OUT: lambda _scene: requests.act(
        "hand_out_export", "omar", request_id=exporting.ready().request_id, how="handed over in person"
    ),
}


def on_request(verb: str, filed: Callable[[], Filed], **given: object) -> Callable[[Scene], object]:
    """A verb on a request, clicked twice."""

    def twice(_scene: Scene) -> None:
        where = requests.on(filed())
        for _ in range(2):
            requests.act(verb, "omar", **where, **given)

    return twice


REQUEST_VERBS: dict[Action, Callable[[Scene], object]] = {
    Action.REQUEST_FILED: lambda _scene: requests.file(),
    Action.REQUEST_REPEATED: file_again,
    Action.REQUEST_TAKEN: on_request("take_request", requests.file),
    Action.SUBJECT_LINKED: on_request(
        "link_subject", lambda: requests.file(name="Somebody"), email=email_of("cleo").upper()
    ),
    Action.IDENTITY_ASKED: on_request("ask_identity", requests.file),
    Action.IDENTITY_CHECKED: on_request("record_identity", requests.file, method="known in person", confirmed=True),
    Action.CLOCK_PAUSED: pause,
    Action.CLOCK_RESUMED: resume,
    Action.ANSWER_EXTENDED: on_request("extend_answer", requests.file, months=2, reason="complex"),
    Action.NOTE_ADDED: note,
    Action.REQUEST_REFUSED: on_request(
        "refuse_request", requests.file, reason="manifestly unfounded", words="Because."
    ),
    Action.REQUEST_WITHDRAWN: on_request("withdraw_request", requests.file, reason="by the person"),
    Action.REQUEST_ANSWERED: on_request(
        "answer_request",
        lambda: requests.no_file(requests.verified("access")),
        outcome="sent by hand",
        evidence="Letter of today.",
    ),
    Action.ACCOUNT_CLOSED: on_request("close_account", requests.verified),
    Action.ACCOUNT_REACTIVATED: on_request("reactivate_account", requests.closed, reason="closed by mistake"),
    Action.PLAN_OPENED: lambda _scene: [
        requests.act("open_plan", "olga", request_id=filed.request_id) for filed in [requests.closed()] * 2
    ],
    Action.PLAN_CHANGED: change_the_plan,
    Action.DELETION_APPROVED: lambda _scene: requests.waiting(),
    Action.EARLY_ASKED: on_request("ask_early", requests.closed, words="At once, please."),
    Action.PLAN_SENT_BACK: on_request("return_plan", requests.closed, reason="the plan is not right", note="Wrong."),
    Action.APPROVAL_TAKEN_BACK: on_request("send_back", requests.waiting, reason="approved by mistake"),
    Action.LETTER_WRITTEN: write_a_letter,
    Action.LETTER_SENT: lambda _scene: letter("mark_sent_by_hand"),
    Action.LETTER_CANCELED: lambda _scene: letter("cancel_letter"),
    Action.WORDING_CHANGED: lambda _scene: [
        requests.act("edit_wording", "omar", kind="refusal", subject="No, {name}", body="{reason} {words}")
        for _ in "12"
    ],
    Action.STEP_CONFIRMED: confirm_a_step,
    Action.SINGLE_OFFICER: single_officer,
    Action.CLOSING_FOUND: find_a_closing,
    Action.SIGN_OF_LIFE: sign_of_life,
}


def give_back(scene: Scene) -> None:
    by = scene.staff("ines")
    as_app(privacy_actions.take_review, by, submission_id=id_of("asha submission"))
    as_app(privacy_actions.give_review_back, by, submission_id=id_of("asha submission"))


def invited(scene: Scene, email: str = "new@staff.example") -> privacy_actions.OneTimeCode:
    made = as_app(
        privacy_actions.invite_staff, scene.staff("ada"), email=email, name="New One", role="mentor", reason="grows"
    )
    assert isinstance(made, privacy_actions.OneTimeCode)
    return made


def mistype(scene: Scene) -> None:
    code = invited(scene).code
    with db.transaction() as session:
        privacy_actions.check_invitation(session, email="other@staff.example", code=code, now=now())


def redeem(scene: Scene) -> None:
    code = invited(scene).code
    scene.owner.execute(text("update staff.proposal set decision = 'approved', decided_at = now()"))
    scene.owner.commit()
    with db.transaction() as session:
        assert not isinstance(
            privacy_actions.redeem_invitation(
                session, email="new@staff.example", code=code, password=PASSWORD, now=now()
            ),
            str,
        )


def set_up(scene: Scene, code: str | None = None) -> None:
    secret, by = privacy_actions.new_secret(), scene.staff("paula")
    code = code or pyotp.TOTP(secret).at(now())
    as_app(privacy_actions.set_up_codes, by, secret=secret, code=code)


def remove(scene: Scene) -> None:
    set_up(scene)
    as_app(privacy_actions.remove_codes, scene.staff_without_code("paula"))


def end_one(scene: Scene) -> None:
    other = scene.staff("paula")
    ada = scene.staff("ada")
    assert as_app(privacy_actions.end_session, ada, session_id=other.session_id)
    assert not as_app(privacy_actions.end_session, ada, session_id=other.session_id)


def propose(scene: Scene) -> None:
    as_app(privacy_actions.propose_role, scene.staff("ada"), staff_id=id_of("paula"), role="auditor", reason="new work")


def decide(scene: Scene) -> None:
    propose(scene)
    proposal = scene.owner.execute(text("select id from staff.proposal")).scalar_one()
    as_app(privacy_actions.decide_proposal, scene.staff("ada"), proposal_id=proposal, decision="withdrawn")


def rescue(_scene: Scene) -> None:
    as_worker(privacy_actions.rescue_reset, email=email_of("ada"), full=True, reason="device lost")


def declare(scene: Scene) -> None:
    as_app(privacy_actions.declare_single_admin, scene.staff("ada"), reason="we are two people")


def declare_and_end(scene: Scene) -> None:
    declare(scene)
    as_app(privacy_actions.end_single_admin, scene.staff("ada"))


def review(scene: Scene, verdict: str = "", **more: str) -> None:
    as_app(privacy_actions.start_access_review, scene.staff("ada"), due_on=date(2100, 1, 1))
    if verdict:
        asked = "select id from staff.access_review_item where staff_id = :id and assignment_id is null"
        item = scene.owner.execute(text(asked), {"id": id_of("paula")}).scalar_one()
        as_app(privacy_actions.decide_right, scene.staff("ada"), item_id=item, verdict=verdict, **more)


def place_hold() -> str:
    given = {"student_id": id_of("cleo"), "basis": "tax audit", "reference": "TA 7", "form_key": uuid.uuid4()}
    for _ in range(2):
        number = requests.act("place_hold", "omar", review_on=NOW.date() + timedelta(days=90), **given)
    return str(number)


def on_hold(verb: str, **given: object) -> Callable[[Scene], object]:
    """A verb on a hold, clicked twice."""

    def twice(_scene: Scene) -> None:
        number = place_hold()
        hold_id = requests.rows("select id from privacy.legal_hold")[0][0]
        confirmed = {"confirmation": number} if verb == "release_hold" else {}
        for _ in range(2):
            requests.act(verb, "omar", hold_id=hold_id, **confirmed, **given)

    return twice


def manual(*verbs: tuple[str, str, dict[str, object]]) -> Callable[[Scene], object]:
    """Verbs on a manual step, each clicked twice."""

    def twice(_scene: Scene) -> None:
        with db.transaction("worker") as session:
            Manual("Vercel").erase(session, Order(Person("student", id_of("asha")), "k"), now=NOW)
        step_id = requests.rows("select id from privacy.manual_step")[0][0]
        for verb, by, given in verbs:
            for _ in range(2):
                requests.act(f"{verb}_manual_step", by, step_id=step_id, **given)

    return twice


ATTEST: tuple[str, str, dict[str, object]] = ("attest", "omar", {"evidence": "Ticket 7."})


def erase_words(_scene: Scene) -> None:
    filed = requests.file("access", name="Zoe", words="Hello?")
    requests.act("withdraw_request", "omar", reason="by the person", **requests.on(filed))
    with db.transaction("worker") as session:
        for _ in range(2):
            unknown_people.erase_words(session, now=NOW + timedelta(days=91))


def seal(scene: Scene, *, confirmed: bool) -> None:
    break_the_log(scene)
    number = requests.rows("select max(number) from privacy.audit_check")[0][0]
    given = {"check_number": number, "reason": "changed, cause unknown"}
    ids = [requests.act("propose_seal", "omar", **given) for _ in range(2)]
    for _ in range(2 if confirmed else 0):
        requests.act("confirm_seal", "ada", seal_id=ids[0])


HOLD_VERBS: dict[Action, Callable[[Scene], object]] = {
    Action.HOLD_PLACED: lambda _scene: place_hold(),
    Action.HOLD_REVIEWED: on_hold("review_hold", review_on=NOW.date() + timedelta(days=120)),
    Action.HOLD_RELEASED: on_hold("release_hold", reason="claim settled"),
    Action.MANUAL_TAKEN: manual(("take", "omar", {})),
    Action.MANUAL_ATTESTED: manual(ATTEST),
    Action.MANUAL_CONFIRMED: manual(ATTEST, ("confirm", "olga", {})),
    Action.MANUAL_RETURNED: manual(ATTEST, ("return", "olga", {"reason": "not complete"})),
}


def erase() -> Filed:
    """A deletion past its grace period whose processors nobody configured: it begins, and waits for people."""
    filed = requests.waiting()
    erasures.work()
    return filed


def erase_here(_scene: Scene) -> None:
    erase()
    settle = (
        "update privacy.erasure_step set state = 'exempt', error = 'x' where state <> 'proven' and what <> 'database'"
    )
    requests.rows(settle + " returning id")
    with db.transaction("worker") as session:
        session.execute(text("update privacy.erasure set next_at = :now"), {"now": erasures.DUE})
    erasures.work()


def certify(_scene: Scene) -> None:
    erase()
    settle = "update privacy.erasure_step set state = 'exempt', error = 'x' where state <> 'proven' and what <> 'certificate'"
    requests.rows(settle + " returning id")
    with db.transaction("worker") as session:
        session.execute(text("update privacy.erasure set next_at = :now"), {"now": erasures.DUE})
    erasures.work()


def replay(_scene: Scene) -> None:
    ledger.cancel(request_id=requests.waiting().request_id, now=NOW)
    for _ in range(2):
        as_worker(restore.replay)


def lose_the_approver(_scene: Scene) -> None:
    requests.waiting()
    as_worker(privacy_actions.disable_staff, email=email_of("olga"))
    erasures.work()


def fail_a_step(_scene: Scene) -> None:
    filed = erase()
    with db.transaction("worker") as session:
        session.execute(text("update privacy.erasure_step set next_at = :now, attempts = 4"), {"now": erasures.DUE})
        note_failure(session, str(filed.request_id), "F-00 Boom", erasures.DUE)


def retry_a_step(scene: Scene) -> None:
    fail_a_step(scene)
    [(step,)] = requests.rows("select id from privacy.erasure_step where state = 'failed'")
    requests.act("retry_erasure_step", "olga", step_id=step, now=erasures.DUE)


def stop(_scene: Scene, why: str = timekeeping.DIFFER) -> uuid.UUID:
    with db.transaction("worker") as session:
        brakes._raise(session, "clock", why, NOW)
    [(brake,)] = requests.rows("select id from privacy.brake")
    return uuid.UUID(str(brake))


def let_go_on(scene: Scene) -> None:
    brake = stop(scene)
    for _ in range(2):
        requests.act("answer_brake", "olga", brake_id=brake, confirmation="go on", reason=brakes.REASONS[1])


def agree_again(scene: Scene) -> None:
    stop(scene)
    erasures.work(NOW)


def quarantined() -> uuid.UUID:
    """A record that came again without a date."""
    digest = keys.person_hashes()("new@x.example", "x")
    with db.transaction("worker") as session:
        suppression.suppress(
            session,
            erasure_id=uuid.uuid4(),
            hashes=[("e-mail", digest[0])],
            basis="x",
            until=NOW + timedelta(days=900),
            now=NOW,
        )
        session.execute(text("create temporary table came on commit drop as select gen_random_uuid() as id, 'New' as name, "
                             "'new@x.example' as email, cast(:m as bytea) as email_hash, cast(:p as bytea) as provider_hash"),
                        {"m": digest[0], "p": digest[1]})  # fmt: skip
        suppression.sift(session, "came", "student", source="csv", now=NOW)
    [(record,)] = requests.rows("select id from privacy.quarantine")
    return uuid.UUID(str(record))


def decide_about_it(_scene: Scene) -> None:
    record = quarantined()
    for _ in range(2):
        requests.act("discard", "omar", record_id=record, reason="old record")


def outlive(_scene: Scene) -> None:
    quarantined()
    for _ in range(2):
        with db.transaction("worker") as session:
            suppression.drop_expired(session, now=NOW + timedelta(days=1000))


def judge(_scene: Scene) -> None:
    erase()
    with db.transaction("worker") as session:
        session.execute(text("insert into privacy.erasure_finding (id, erasure_id, place_table, place_column, place_row, trace, sure, found_at)"
                             " select gen_random_uuid(), id, 'x', 'x', 'x', 'name', false, now() from privacy.erasure"))  # fmt: skip
    [(finding,)] = requests.rows("select id from privacy.erasure_finding")
    for _ in range(2):
        requests.act("judge_finding", "omar", finding_id=finding, verdict="somebody else")


ERASURE_VERBS: dict[Action, Callable[[Scene], object]] = {
    Action.APPROVAL_GONE: lose_the_approver,
    Action.ERASURE_BEGUN: lambda _scene: erase(),
    Action.ERASURE_PROVEN: erase_here,
    Action.ERASURE_ENDED: erase_here,
    Action.ERASURE_STUCK: fail_a_step,
    Action.ERASURE_RETRIED: retry_a_step,
    Action.BRAKE_ON: stop,
    Action.BRAKE_ANSWERED: let_go_on,
    Action.BRAKE_PASSED: agree_again,
    Action.RECORDS_SET_ASIDE: lambda _scene: quarantined(),
    Action.QUARANTINE_DECIDED: decide_about_it,
    Action.SUPPRESSION_ENDED: outlive,
    Action.FINDING_JUDGED: judge,
    Action.LEDGER_REPLAYED: replay,
    Action.ERASURE_CERTIFIED: certify,
}


def publish_a_release(_scene: Scene) -> None:
    with tempfile.TemporaryDirectory() as folder, db.transaction("worker") as session:
        world.build(session, [])
        file = Path(folder) / "analytics.yaml"
        first = due_releases(session, world.Setting().write(Path(folder)), today=NOW.date())[0]
        publish_release(session, family=first.family, period=first.period.name, now=NOW, file=file)


def below_the_minimum_age() -> None:
    consent.minor(born=consent.TOO_YOUNG)
    for _ in range(2):
        as_worker(below_age.close_below_age, student_id=id_of("cleo"))


def come_of_age() -> None:
    consent.requested()
    for _ in range(2):
        with db.transaction("worker") as session:
            consent_watch.lapse(session, student_id=id_of("cleo"), now=consent.BIRTHDAY)


def stay_silent() -> None:
    come_of_age()
    for _ in range(2):
        with db.transaction("worker") as session:
            late = consent.BIRTHDAY + consent_watch.ANSWER_AFTER_LAPSE
            consent_watch.forget_birth_date(session, student_id=id_of("cleo"), now=late)


def look_at_evidence() -> None:
    requests.act("open_evidence", "olga", student_id=id_of("cleo"))


def drop_a_guardian() -> None:
    consent.requested()
    for _ in range(2):
        as_worker(consent_watch.drop_guardians)


def remind() -> None:
    consent.requested()
    requests.act("remind_silent", "omar", now=NOW + timedelta(days=8), confirmation="1")


CONSENT_VERBS: dict[Action, Callable[[Scene], object]] = {
    Action.AGE_DECLARED: lambda _scene: consent.minor(),
    Action.CONSENT_REQUESTED: lambda _scene: consent.requested(),
    Action.CONSENT_ENTERED: lambda _scene: consent.given(evidence=consent.picture()),
    Action.EVIDENCE_OPENED: lambda _scene: [consent.given(evidence=consent.picture()), look_at_evidence()],
    Action.CONSENT_VERIFIED: lambda _scene: consent.verified(),
    Action.CONSENT_REFUSED: lambda _scene: [
        consent.given(),
        consent.on("refuse_consent", "olga", reason="not a parent or guardian"),
    ],
    Action.CONSENT_WITHDRAWN: lambda _scene: [consent.verified(), consent.on("withdraw_consent", who="student")],
    Action.CONSENT_LAPSED: lambda _scene: come_of_age(),
    Action.BIRTH_DATE_GONE: lambda _scene: stay_silent(),
    Action.CONSENT_ROUND: lambda _scene: remind(),
    Action.GUARDIAN_CORRECTED: lambda _scene: [
        consent.requested(),
        consent.on("correct_guardian", guardian_name="Greta G.", guardian_email="greta@guardians.example"),
    ],
    Action.GUARDIAN_FORGOTTEN: lambda _scene: [
        consent.verified(),
        consent.on("forget_guardian", confirmation=f"C-{consent.case().number}"),
    ],
    Action.GUARDIAN_GONE: lambda _scene: drop_a_guardian(),
    Action.BELOW_AGE: lambda _scene: below_the_minimum_age(),
}
VERBS: dict[Action, Callable[[Scene], object]] = {
    Action.RELEASE_PUBLISHED: publish_a_release,
    Action.RESCUE_USED: rescue,
    Action.SIGNED_IN: lambda scene: scene.staff("paula"),
    Action.SIGN_IN_FAILED: fail_to_sign_in,
    Action.IDENTITY_CONFIRMED: lambda scene: as_app(
        privacy_actions.confirm_identity, scene.staff("paula"), password=PASSWORD, code=None
    ),
    Action.CONFIRMATION_FAILED: lambda scene: as_app(
        privacy_actions.confirm_identity, scene.staff("paula"), password="wrong " + PASSWORD, code=None
    ),
    Action.SIGNED_OUT: lambda scene: as_app(privacy_actions.sign_out, scene.staff("paula")),
    Action.SESSION_REFUSED: lambda scene: as_app(privacy_actions.refuse_session, scene.staff("paula")),
    Action.REFUSED: lambda scene: as_app(privacy_actions.record_refusal, scene.staff("paula"), what="Audit"),
    Action.PERSON_VIEWED: lambda scene: as_app(
        privacy_actions.record_view, scene.staff("paula"), student_id=id_of("asha"), purpose="student page"
    ),
    Action.COHORT_VIEWED: lambda scene: [
        as_app(privacy_actions.record_cohort_view, by, cohort_id=id_of("python"), purpose="progress")
        for by in [scene.staff("ines")] * 2
    ],
    Action.HELP_NOTED: lambda scene: as_app(
        privacy_actions.mark_handled,
        scene.staff("ines"),
        enrollment_id=id_of("asha enrollment"),
        until=now().date(),
        note="Called.",
    ),
    Action.LIMITS_SET: lambda scene: as_app(
        privacy_actions.set_help_limits,
        scene.staff("ines"),
        cohort_id=id_of("python"),
        limits=dict.fromkeys(HELP_LIMITS, 3),
    ),
    Action.REVIEW_TAKEN: lambda scene: as_app(
        privacy_actions.take_review, scene.staff("ines"), submission_id=id_of("asha submission")
    ),
    Action.REVIEW_GIVEN_BACK: give_back,
    Action.LIST_EXPORTED: lambda scene: as_app(
        privacy_actions.export_list, scene.staff("paula"), what="enrollments", name="e.csv", content=b"x", rows=1
    ),
    Action.FILE_OPENED: open_a_file,
    Action.FILE_DESTROYED: destroy_a_file,
    Action.STAFF_ADDED: lambda _scene: as_worker(
        privacy_actions.add_staff, email="new@staff.example", name="New One", role="mentor", password=PASSWORD
    ),
    Action.STAFF_DISABLED: lambda _scene: as_worker(privacy_actions.disable_staff, email=email_of("ines")),
    Action.STAFF_ENABLED: enable,
    Action.ROLE_CHANGED: lambda _scene: as_worker(privacy_actions.change_role, email=email_of("ines"), role="mentor"),
    Action.ASSIGNED: lambda _scene: as_worker(
        privacy_actions.assign,
        email=email_of("ines"),
        cohort="CLOUD-26",
        starts_on=date(2026, 1, 1),
        ends_on=None,
    ),
    Action.ASSIGNMENT_ENDED: lambda scene: as_app(
        privacy_actions.end_assignment, scene.staff("ada"), assignment_id=id_of("ines python"), last_day=None
    ),
    Action.STAFF_INVITED: invited,
    Action.CODE_MADE: lambda scene: as_app(
        privacy_actions.renew_code, scene.staff("ada"), staff_id=scene.id_of_account(invited(scene).email)
    ),
    Action.CODE_REFUSED: mistype,
    Action.CODE_REDEEMED: redeem,
    Action.SECRETS_RESET: lambda scene: as_app(
        privacy_actions.reset_sign_in, scene.staff("ada"), staff_id=id_of("ines"), full=True, reason="device lost"
    ),
    Action.PASSWORD_CHANGED: lambda scene: as_app(
        privacy_actions.change_password, scene.staff("paula"), password="juniper-lagoon-meadow-77"
    ),
    Action.CODES_SET_UP: set_up,
    Action.CODES_REFUSED: lambda scene: set_up(scene, "no digits"),
    Action.CODES_REMOVED: remove,
    Action.SESSION_ENDED: end_one,
    Action.GRANT_PROPOSED: propose,
    Action.GRANT_DECIDED: decide,
    Action.SINGLE_ADMIN_DECLARED: declare,
    Action.SINGLE_ADMIN_ENDED: declare_and_end,
    Action.REVIEW_STARTED: review,
    Action.RIGHT_CONFIRMED: lambda scene: review(scene, "confirmed"),
    Action.RIGHT_REMOVED: lambda scene: review(scene, "removed", reason="no longer needed"),
    Action.PROCESSOR_WRITTEN: lambda scene: [
        as_app(
            privacy_actions.write_processor_record,
            scene.staff("ada"),
            name="SMTP",
            version=version,
            purpose="Mail",
            legal_basis="contract",
            contract_on=None,
            review_by=None,
            sub_processors=[],
            transfer_basis="",
            region="",
            contact="",
        )
        for version in (0, 1)
    ],
    Action.VISITOR_OWNED: lambda scene: follow_up(scene, privacy_actions.assign_visitor, owner_id=id_of("paula")),
    Action.VISITOR_PLANNED: lambda scene: follow_up(scene, privacy_actions.set_next_contact, on=now().date()),
    Action.VISITOR_STATUS: lambda scene: follow_up(scene, privacy_actions.set_visitor_status, status="lost"),
    Action.VISITOR_CONTACTED: lambda scene: follow_up(
        scene, privacy_actions.note_contact, note="Called.", status="in contact", next_contact_on=None
    ),
    Action.PEOPLE_SEARCHED: lambda scene: as_app(
        privacy_actions.record_search, scene.staff("paula"), students=2, visitors=1
    ),
    Action.IMPORTED: import_seed,
    Action.POLICY_PUBLISHED: publish,
    Action.AUDIT_BROKEN: break_the_log,
    Action.AUDIT_SOUND: mend_the_log,
    Action.AUDIT_RESTORED: restore_the_log,
    **REQUEST_VERBS,
    **NOTICE_VERBS,
    **EXPORT_VERBS,
    **HOLD_VERBS,
    Action.WORDS_ERASED: erase_words,
    Action.BREAK_PROPOSED: lambda scene: seal(scene, confirmed=False),
    Action.BREAK_ACKNOWLEDGED: lambda scene: seal(scene, confirmed=True),
    **ERASURE_VERBS,
    **CONSENT_VERBS,
    Action.SAMPLE_DRAWN: lambda scene: draw(scene),
    Action.CHECK_ASKED: lambda scene: as_app(privacy_actions.ask_check, scene.staff("omar")),
    Action.PROMISE_ATTESTED: lambda scene: vouch(scene),
    Action.ATTESTATION_WITHDRAWN: lambda scene: withdraw(scene),
    Action.ALERT_TOLD: lambda scene: alert(scene),
    Action.ACCOUNT_END_SET: lambda scene: as_app(
        privacy_actions.set_account_end,
        scene.staff("ada"),
        staff_id=id_of("paula"),
        last_day=now().date() + timedelta(days=9),
    ),
    Action.RETENTION_RUN: lambda scene: retain(scene),
    Action.LAPSED_CLOSED: lambda scene: lapse(scene),
    Action.BACKUPS_REMOVED: lambda scene: outlive_a_backup(scene),
    Action.RESTRICTED: lambda _scene: restrict(),
    Action.RESTRICTION_ENDS: lambda _scene: announce(),
    Action.RIGHT_ANSWERED: on_request("answer_right", lambda: requests.file("opt_out")),
    Action.CORRECTION_ENTERED: lambda _scene: enter(),
    Action.CORRECTED: lambda _scene: requests.act("confirm_correction", "olga", **requests.on(enter())),
    Action.CORRECTION_RETURNED: lambda _scene: requests.act(
        "return_correction", "olga", reason="mistyped here", **requests.on(enter())
    ),
    Action.RESTRICTION_LIFTED: lambda _scene: [
        restrict(),
        as_worker(standing.lift_restriction, student_id=id_of("cleo"), basis="consent missing", by=None),
    ],
}


def draw(scene: Scene) -> None:
    today = now().date()
    as_app(
        privacy_actions.draw_sample,
        scene.staff("aiko"),
        size=5,
        seed="x",
        closed_from=today - timedelta(days=90),
        closed_to=today,
    )


def vouch(scene: Scene) -> None:
    promise = next(each for each in LEDGER if each.attested)
    as_app(privacy_actions.attest, scene.staff("omar"), places=[(promise.id, next(iter(promise.attested)))], owner_id=id_of("omar"),
           statement="The console of the host was looked at.", expires_on=now().date() + timedelta(days=100))  # fmt: skip


def withdraw(scene: Scene) -> None:
    vouch(scene)
    given = requests.rows("select id from privacy.attestation")[0][0]
    as_app(privacy_actions.withdraw_attestation, scene.staff("omar"), attestation_id=given)


def alert(_scene: Scene) -> None:
    """Nobody listens where it should go any more, for three days."""
    made = PromiseAlert(id=uuid.uuid4(), promise="RET-MAIL90", since=NOW, kind="broken", channel="webhook", target="gone", sentence="Broken.",
                        made_at=NOW, next_at=NOW)  # fmt: skip
    with db.transaction("worker") as session:
        session.add(made)
        session.flush()
        alerts.deliver_alert(session, alert_id=made.id, now=NOW)


def retain(_scene: Scene) -> None:
    with db.transaction("worker") as session:
        while retention.go_on(session, rule="e-mail logs", now=NOW).get("more"):
            pass


def lapse(_scene: Scene) -> None:
    with db.transaction("worker") as session:
        grace.close_by_rule(session, student_id=id_of("cleo"), rule="subscription ended", now=NOW)


def outlive_a_backup(_scene: Scene) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESOCODE_BACKUPS", folder)
        over = backup.Backup("resocode-x.dump.age", NOW, NOW, 1, "00", "0001", 18)
        (backup.folder() / over.name).write_bytes(b"x")
        backup._write_note(over)
        as_worker(backup.remove_expired)


def enter() -> Filed:
    filed = requests.verified("correct")
    requests.act("enter_correction", "omar", values={"name": "New"}, reason="changed", **requests.on(filed))
    return filed


def announce() -> None:
    filed = requests.verified("restrict")
    requests.act("answer_right", "omar", **requests.on(filed))
    found = requests.rows("select id from privacy.restriction where request_id = :id", id=filed.request_id)
    requests.act("announce_lifting", "omar", restriction_id=found[0][0], reason="the person asks for it")


def restrict() -> None:
    as_worker(standing.restrict, student_id=id_of("cleo"), basis="consent missing", by=None)


def test_every_kind_of_line_has_a_verb_here() -> None:
    assert set(VERBS) == set(Action)


@pytest.mark.parametrize("action", VERBS, ids=str)
def test_it_is_written_exactly_once_with_the_details_that_the_docs_name(action: Action, owner: Connection) -> None:
    VERBS[action](Scene(owner))
    written = owner.execute(text("select details from privacy.audit_event where action = :a"), {"a": action}).all()
    assert len(written) == 1
    assert set(json.loads(written[0].details)) == set(action.details)


def test_a_detail_that_the_docs_do_not_name_is_refused() -> None:
    from core.privacy.audit import append

    with pytest.raises(ValueError, match="no detail name"), db.transaction(staff_id=id_of("paula")) as session:
        append(session, Action.SIGNED_OUT, now=NOW, name="Asha Example")


def test_fifty_views_are_one_statement_and_fifty_lines(owner: Connection) -> None:
    from sqlalchemy import event

    from core.privacy.audit import append_view

    people, statements = [uuid.uuid4() for _ in range(50)], []
    with db.transaction(staff_id=id_of("paula"), session_id=id_of("one")) as session:
        listener = lambda *arguments: statements.append(arguments[2])  # noqa: E731
        event.listen(db.engine("app"), "before_cursor_execute", listener)
        assert append_view(session, person_kind="student", person_ids=people, purpose="list", now=NOW) == 50
        assert append_view(session, person_kind="student", person_ids=people, purpose="list", now=NOW) == 0
        event.remove(db.engine("app"), "before_cursor_execute", listener)
    assert len(statements) == 2
    seen = owner.execute(text("select subject_id from privacy.audit_event where action = 'person viewed' order by seq"))
    assert list(seen.scalars()) == people
