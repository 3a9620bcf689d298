"""Every kind of line in the audit. ``docs/audit.md`` is made from this: ``python -m core audit events``."""

from enum import StrEnum


class Action(StrEnum):
    """Every kind of line: its words, when it is written, and the names of its details. docs/audit.md is made from this."""

    when: str
    details: tuple[str, ...]

    def __new__(cls, words: str, when: str, *details: str) -> "Action":
        """Make a kind of line; ``append`` refuses a detail that is not named here."""
        made = str.__new__(cls, words)
        made._value_ = words
        made.when, made.details = when, details
        return made

    # fmt: off
    SIGNED_IN = "signed in", "Somebody gave the right e-mail and password."
    SIGN_IN_FAILED = "sign-in failed", "Somebody tried to sign in and was not let in.", "reason"
    IDENTITY_CONFIRMED = "identity confirmed", "Somebody proved again who they are, before something dangerous."
    CONFIRMATION_FAILED = "confirmation failed", "Somebody tried to prove again who they are and did not.", "reason"
    SIGNED_OUT = "signed out", "Somebody ended their session."
    SESSION_REFUSED = "session refused", "A tab came back without the cookie of its session; it was signed out."
    REFUSED = ("refused", "Somebody asked for a page, list or action that is not open to them; the action by its name.",
        "what", "role")
    PERSON_VIEWED = ("person viewed",
        "A person's record was opened or their contact shown: once per session, person and purpose in 15 minutes.",
        "purpose")
    COHORT_VIEWED = ("cohort viewed",
        "The learning data of a whole cohort was shown: once per session, cohort and purpose in 15 minutes.",
        "purpose")
    HELP_NOTED = "help noted", "A student was marked as handled until a day, or put back on the list.", "handled_until"
    LIMITS_SET = ("help limits set", "It was set from when on students of a cohort need help.",
        "quiet_days", "behind_modules", "failed_times", "waiting_days", "clicks_percent")
    REVIEW_TAKEN = "review taken", "Somebody took the review of a submission."
    REVIEW_GIVEN_BACK = "review given back", "Somebody gave the review of a submission back."
    LIST_EXPORTED = "list exported", "A list was made into a file with a one-time link.", "what", "rows"
    FILE_OPENED = "file opened", "A one-time link was opened for the first time.", "file"
    FILE_DESTROYED = ("file destroyed",
        "A file that was kept (an export, evidence of a consent) was destroyed: its key, then its bytes.",
        "kind", "why")
    STAFF_ADDED = "staff added", "An account was made.", "role"
    STAFF_DISABLED = "staff disabled", "An account was closed; its sessions ended.", "reason"
    ACCOUNT_END_SET = "account end set", "It was set until when an account signs in, or that it has no end.", "last_day"
    STAFF_ENABLED = "staff enabled", "A closed account was opened again."
    ROLE_CHANGED = "role changed", "An account got another role; its sessions ended.", "before", "after"
    ASSIGNED = "cohort assigned", "The learning data of a cohort was opened to an account.", "cohort"
    ASSIGNMENT_ENDED = "assignment ended", "The learning data of a cohort was closed to an account again.", "last_day"
    STAFF_INVITED = ("staff invited", "An account without a password was made, and a one-time code for it.",
        "role", "alone")
    CODE_MADE = "one-time code made", "A person without a password got a new one-time code."
    CODE_REFUSED = "one-time code refused", "Somebody typed a one-time code that does not work.", "reason"
    CODE_REDEEMED = ("one-time code redeemed", "The owner of a one-time code chose a password; their sessions ended.",
        "kind")
    SECRETS_RESET = ("sign-in reset",
        "An admin took a password (or everything) away, ended the sessions and made a one-time code.",
        "kind", "reason")
    PASSWORD_CHANGED = "password changed", "Somebody changed their own password; their sessions ended."
    CODES_SET_UP = ("one-time codes set up",
        "Somebody set up one-time codes or replaced them; their other sessions ended.")
    CODES_REFUSED = "one-time codes refused", "The first code of a new authenticator was wrong."
    CODES_REMOVED = "one-time codes removed", "Somebody whose role needs none turned one-time codes off."
    SESSION_ENDED = "session ended", "A session was ended by hand, by its owner or an admin."
    GRANT_PROPOSED = ("grant proposed",
        "An admin asked for more rights for somebody: a role, an enabled account, new one-time codes.",
        "kind", "before", "after", "alone")
    GRANT_DECIDED = ("grant decided", "A proposal was approved, declined or withdrawn.",
        "kind", "before", "after", "decision")
    SINGLE_ADMIN_DECLARED = "single-admin mode declared", "The only admin declared that nobody checks grants."
    SINGLE_ADMIN_ENDED = "single-admin mode ended", "The declaration was taken back: grants wait for a second admin."
    RESCUE_USED = ("rescue used",
        "Somebody with the machine and the database owner's secret let a person in from the command line; the line before says whom.",
        "what")
    REVIEW_STARTED = "access review started", "Everybody's rights were listed, to be confirmed or removed.", "rights"
    RIGHT_CONFIRMED = "right confirmed", "Somebody confirmed one right in the access review.", "review_over"
    RIGHT_REMOVED = "right removed", "Somebody removed one right in the access review.", "reason", "review_over"
    VISITOR_OWNED = "visitor owner set", "A visitor was given to somebody, or to nobody.", "owner"
    VISITOR_PLANNED = "visitor next contact set", "The next contact with a visitor was planned, or none.", "on"
    VISITOR_STATUS = "visitor status set", "Somebody said how a visitor stands.", "before", "after"
    VISITOR_CONTACTED = "visitor contact noted", "Somebody noted that a visitor was contacted.", "status"
    PEOPLE_SEARCHED = ("people searched",
        "The search box showed people: how many, never what was typed. Whom it led to is a line of its own.",
        "students", "visitors")
    IMPORTED = "records imported", "Records were brought in.", "source", "rows"
    POLICY_PUBLISHED = "policy published", "A version of the privacy policy was put in force.", "version"
    CHECK_ASKED = "check of promises asked for", "Somebody ordered a run of all checks before its hour."
    PROMISE_ATTESTED = ("promise attested",
        "Somebody vouched for a promise in a place that no program can see; the subject answers for it.",
        "promise", "place", "until")
    ATTESTATION_WITHDRAWN = "attestation withdrawn", "An attestation was taken back.", "promise", "place"
    ALERT_TOLD = ("alert told", "Receivers were told that a promise is broken, or not any more.",
        "promise", "kind", "channel", "became")
    SAMPLE_DRAWN = "sample drawn", "A random sample of closed requests was drawn, by its seed.", "seed", "size"
    INCIDENT_OPENED = ("incident recorded", "A breach of personal data was written down; the 72 hours run.",
        "nature", "place")
    INCIDENT_SCOPED = ("incident scope set", "Somebody said whom an incident concerns.",
        "categories", "processors", "cohorts")
    INCIDENT_COUNTED = "incident counted", "The worker found whom an incident concerns.", "people"
    INCIDENT_DECIDED = ("incident decided", "It was decided whether the authority, or the people, are told.",
        "about", "decision")
    INCIDENT_NOTIFIED = ("authority notified", "Somebody recorded that the authority was notified of an incident.",
        "late")
    INCIDENT_NOTED = ("incident note filed",
        "A note, a processor's report or correspondence was filed with an incident.",
        "kind", "sender")
    INCIDENT_CLOSING = "incident closing asked", "An officer asked to close an incident; another one does it."
    INCIDENT_CLOSED = "incident closed", "A second officer closed an incident."
    POLICY_PROPOSED = ("policy proposed", "A new version of the policy came as a file.",
        "version", "changes", "significant", "sha256")
    POLICY_PUT_UP = "policy put up", "Somebody put a proposed version up for approval.", "version"
    POLICY_DECIDED = ("policy decided", "A proposed version was approved, declined or withdrawn.",
        "version", "decision", "reason")
    REQUEST_FILED = ("request filed", "Somebody here wrote down what a person asked for.",
        "kind", "channel", "requester", "known")
    REQUEST_REPEATED = ("request filed again",
        "The same was asked again while it is open; the words were kept with it.",
        "kind")
    REQUEST_TAKEN = "request taken", "An officer became the owner of a request."
    SUBJECT_LINKED = "subject of a request found", "An officer said who an unknown person is.", "person"
    IDENTITY_ASKED = "identity asked for", "The person was asked to prove who they are; the clock rests."
    IDENTITY_CHECKED = "identity checked", "An officer recorded how identity was checked.", "method", "outcome"
    CLOCK_PAUSED = "clock paused", "The clock of a request rests while identity is checked.", "reason"
    CLOCK_RESUMED = "clock resumed", "The clock of a request runs on.", "reason"
    ANSWER_EXTENDED = ("answer extended", "The answer is due later, once, and the person is told why.",
        "months", "reason")
    NOTE_ADDED = "note added", "A note was kept with a request."
    REQUEST_REFUSED = "request refused", "A request was refused, with reasons.", "reason"
    REQUEST_WITHDRAWN = "request withdrawn", "A request is not wanted any more.", "reason"
    REQUEST_ANSWERED = "request answered", "A request was answered by hand, with evidence.", "outcome"
    RESTRICTED = ("person restricted",
        "A person's data is kept and not used from now on; \"asked\" says whether they asked for it or a rule set it, never which rule.",
        "asked")
    RESTRICTION_LIFTED = "restriction lifted", "A person's data is used again.", "asked", "reason"
    EXPORT_WAITS = ("export waits for judgment",
        "Texts of a file for a person may name somebody else; an officer judges them first.",
        "texts")
    EXPORT_TEXTS_JUDGED = ("export texts judged", "An officer decided about texts that may name somebody else.",
        "decision", "texts")
    EXPORT_BUILT = ("export built",
        "The file that answers a request was made: how many records, how many processors were asked and answered.",
        "rows", "asked", "answered")
    EXPORT_REMADE = "export to be made anew", "An officer let a file be made again."
    EXPORT_HANDED_OUT = "export handed out", "A one-time link to a person's file was made.", "how"
    RESTRICTION_ENDS = ("end of a restriction announced",
        "The letter that tells the person of the end of their restriction was written.",
        "reason")
    CORRECTION_ENTERED = ("correction entered",
        "An officer entered what is to be corrected; nothing changes before another one confirms it.",
        "fields", "reason")
    CORRECTED = "record corrected", "Another officer confirmed a correction; it is in force and passed on.", "fields"
    CORRECTION_RETURNED = "correction returned", "What was entered was sent back; nothing was changed.", "reason"
    RIGHT_ANSWERED = ("right answered",
        "A restriction, an opt-out or an objection is in force, and the person was told.",
        "kind")
    WORDS_ERASED = ("words of unknown people erased",
        "What was written for closed requests of people whom nobody found was erased after its period.",
        "rows")
    ACCOUNT_CLOSED = ("account closed",
        "An account was closed for a deletion (account: false, a visitor has none), and its plan waits for approval.",
        "plan", "account")
    ACCOUNT_REACTIVATED = ("account reactivated", "A closed account was opened again; its deletion is canceled.",
        "reason")
    CLOSING_FOUND = ("closing found",
        "A student closed their account on the platform: a deletion that a rule of the policy approves.",
        "plan")
    LAPSED_CLOSED = ("lapsed account closed",
        "An account whose subscription had ended was closed after its notice: a deletion that a rule of the policy approves.",
        "plan")
    SIGN_OF_LIFE = ("sign of life",
        "A student used the platform during the grace period; the deletion waits for approval again.")
    PLAN_OPENED = "plan opened", "An officer was shown a plan of deletion: once per person and plan.", "plan"
    PLAN_CHANGED = "plan changed", "A plan is not what was shown any more; it goes back to approval.", "plan"
    DELETION_APPROVED = ("deletion approved",
        "An officer approved a plan of deletion; given and needed count the approvals.",
        "plan", "reason", "given", "needed")
    EARLY_ASKED = "early deletion asked for", "The grace period is to be waived, in the student's words.", "plan"
    APPROVAL_GONE = ("approval fell away",
        "At the end of the grace period those who approved may not any more; the deletion waits for approval again.")
    ERASURE_BEGUN = ("erasure begun", "The grace period is over, every guard was asked again; nothing leads back.",
        "plan")
    ERASURE_PROVEN = ("erasure step proven",
        "One place was read back and holds nothing of the person any more; rows count what went.",
        "place", "rows")
    ERASURE_STUCK = ("erasure step failed",
        "A step failed for the fifth time and became somebody's; it is still tried once an hour.",
        "place", "code")
    ERASURE_RETRIED = ("erasure step tried again",
        "An officer took a failed step over and gave it all its attempts again.",
        "place")
    ERASURE_ENDED = "erasure ended", "Every step is proven or not needed; the request is erased.", "steps", "rows"
    BRAKE_ON = ("erasures stopped",
        "Too many people were due at once, or a clock could not be right: nothing is erased until somebody answers.",
        "why", "due")
    BRAKE_ANSWERED = "erasures let go on", "An officer answered what had stopped the eraser.", "why", "due", "reason"
    BRAKE_PASSED = "clocks agree again", "What had stopped the eraser passed by itself.", "why"
    PLAN_SENT_BACK = ("plan sent back",
        "An officer sent a plan back before it was approved; the account is open again and the request begins anew.",
        "reason", "account")
    APPROVAL_TAKEN_BACK = "approval taken back", "An approved deletion waits for approval again.", "reason"
    LETTER_WRITTEN = "letter written", "A letter was put into the outbox by hand.", "kind"
    LETTER_SENT = "letter sent", "A letter left, by mail or by hand; its address is forgotten.", "kind", "how"
    LETTER_FAILED = "letter failed", "The mail server did not take a letter; somebody sends it by hand.", "kind", "code"
    LETTER_CANCELED = "letter canceled", "A letter that waited was taken out of the outbox.", "kind"
    LETTER_RETRIED = ("letter tried again", "Somebody let the mail server try a letter again that it had not taken.",
        "kind")
    BOUNCES_READ = ("bounces read", "Reports of the mail system about letters that came back were read.",
        "bounced", "unknown")
    CAMPAIGN_BEGUN = "notices begun", "A notice to many people was begun.", "kind", "channel", "audience", "about"
    CAMPAIGN_CHANGED = "notices changed", "A notice to many was paused, goes on, or was canceled.", "what"
    CAMPAIGN_SHOWN = "notices shown", "Somebody attested that a notice is shown on the platform.", "people"
    CAMPAIGN_ENDED = ("notices ended", "A notice was sent to everybody it could reach.",
        "people", "sent", "bounced", "not_reached", "unclear")
    CAMPAIGN_REDUCED = "notices reduced", "Who got a notice was erased after its period; the counts stay.", "people"
    WORDING_CHANGED = "wording changed", "A letter's wording got a new version.", "kind", "version"
    STEP_CONFIRMED = ("step elsewhere confirmed",
        "What had to follow at a processor was done: it answered so, or two persons did it by hand.",
        "step", "processor", "how")
    PROCESSOR_WRITTEN = ("processor register changed",
        "An admin wrote another version of what the register says of a processor.",
        "processor", "fields")
    HOLD_PLACED = "hold placed", "A legal hold was placed on a person's data.", "hold", "basis", "scope"
    HOLD_REVIEWED = "hold reviewed", "A legal hold was found to be needed still, and got another day of review.", "hold"
    HOLD_RELEASED = "hold released", "A legal hold was released; what it held goes on.", "hold", "reason"
    MANUAL_TAKEN = "manual step taken", "Somebody took a manual step at a processor over.", "processor", "what"
    MANUAL_ATTESTED = "manual step attested", "Somebody gave evidence of a manual step.", "processor", "what"
    MANUAL_CONFIRMED = "manual step confirmed", "Another person confirmed a manual step.", "processor", "what"
    MANUAL_RETURNED = "manual step returned", "The evidence of a manual step was not enough.", "processor", "what"
    SINGLE_OFFICER = ("single officer declared",
        "The company declared that one officer decides alone, or that this is over.",
        "on")
    AUDIT_BROKEN = ("audit found broken", "A check found the audit not as it was written; guarded actions closed.",
        "line")
    BREAK_PROPOSED = ("audit break put up",
        "Somebody asks a second person to acknowledge a break of the audit, so that guarded actions can open again.",
        "first", "last", "lost", "reason")
    BREAK_ACKNOWLEDGED = ("audit break acknowledged",
        "A second person acknowledged a break of the audit; every later check names it.",
        "first", "last", "lost", "reason")
    AUDIT_SOUND = "audit found sound", "A check found the audit sound after it had been broken; guarded actions open."
    BACKUPS_REMOVED = "backups removed", "Backups whose last day was over were removed.", "backups"
    AUDIT_RESTORED = ("audit restored",
        "The database was restored from a backup: lines that had been signed are lost, and the log goes on from here.",
        "line", "lost")
    LEDGER_REPLAYED = ("ledger replayed",
        "A restored database learned from the erasure ledger what had happened since its backup.",
        "erasures", "erased", "canceled", "sent_back")
    RECORDS_SET_ASIDE = ("records set aside",
        "An import brought records of erased people: refused, or waiting in quarantine.",
        "source", "refused", "waiting")
    QUARANTINE_DECIDED = ("quarantine decided", "An officer let a quarantined record in, or discarded it.",
        "decision", "reason")
    SUPPRESSION_ENDED = ("suppression ended",
        "Entries of the suppression list expired, or quarantined records that nobody decided about.",
        "entries", "records")
    ERASURE_CERTIFIED = "erasure certified", "The certificate of an erasure was issued.", "certificate", "sha256"
    FINDING_JUDGED = "finding judged", "An officer judged a finding of the residue scan.", "verdict"
    AGE_DECLARED = "age declared", "An officer recorded what a student said about their age; never what.", "how"
    # Only a minor needs a consent: these lines name the case, which only privacy officers can open, and no person.
    CONSENT_REQUESTED = "consent requested", "A guardian was asked for consent.", "case"
    CONSENT_ENTERED = ("consent entered",
        "An officer recorded what a guardian decided, and how that came; a yes waits for another officer.",
        "case", "method", "outcome", "evidence")
    EVIDENCE_OPENED = ("evidence of consent opened",
        "An officer made a one-time link to a picture that proves a consent.",
        "case")
    CONSENT_VERIFIED = ("consent verified",
        "Another officer verified a guardian's consent (alone: the only officer did); the evidence was destroyed.",
        "case", "evidence", "alone")
    CONSENT_REFUSED = ("consent refused", "Another officer refused what was entered as a guardian's consent.",
        "case", "reason")
    CONSENT_WITHDRAWN = "consent withdrawn", "A guardian or the student took a consent back.", "case", "who"
    CONSENT_LAPSED = ("consent lapsed",
        "A student came of age: the guardian's consent ended, the student is asked anew.",
        "case")
    BIRTH_DATE_GONE = ("birth date erased",
        "A student who came of age and was asked anew did not answer: that they are of age is kept, and no date.",
        "case")
    CONSENT_ROUND = ("letters to many ordered",
        "An officer ordered letters to everybody who has to answer about age or consent.",
        "kind", "people")
    GUARDIAN_CORRECTED = "guardian corrected", "A guardian's name or address was mended, because they asked.", "case"
    GUARDIAN_FORGOTTEN = ("guardian forgotten",
        "A guardian asked for the erasure of their data: no consent refers to them any more, and the worker erases them.",
        "case")
    GUARDIAN_GONE = "guardian erased", "A guardian whom no consent needs any more was erased.", "case"
    BELOW_AGE = ("below the minimum age",
        "Somebody below the minimum age was found: the account was closed, its erasure approved by rule.",
        "plan")
    RETENTION_RUN = ("retention run",
        "A rule of retention was looked at, and what was past its period went; the row of the run says more.",
        "rule", "rows", "months", "moved_aside", "no_longer_held", "visitors", "other_rows", "files", "told",
        "closed", "renewed", "requests", "certificates", "holds")
    RELEASE_PUBLISHED = ("release published",
        "Anonymized figures of a closed period were published, once and for ever.",
        "family", "period", "method", "cells", "sha256")
    # fmt: on
