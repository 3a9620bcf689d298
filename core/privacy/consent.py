"""Ages and consent (clause 9), as privacy officers work on them: an age is declared, a guardian asked, their consent entered by
one officer and verified or refused by another, withdrawn by whoever may.

Danger: a child learns here because one officer wrote that a parent agreed; an age or somebody's identity card lies around. Principle:
a birth date of minors only; consent counts when a second officer has verified it; evidence is a picture without metadata, seen
through a one-time link and destroyed with the decision; a minor without verified consent is restricted in the same transaction.
Mechanism: one row of ``privacy.consent`` per student, held by a trigger to the rows of ``privacy.consent_move``; a screen names the
version it shows; the same verb by the same person on the version that it made is a repeated click.
"""

import uuid
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import insert, select, text, update
from sqlalchemy.orm import Session

from core import keys
from core.errors import BadInput, NotFound, Refused, Stale
from core.models.artifacts import Artifact
from core.models.base import uuid7
from core.models.campaigns import QUESTION, Campaign
from core.models.consent import METHODS, WITHOUT_CONSENT, Consent, ConsentMove, ConsentRound, Guardian
from core.models.requests import Outbox
from core.policy import in_force
from core.policy.age import AgeStanding, case_days, standing
from core.privacy import artifacts, campaigns, consent_letters, files
from core.privacy import standing as standings
from core.privacy.acting import hold_officer
from core.privacy.ages_asked import NEVER_ASKED
from core.privacy.audit import Action, append, append_view, guarded
from core.privacy.consent_letters import GONE, pupil
from core.privacy.evidence import harmless
from core.privacy.sessions import Staff, demand_fresh
from core.words import clean, clean_text

MISSING, NOT_DECLARED = "consent missing", "age not declared"
DECLARED = (
    "answered our letter",
    "told by the student",
    "told by the guardian",
    "said so on the platform",
    "document shown, not kept",
)
NOBODY_WHO_MAY = "not a parent or guardian"
CONSENT_REFUSALS = (
    "the evidence cannot be read",
    "the evidence is of somebody else",
    NOBODY_WHO_MAY,
    "the guardian did not confirm it",
    "entered by mistake",
)
WITHDRAWN_BY = ("guardian", "student")
OLDEST = 110
EVIDENCE_DAYS = 30
ANSWER_DAYS = (14, 90)
ANSWER_LEAST = timedelta(days=7)  # whoever could not be asked before it is not asked, and not restricted
UNDER_WAY = ("gathering", "running", "paused")
BETWEEN_ROUNDS = timedelta(hours=24)
# Who may be written to: nobody who was within a week.
TO_WRITE = (
    " from privacy.consent_cases(:adult, :allowed, :soon, :silent, :now) k where k.need = any (:needs) and k.writable"
)
TO_REMIND = ("silent", "lapsed", "asked", "not answered")


@dataclass(frozen=True)
class ConsentReceipt:
    """What a verb did; ``sentence`` is for the screen; ``again`` is True when a click was repeated and nothing happened now."""

    student_id: uuid.UUID
    number: str
    state: str
    version: int
    sentence: str
    again: bool = False


@dataclass(frozen=True)
class SeenStudent:
    """Whom a case is about."""

    id: uuid.UUID
    name: str
    email: str


def find_consent(session: Session, *, email: str, by: Staff, now: datetime) -> SeenStudent | None:
    """Return the student with exactly this address, and open their case; None: nobody's. The view is recorded."""
    hold_officer(session, by)
    typed = clean(email, what="The e-mail")
    if not typed:
        raise BadInput("Type the student's e-mail address.")
    row = session.execute(text("select * from privacy.student_of_address(:email)"), {"email": typed}).first()
    if row is None:
        return None
    session.execute(text("select privacy.open_consent(:id)"), {"id": row.id})
    append_view(session, person_kind="student", person_ids=[row.id], purpose="consent", now=now)
    return SeenStudent(row.id, row.name, row.email)


def reveal_consent(session: Session, *, student_id: uuid.UUID, by: Staff, now: datetime) -> SeenStudent:
    """Return whom a case is about, and record that they were seen. Raises NotFound where there is no case."""
    hold_officer(session, by)
    found = pupil(session, student_id, by=by)
    append_view(session, person_kind="student", person_ids=[student_id], purpose="consent", now=now)
    return SeenStudent(found.id, found.name, found.email)


def declare_age(
    session: Session,
    *,
    student_id: uuid.UUID,
    version: int,
    adult: bool,
    how: str,
    by: Staff,
    now: datetime,
    birth_date: date | None = None,
) -> ConsentReceipt:
    """Record what a student said about their age. ``how``: one of DECLARED.

    Of age (said so, or by the birth date): the yes is kept and no date; whatever the consent of a guardian left goes. A minor:
    the birth date is kept, so that the consent can end on time, and without verified consent the account is restricted at once.
    Below the minimum age: the worker closes and erases (core.privacy.below_age). Raises BadInput for a date that cannot be.
    """
    case = _begin(session, student_id, version, by, "age declared")
    if isinstance(case, ConsentReceipt):
        return case
    if how not in DECLARED:
        raise BadInput(f"Say how we know: {', '.join(DECLARED)}.")
    if adult and birth_date is not None:
        raise BadInput("Of somebody who is of age no birth date is kept: leave it empty.")
    rules = in_force(session, now)
    _demand_possible(birth_date, now)
    now_is = standing(birth_date, True if adult else None if birth_date else False, now, rules)
    if now_is is AgeStanding.ADULT:
        receipt = settle_as_adult(session, case, reason=how, by=by, now=now)
    else:
        again = case.state in ("not needed", "lapsed")
        cleared = {**NO_CONSENT, "guardian_id": None} if again else {}
        receipt = change(session, case, "age declared", reason=how, now=now, to="missing" if again else None,
                         birth_date=birth_date, adult=None if birth_date else False, declared_at=now,
                         sentence=_minor_sentence(now_is, case.state), **cleared)  # fmt: skip
        settle_restriction(session, case, by=by, now=now)
    append(session, Action.AGE_DECLARED, now=now, subject_kind="student", subject_id=student_id, how=how)
    return receipt


def request_consent(
    session: Session,
    *,
    student_id: uuid.UUID,
    version: int,
    by: Staff,
    now: datetime,
    guardian_name: str = "",
    guardian_email: str = "",
    words: str = "",
) -> ConsentReceipt:
    """Ask a guardian for consent: a letter waits in the outbox. Without name and address it goes to the one who is known.

    Raises BadInput for a student who needs none, an address that is the student's own, and when nobody is known.
    """
    case = _begin(session, student_id, version, by, "consent requested")
    if isinstance(case, ConsentReceipt):
        return case
    if case.state not in (*WITHOUT_CONSENT, "requested") or case.state == "given":
        raise BadInput(f"Consent is not asked for here: it is “{case.state}”.")
    about = pupil(session, student_id, by=by)
    guardian = _guardian(session, case, about, guardian_name, guardian_email, by=by, now=now)
    receipt = change(session, case, "consent requested", now=now, to="requested" if case.state != "requested" else None,
                     guardian_id=guardian.id, requested_at=now, sentence="The letter to the guardian waits in the outbox.",
                     **NO_CONSENT)  # fmt: skip
    consent_letters.write(session, about, "consent request", to=guardian, key=_key(case, "request"), words=words, by=by, now=now)  # fmt: skip
    append(session, Action.CONSENT_REQUESTED, now=now, subject_kind="consent", case=numbered(case.number))
    return receipt


@guarded
def enter_consent(
    session: Session,
    *,
    student_id: uuid.UUID,
    version: int,
    given: bool,
    method: str,
    by: Staff,
    now: datetime,
    guardian_name: str = "",
    guardian_email: str = "",
    evidence: bytes | None = None,
) -> ConsentReceipt:
    """Record what a guardian decided and how that came (``method``: one of METHODS), with a picture as evidence or without.

    Given: it waits for another officer, who verifies or refuses it. Not given: "refused", and the account stays restricted.
    Raises BadInput for evidence that is not one harmless picture (core.privacy.evidence), and when no guardian is known.
    """
    case = _begin(session, student_id, version, by, "consent entered")
    if isinstance(case, ConsentReceipt):
        return case
    to = "given" if given else "refused"
    _demand_move(session, case, to, by, now)
    if method not in METHODS:
        raise BadInput(f"Say how it came: {', '.join(METHODS)}.")
    if evidence is not None and not given:
        raise BadInput("A no needs no evidence. Leave the picture away.")
    about = pupil(session, student_id, by=by)
    guardian = _guardian(session, case, about, guardian_name, guardian_email, by=by, now=now)
    values: dict[str, Any] = {**NO_CONSENT, "guardian_id": guardian.id if given else None}  # who says no is forgotten
    if given:
        values |= {"method": method, "entered_at": now, "entered_by": by.id}
        values |= _kept(session, case, evidence, now) if evidence is not None else {}
    receipt = change(session, case, "consent entered", reason=method if given else "the guardian said no", to=to, now=now,
                     sentence="Entered. Another officer verifies or refuses it." if given else
                     "Recorded: the guardian said no. The account stays restricted.", **values)  # fmt: skip
    append(session, Action.CONSENT_ENTERED, now=now, subject_kind="consent", case=numbered(case.number), method=method,
           outcome=to, evidence=evidence is not None)  # fmt: skip
    return receipt


def open_evidence(session: Session, *, student_id: uuid.UUID, by: Staff, now: datetime) -> str:
    """Return the secret of a link that opens the evidence once, for this session. Needs a fresh proof; the view is recorded."""
    hold_officer(session, by)
    demand_fresh(by, now)
    case = session.get(Consent, student_id, populate_existing=True)
    if case is None or case.evidence_id is None:
        raise NotFound("There is no evidence, or it is destroyed already.", student_id=student_id)
    _demand_not_own(session, student_id)
    kept = select(Artifact.media_type).where(
        Artifact.id == case.evidence_id, Artifact.destroyed_at.is_(None), Artifact.expires_at > now
    )
    media_type = session.scalar(kept)
    if media_type is None:
        raise NotFound(
            "The evidence was destroyed: undecided, it is kept for 30 days. Ask for it anew.", student_id=student_id
        )
    name = f"{numbered(case.number)}-evidence.{'png' if media_type == 'image/png' else 'jpg'}"
    secret = files.link_artifact(
        session, session_id=by.session_id, artifact_id=case.evidence_id, name=name, media_type=media_type, now=now
    )
    append_view(session, person_kind="student", person_ids=[student_id], purpose="consent", now=now)
    append(session, Action.EVIDENCE_OPENED, now=now, subject_kind="consent", case=numbered(case.number))
    return secret


@guarded
def verify_consent(
    session: Session, *, student_id: uuid.UUID, version: int, by: Staff, now: datetime
) -> ConsentReceipt:
    """Verify what another officer entered: the restriction ends, the evidence is destroyed, guardian and student are told.

    Raises Refused for whoever entered it (unless the company declared a single officer), NotFresh, BadInput without a birth date:
    then nobody would know when the consent ends.
    """
    case = _begin(session, student_id, version, by, "consent verified")
    if isinstance(case, ConsentReceipt):
        return case
    _demand_move(session, case, "verified", by, now)
    if case.birth_date is None:
        raise BadInput("Record the birth date first; without it nobody knows when the consent ends.")
    about, guardian = pupil(session, student_id, by=by), session.get(Guardian, case.guardian_id)
    had_evidence = case.evidence_id is not None
    _destroy(session, case, now)
    receipt = change(session, case, "consent verified", reason=case.method or "", to="verified", now=now, verified_at=now,
                     verified_by=by.id, evidence_id=None, sentence="Verified. The account is not restricted any more.")  # fmt: skip
    settle_restriction(session, case, by=by, now=now)
    if guardian is not None:
        consent_letters.write(session, about, "consent verified", to=guardian, key=_key(case, "verified"), by=by, now=now)  # fmt: skip
    consent_letters.write(session, about, "consent opened", key=_key(case, "opened"), by=by, now=now)
    append(session, Action.CONSENT_VERIFIED, now=now, subject_kind="consent", case=numbered(case.number), evidence=had_evidence,
           alone=case.entered_by == by.id)  # fmt: skip
    return receipt


@guarded
def refuse_consent(
    session: Session, *, student_id: uuid.UUID, version: int, reason: str, by: Staff, now: datetime, words: str = ""
) -> ConsentReceipt:
    """Refuse what another officer entered. ``reason`` is one of CONSENT_REFUSALS; the guardian is told. The evidence is destroyed."""
    case = _begin(session, student_id, version, by, "consent refused")
    if isinstance(case, ConsentReceipt):
        return case
    _demand_move(session, case, "refused", by, now)
    if reason not in CONSENT_REFUSALS:
        raise BadInput(f"Choose a reason: {', '.join(CONSENT_REFUSALS)}.")
    about, guardian = pupil(session, student_id, by=by), session.get(Guardian, case.guardian_id)
    _destroy(session, case, now)
    forgotten = {"guardian_id": None} if reason == NOBODY_WHO_MAY else {}
    receipt = change(session, case, "consent refused", reason=reason, to="refused", now=now, evidence_id=None, **forgotten,
                     sentence="Refused. The account stays restricted; ask again, or ask another guardian.")  # fmt: skip
    if guardian is not None and reason != "entered by mistake":
        consent_letters.write(session, about, "consent refused", to=guardian, key=_key(case, "refused"), reason=reason,
                              words=words, by=by, now=now)  # fmt: skip
    append(session, Action.CONSENT_REFUSED, now=now, subject_kind="consent", case=numbered(case.number), reason=reason)
    return receipt


def withdraw_consent(
    session: Session, *, student_id: uuid.UUID, version: int, who: str, by: Staff, now: datetime, words: str = ""
) -> ConsentReceipt:
    """Record that a guardian or the student took the consent back: the account is restricted at once, both are told.

    ``who``: one of WITHDRAWN_BY.
    """
    case = _begin(session, student_id, version, by, "consent withdrawn")
    if isinstance(case, ConsentReceipt):
        return case
    _demand_move(session, case, "withdrawn", by, now)
    if who not in WITHDRAWN_BY:
        raise BadInput(f"Say who took it back: {', '.join(WITHDRAWN_BY)}.")
    about, guardian = pupil(session, student_id, by=by), session.get(Guardian, case.guardian_id)
    _destroy(session, case, now)
    receipt = change(session, case, "consent withdrawn", reason=f"by the {who}", to="withdrawn", now=now, evidence_id=None,
                     verified_at=None, verified_by=None, sentence="Withdrawn. The account is restricted from now on.")  # fmt: skip
    settle_restriction(session, case, by=by, now=now)
    for to in (None, guardian) if guardian is not None else (None,):
        consent_letters.write(session, about, "consent withdrawn", to=to, key=_key(case, f"withdrawn {'guardian' if to else 'student'}"),
                              reason=f"by the {who}", words=words, by=by, now=now)  # fmt: skip
    append(session, Action.CONSENT_WITHDRAWN, now=now, subject_kind="consent", case=numbered(case.number), who=who)
    return receipt


def correct_guardian(
    session: Session,
    *,
    student_id: uuid.UUID,
    version: int,
    guardian_name: str,
    guardian_email: str,
    by: Staff,
    now: datetime,
) -> ConsentReceipt:
    """Mend a guardian's name or address, because they asked (GDPR 16); their consent stays what it is."""
    case = _begin(session, student_id, version, by, "guardian corrected")
    if isinstance(case, ConsentReceipt):
        return case
    known = session.get(Guardian, case.guardian_id) if case.guardian_id else None
    if known is None:
        raise BadInput("No guardian is known in this case.")
    name, email = _demand_guardian(pupil(session, student_id, by=by), guardian_name, guardian_email)
    mended = update(Guardian).where(Guardian.id == known.id).values(name=name, email=email)
    session.execute(mended.execution_options(synchronize_session=False))
    receipt = change(session, case, "guardian corrected", now=now, sentence="Corrected.")
    append(session, Action.GUARDIAN_CORRECTED, now=now, subject_kind="consent", case=numbered(case.number))
    return receipt


@guarded
def forget_guardian(
    session: Session, *, student_id: uuid.UUID, version: int, confirmation: str, by: Staff, now: datetime
) -> ConsentReceipt:
    """Let a guardian be erased who asked for it (GDPR 17): their consent ends, the worker erases their row, a last letter tells them.

    ``confirmation`` is the number of the case, typed. Needs a fresh proof of identity.
    """
    case = _begin(session, student_id, version, by, "guardian forgotten")
    if isinstance(case, ConsentReceipt):
        return case
    demand_fresh(by, now)
    guardian = session.get(Guardian, case.guardian_id) if case.guardian_id else None
    if guardian is None:
        raise BadInput("No guardian is known in this case.")
    if clean(confirmation, what="The number").upper() != numbered(case.number):
        raise BadInput(f"Type {numbered(case.number)} to confirm.")
    return let_go(session, case, guardian, by=by, now=now)


@guarded
def ask_ages(
    session: Session, *, answer_by: date, confirmation: str, by: Staff, now: datetime, channel: str = "mail"
) -> int:
    """Begin the notice "18 or over?" to everybody who has not declared and was not asked, to be answered by a day; return how many.

    The worker tells them, like any notice (core.privacy.campaigns), until ANSWER_LEAST before that day: whoever was not reached by
    then is not asked. After the day, those who were told and have not answered are restricted, and nobody else.
    ``confirmation``: the number of people, typed; ``channel``: one of CHANNELS.
    """
    hold_officer(session, by)
    demand_fresh(by, now)
    first, last = (now.date() + timedelta(days=days_) for days_ in ANSWER_DAYS)
    if not first <= answer_by <= last:
        raise BadInput(f"Give them between {ANSWER_DAYS[0]} and {ANSWER_DAYS[1]} days to answer.")
    under_way = select(Campaign.id).where(Campaign.kind == QUESTION, Campaign.state.in_(UNDER_WAY))
    if session.scalar(under_way.limit(1)) is not None:
        raise BadInput("People are being asked just now: see Notices. Let that end first.")
    people = _demand_counted(session, ("not asked",), confirmation, now)
    until = datetime.combine(answer_by + timedelta(days=1), datetime.min.time(), tzinfo=now.tzinfo)
    campaigns.begin_campaign(
        session, kind=QUESTION, template=QUESTION, audience=NEVER_ASKED, channel=channel, deadline=until - ANSWER_LEAST, by=by, now=now,
        values={"until": f"{answer_by:%-d %B %Y}"}, audience_values={"answer_by": until.isoformat()}, about=f"to be answered by {answer_by:%-d %B %Y}",
    )  # fmt: skip
    return people


@guarded
def remind_silent(session: Session, *, confirmation: str, by: Staff, now: datetime) -> int:
    """Order a reminder to everybody who has not answered for a week; return how many people. Once a day at most, and nobody gets
    two within a week. The worker writes them. ``confirmation``: the number of people, typed."""
    hold_officer(session, by)
    demand_fresh(by, now)
    before = select(ConsentRound.begun_at).where(
        ConsentRound.kind == "remind", ConsentRound.begun_at > now - BETWEEN_ROUNDS
    )
    if (last := session.scalar(before.limit(1))) is not None:
        raise BadInput(f"Reminders were ordered on {last:%-d %b at %H:%M} UTC already; once a day is enough.")
    open_one = select(ConsentRound.id).where(ConsentRound.kind == "remind", ConsentRound.done_at.is_(None))
    if session.scalar(open_one) is not None:
        raise BadInput("Reminders are being written just now. Look again in a few minutes.")
    people = _demand_counted(session, TO_REMIND, confirmation, now)
    row = {"id": uuid7(), "kind": "remind", "people": people, "begun_at": now, "begun_by": by.id}
    session.execute(insert(ConsentRound).values(row))
    append(session, Action.CONSENT_ROUND, now=now, kind="remind", people=people)
    return people


def numbered(number: int) -> str:
    """Return the number of a case as people say it: ``C-12``."""
    return f"C-{number}"


# For the worker, too.

NO_CONSENT: dict[str, Any] = {"method": None, "entered_at": None, "entered_by": None, "evidence_id": None, "evidence_sha256": None,
                              "verified_at": None, "verified_by": None}  # fmt: skip


def change(
    session: Session, case: Consent, what: str, *, now: datetime, sentence: str = "", to: str | None = None, reason: str = "", **values: Any,
) -> ConsentReceipt:  # fmt: skip
    """Write what a verb or a job changes; the trigger makes it a step of the history. Return its receipt."""
    if to is not None:
        values["state"] = to
    mine = update(Consent).where(Consent.student_id == case.student_id)
    told = {"version": Consent.version + 1, "changed_at": now, "changed_what": what, "changed_reason": reason}
    mine = mine.values(**told, **values)
    session.execute(mine.execution_options(synchronize_session=False))
    session.refresh(case)
    return _receipt(case, sentence)


def let_go(
    session: Session,
    case: Consent,
    guardian: Guardian,
    *,
    by: Staff,
    now: datetime,
    request_id: uuid.UUID | None = None,
) -> ConsentReceipt:
    """End what a case keeps of its guardian: their consent ends, the worker erases their row, a last letter tells them."""
    about = pupil(session, case.student_id, by=by)
    to = "withdrawn" if case.state in ("requested", "given", "verified") else None
    _destroy(session, case, now)
    theirs = update(Outbox).where(
        Outbox.student_id == case.student_id, Outbox.state == "waiting", Outbox.address == guardian.email
    )
    session.execute(theirs.values(state="canceled", address=None).execution_options(synchronize_session=False))
    receipt = change(session, case, "guardian forgotten", reason="by the guardian", to=to, now=now, guardian_id=None, evidence_id=None,
                     requested_at=None, verified_at=None, verified_by=None,
                     sentence="The guardian is forgotten; the worker erases their name and address.")  # fmt: skip
    settle_restriction(session, case, by=by, now=now)
    consent_letters.write(session, about, "guardian forgotten", to=guardian, key=_key(case, "forgotten"), by=by, now=now,
                          request_id=request_id)  # fmt: skip
    append(session, Action.GUARDIAN_FORGOTTEN, now=now, subject_kind="consent", case=numbered(case.number))
    return receipt


def demand_guardian(session: Session, student_id: uuid.UUID, name: str, email: str, *, by: Staff) -> tuple[str, str]:
    """Return name and address of a guardian as they are kept. Raises BadInput for what is neither, or the student's own."""
    return _demand_guardian(pupil(session, student_id, by=by), name, email)


def settle_as_adult(session: Session, case: Consent, *, reason: str, by: Staff | None, now: datetime) -> ConsentReceipt:
    """Keep the yes and no date; forget the guardian's consent and its evidence; whoever was restricted for it is not any more."""
    _destroy(session, case, now)
    receipt = change(session, case, "age declared", reason=reason, now=now, to="not needed" if case.state != "not needed" else None,
                     adult=True, birth_date=None, declared_at=now, guardian_id=None, requested_at=None, **NO_CONSENT,
                     sentence="Recorded as of age. No birth date is kept, and no consent is needed.")  # fmt: skip
    settle_restriction(session, case, by=by, now=now)
    return receipt


def settle_restriction(session: Session, case: Consent, *, by: Staff | None, now: datetime) -> None:
    """Restrict a student as their consent record says, or end that: on both bases of clause 9, and no other."""
    wanted = restricted_for(session, case, now)
    for basis in (MISSING, NOT_DECLARED):
        settle = standings.restrict if basis in wanted else standings.lift_restriction
        settle(session, student_id=case.student_id, basis=basis, by=by, now=now)


def restricted_for(session: Session, case: Consent, now: datetime) -> frozenset[str]:
    """Why a student is restricted under clause 9 at an instant; empty: they are not."""
    now_is = standing(case.birth_date, case.adult, now, in_force(session, now))
    if now_is in (AgeStanding.MINOR, AgeStanding.BELOW) and case.state in WITHOUT_CONSENT:
        return frozenset({MISSING})
    late = case.answer_by is not None and case.answer_by <= now
    return frozenset({NOT_DECLARED}) if now_is is AgeStanding.NOT_DECLARED and late else frozenset()


def destroy_evidence(session: Session, case: Consent, now: datetime) -> None:
    """Destroy the evidence of a case, if there is any."""
    _destroy(session, case, now)


def _begin(session: Session, student_id: uuid.UUID, version: int, by: Staff, what: str) -> Consent | ConsentReceipt:
    """Lock a case for a verb, or return the receipt of a repeated click."""
    hold_officer(session, by)
    case = session.get(Consent, student_id, with_for_update=True, populate_existing=True)
    if case is None:
        raise NotFound(GONE, student_id=student_id)
    _demand_not_own(session, student_id)
    if (case.version, case.changed_by, case.changed_what) == (version + 1, by.id, what):
        return _receipt(case, "That is done already.", again=True)
    if case.version != version:
        raise Stale(f"{numbered(case.number)} was changed since you opened it. Look at it again, then decide.")
    return case


def _demand_move(session: Session, case: Consent, to: str, by: Staff, now: datetime) -> None:
    """The trigger asks the same again; here it gets its sentence."""
    rule = session.get(ConsentMove, (case.state, to, "privacy_officer"))
    if rule is None:
        raise BadInput(f"{numbered(case.number)} is “{case.state}”; from there it does not become “{to}”.")
    if rule.needs_fresh:
        demand_fresh(by, now)
    alone = session.scalar(text("select privacy.single_officer()"))
    if rule.requires_distinct_actor and case.entered_by == by.id and not alone:
        raise Refused("You entered this consent. Another privacy officer verifies or refuses it.")


def _demand_not_own(session: Session, student_id: uuid.UUID) -> None:
    if session.scalar(text("select privacy.is_my_own(:id, null)"), {"id": student_id}):
        raise Refused("This is your own record. Another privacy officer has to decide.")


def _demand_possible(birth_date: date | None, now: datetime) -> None:
    if birth_date is not None and birth_date.year < now.year - OLDEST:
        raise BadInput("That birth date cannot be right. Check the year.")
    if birth_date is not None and birth_date > now.date():
        raise BadInput("That birth date lies in the future.")


def _guardian(
    session: Session, case: Consent, about: consent_letters.Pupil, name: str, email: str, *, by: Staff, now: datetime
) -> Guardian:
    """The guardian who is meant: the known one, or another, who is written down."""
    name, email = clean(name, what="The guardian's name"), clean(email, what="The guardian's e-mail")
    known = session.get(Guardian, case.guardian_id) if case.guardian_id else None
    if not (name or email) and known is not None:
        return known
    name, email = _demand_guardian(about, name, email)
    if known is not None and (known.name, known.email) == (name, email):
        return known
    made = Guardian(id=uuid7(), student_id=case.student_id, name=name, email=email, added_at=now, added_by=by.id)
    session.add(made)
    session.flush()
    return made


def _demand_guardian(about: consent_letters.Pupil, name: str, email: str) -> tuple[str, str]:
    name, email = clean(name, what="The guardian's name"), clean(email, what="The guardian's e-mail")
    if not name or not email:
        raise BadInput("Give the guardian's name and e-mail address.")
    if "@" not in email[1:-1] or " " in email:
        raise BadInput("That is not an e-mail address.")
    if keys.normalized_email(email) == keys.normalized_email(about.email):
        raise BadInput("That is the student's own address. Ask for one of the parent or guardian.")
    return name, email


def _kept(session: Session, case: Consent, evidence: bytes, now: datetime) -> dict[str, Any]:
    made = harmless(evidence)
    artifact_id = artifacts.keep(
        session, kind="evidence", student_id=case.student_id, name="evidence", media_type=made.media_type,
        chunks=[made.content], expires_at=now + timedelta(days=EVIDENCE_DAYS), now=now,
    )  # fmt: skip
    digest = session.scalar(select(Artifact.sha256).where(Artifact.id == artifact_id))
    return {"evidence_id": artifact_id, "evidence_sha256": digest}


def _destroy(session: Session, case: Consent, now: datetime) -> None:
    if case.evidence_id is not None:
        artifacts.destroy(session, case.evidence_id, why="not needed any more", now=now)


def _demand_counted(session: Session, needs: tuple[str, ...], confirmation: str, now: datetime) -> int:
    """Return how many people are written to. Raises BadInput for nobody, and when another number was typed."""
    people = how_many(session, needs, now)
    if not people:
        raise BadInput("There is nobody to write to.")
    if clean_text(confirmation, what="The number", longest=20) != str(people):
        raise BadInput(f"Type the number of people, {people}, to confirm.")
    return people


def how_many(session: Session, needs: tuple[str, ...], now: datetime) -> int:
    """Return how many people are in one of these needs and can be written to (not within a week)."""
    asked = {**case_days(now, in_force(session, now)), "needs": list(needs)}
    return session.scalar(text("select count(*)" + TO_WRITE), asked) or 0


def _key(case: Consent, what: str) -> str:
    return f"consent:{case.student_id}:{case.version}:{what}"


def _minor_sentence(now_is: AgeStanding, state: str) -> str:
    if now_is is AgeStanding.BELOW:
        return "Below the minimum age: the account is closed and erased by the worker."
    if state == "verified":
        return "Recorded. The verified consent stays."
    return "Recorded as a minor. The account is restricted until a guardian's consent is verified."


def _receipt(case: Consent, sentence: str, *, again: bool = False) -> ConsentReceipt:
    return ConsentReceipt(case.student_id, numbered(case.number), case.state, case.version, sentence, again)
