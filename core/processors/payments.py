"""The payment gateway, by Stripe's own library: the customer, their cards, and what bookkeeping keeps of them.

Danger: a customer record outlives the account; one that a parent pays from, or a company, goes with a student; books lose what
the law keeps. Principle: a customer is the student's when it bears their e-mail address; one that only a payment leads to
bears somebody else's, and a person judges it. Charges and invoices stay, because commercial and tax law keep them: why and until
when stands in the plan. Mechanism: customers by e-mail, and by the payments in our records; deleted, then asked for again.
Where Stripe redacts for the account, a redaction job is waited for, which also takes names out of what stays.

Redaction is written from Stripe's documentation and tried against a double only: the API is a preview, and no account of ours
has it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.keys import normalized_email
from core.models.labels import Processor as Named
from core.models.platform import Payment, Student
from core.processors import remote
from core.processors.manual import Manual, by_hand
from core.processors.protocol import (
    Became,
    Capability,
    Change,
    Exported,
    Line,
    Order,
    Outcome,
    Person,
    Preview,
    Proof,
)
from core.processors.remote import Trouble, guarded_call
from core.settings import Stripe as Account
from core.settings import settings

REDACTED_AGAIN = timedelta(hours=6)
PAGE = 100
NOT_TAKEN, NOT_REDACTED = "not taken", "redaction refused"
PREVIEW = "2026-06-24.preview"  # redaction jobs are in a preview of the API, which has to be asked for by name
CORRECTS = {"name": "name", "e-mail": "email"}
SENT = frozenset(
    {
        "email",
        "limit",
        "starting_after",
        "customer",
        "type",
        "name",
        "objects[customers][0]",
        "validation_behavior",
        "expand[0]",
    }
)
"""Every parameter that leaves, as it is named on the wire."""


@dataclass(frozen=True)
class Found:
    """Customers of a person: their own, and those that only a payment leads to, because another address pays."""

    own: tuple[Mapping[str, Any], ...]
    others: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Gateway:
    """The payment gateway of one account."""

    account: Account
    name: str = str(Named.PAYMENTS)
    capabilities: frozenset[Capability] = frozenset(Capability)
    payload: tuple[str, ...] = ("e-mail", "name", "reference")
    remote: bool = True

    def preview(self, session: Session, person: Person, *, now: datetime) -> Preview:
        """Count customers and what hangs on them."""
        try:
            found = self._found(session, person, now)
            charges = sum(len(self._charges(session, each["id"], now)) for each in found.own)
        except Trouble as trouble:
            return Preview((Line("customers", None),), complete=False, problem=trouble.code)
        lines = (Line("customers", len(found.own)), Line("charges, kept by law", charges))
        return Preview(lines if not found.others else (*lines, Line("paid by somebody else", len(found.others))))

    def export(self, session: Session, person: Person, *, now: datetime) -> Exported:
        """Return the person's customer record, cards and charges; of a card what it is known by, never its number."""
        try:
            found = self._found(session, person, now).own
            cards = [card for each in found for card in self._cards(session, each["id"], now)]
            charges = [charge for each in found for charge in self._charges(session, each["id"], now)]
        except Trouble as trouble:
            return Exported({}, complete=False, problem=trouble.code)
        records = {
            "customer": tuple({"name": each.get("name"), "e-mail": each.get("email"), "phone": each.get("phone"),
                               "address": each.get("address"), "since": each.get("created")} for each in found),
            "cards": tuple({"kind": card.get("brand"), "ends with": card.get("last4"), "valid until": f"{card.get('exp_month')}/{card.get('exp_year')}"}
                           for each in cards if (card := each.get("card") or {})),
            "charges": tuple({"charged": each.get("created"), "cents": each.get("amount"), "currency": each.get("currency"),
                              "state": each.get("status")} for each in charges),
        }  # fmt: skip
        return Exported({what: rows for what, rows in records.items() if rows})

    def erase(self, session: Session, order: Order, *, now: datetime) -> Outcome:
        """Delete the person's customers; what another address pays from is for a person to judge."""
        counts: dict[str, int] = {}
        try:
            found = self._found(session, order.person, now)
            for each in found.own:
                kept = len(self._charges(session, each["id"], now))
                if self.account.redaction:
                    self._redact(session, each["id"], now)
                self._delete(session, each["id"], now)
                counts["customers"] = counts.get("customers", 0) + 1
                counts["charges, kept by law"] = counts.get("charges, kept by law", 0) + kept
        except Trouble as trouble:
            return trouble.outcome()
        if found.others:
            asked = Manual(self.name).erase(session, order, now=now)
            return asked if asked.became is Became.WAITING else Outcome(Became.DONE, counts, reference=asked.reference)
        return Outcome(Became.DONE if counts else Became.GONE, counts)

    def verify(self, session: Session, order: Order, *, now: datetime) -> Proof:
        """Ask for the customers again; then whether Stripe has redacted, where it does."""
        try:
            found = self._found(session, order.person, now)
            if found.own:
                return Proof(False, {"customers": len(found.own)})
            waiting = self._unredacted(session, order.person, now) if self.account.redaction else 0
        except Trouble as trouble:
            return trouble.proof()
        if found.others:
            return Manual(self.name).verify(session, order, now=now)
        if waiting:
            return Proof(True, {"to be redacted": waiting}, again_at=now + REDACTED_AGAIN)
        return Proof(True)

    def propagate(self, session: Session, person: Person, change: Change, *, now: datetime) -> Outcome:
        """Correct name and address of the customer, and read back that it has them; another change is made there by a person."""
        if change.what != "correct":
            return by_hand(self.name, session, person, change, now=now)
        values = {CORRECTS[word]: value for word, value in change.fields.items() if word in CORRECTS}
        try:
            found = self._found(session, person, now)
            theirs = found.own or found.others
            if found.others:  # the old address, or somebody else who pays: nobody here can tell
                return by_hand(self.name, session, person, change, now=now)
            for each in theirs:
                self._ask(session, partial(_update, each["id"], values), now, changes=True)
                if not _says(self._customer(session, each["id"], now), values):
                    return Outcome(Became.FAILED, error=NOT_TAKEN)
        except Trouble as trouble:
            return trouble.outcome()
        return Outcome(Became.DONE, {"customers": len(theirs)}) if theirs else Outcome(Became.GONE)

    def _found(self, session: Session, person: Person, now: datetime) -> Found:
        """Customers by the person's address, and by their payments in our records."""
        email = (
            session.scalar(select(Student.email).where(Student.id == person.id)) if person.kind == "student" else None
        )
        if email is None:
            return Found((), ())
        mine = normalized_email(email)
        listed: dict[str, Mapping[str, Any]] = {}
        for address in dict.fromkeys((email, mine)):
            for each in self._all(session, partial(_by_address, address), now):
                listed[str(each["id"])] = each
        payments = select(Payment.gateway_ref).where(Payment.student_id == person.id)
        for customer in sorted({c for each in session.scalars(payments) if (c := self._payer(session, each, now))}):
            if customer not in listed and (known := self._customer(session, customer, now)):
                listed[customer] = known
        alive = [each for each in listed.values() if not each.get("deleted")]
        own = tuple(each for each in alive if normalized_email(str(each.get("email") or "")) == mine)
        return Found(own, tuple(each for each in alive if each not in own))

    def _payer(self, session: Session, reference: str, now: datetime) -> str | None:
        """The customer behind a payment of ours, None when there is none (any more)."""
        if reference.startswith("cus_"):
            return reference
        kind = {"pi": "payment_intents", "ch": "charges", "in": "invoices"}.get(reference.partition("_")[0])
        if kind is None:
            return None
        found = self._maybe(session, lambda api: getattr(api, kind).retrieve(reference), now)
        customer = found.get("customer") if found else None
        return str(customer["id"] if isinstance(customer, Mapping) else customer) if customer else None

    def _customer(self, session: Session, customer: str, now: datetime) -> Mapping[str, Any] | None:
        return self._maybe(session, lambda api: api.customers.retrieve(customer), now)

    def _charges(self, session: Session, customer: str, now: datetime) -> list[Mapping[str, Any]]:
        return list(self._all(session, lambda api, more: api.charges.list({"customer": customer, **more}), now))

    def _cards(self, session: Session, customer: str, now: datetime) -> list[Mapping[str, Any]]:
        return list(self._all(
            session, lambda api, more: api.payment_methods.list({"customer": customer, "type": "card", **more}), now
        ))  # fmt: skip

    def _delete(self, session: Session, customer: str, now: datetime) -> None:
        """Delete one; not to be found is as good."""
        try:
            done = self._ask(session, lambda api: api.customers.delete(customer), now, changes=True)
        except Trouble as trouble:
            if trouble.code != "refused 404":
                raise
            return
        if not done.get("deleted"):
            raise Trouble("error in the answer", unclear=True)

    def _redact(self, session: Session, customer: str, now: datetime) -> None:
        """Ask Stripe to redact, once for each customer, and let a job that was checked run. Raises Trouble when Stripe says it cannot."""
        jobs = [job for job in self._jobs(session, now) if customer in _customers_of(job)]
        if jobs and all(job.get("status") in ("failed", "canceled") for job in jobs):
            raise Trouble(NOT_REDACTED, ours=True)
        if not jobs:
            asked = {"objects[customers][0]": customer, "validation_behavior": "fix"}
            self._raw(session, "post", "/v1/privacy/redaction_jobs", now, asked)
        for job in jobs:
            if job.get("status") == "ready":
                self._raw(session, "post", f"/v1/privacy/redaction_jobs/{job['id']}/run", now, {})

    def _unredacted(self, session: Session, person: Person, now: datetime) -> int:
        """How many customers behind the person's payments are not redacted yet; a job that is ready is started."""
        payments = session.scalars(select(Payment.gateway_ref).where(Payment.student_id == person.id)).all()
        payers = {customer for each in payments if (customer := self._payer(session, each, now))}
        done = {
            each for job in self._jobs(session, now) if job.get("status") == "succeeded" for each in _customers_of(job)
        }
        for customer in payers - done:
            self._redact(session, customer, now)
        return len(payers - done)

    def _jobs(self, session: Session, now: datetime) -> list[Mapping[str, Any]]:
        """Every redaction job, to the last page, with its objects: Stripe leaves those out unless they are asked for."""
        jobs: list[Mapping[str, Any]] = []
        more: dict[str, Any] = {}
        while True:
            page = self._raw(
                session, "get", "/v1/privacy/redaction_jobs", now, {"limit": PAGE, "expand[0]": "data.objects", **more}
            )
            rows = _data(page)
            jobs += rows
            if not page["has_more"]:
                return jobs
            more = {"starting_after": rows[-1]["id"]}

    def _raw(
        self, session: Session, method: str, path: str, now: datetime, values: Mapping[str, Any]
    ) -> Mapping[str, Any]:  # fmt: skip
        def call() -> Mapping[str, Any]:
            client = self._client()
            found = client.raw_request(method, path, stripe_version=PREVIEW, **values)
            return _plain(client.deserialize(found, api_mode="V1"))

        return guarded_call(session, self.name, call, now=now, changes=method == "post", read=_read)

    def _all(
        self, session: Session, ask: Callable[..., Any], now: datetime
    ) -> Iterator[Mapping[str, Any]]:  # fmt: skip
        """Everything of a listing, to its last page."""
        more: dict[str, Any] = {"limit": PAGE}
        while True:
            page = self._ask(session, partial(ask, more=more), now)
            rows = _data(page)
            yield from rows
            if not page["has_more"]:
                return
            more = {"limit": PAGE, "starting_after": rows[-1]["id"]}

    def _maybe(self, session: Session, ask: Callable[[Any], Any], now: datetime) -> Mapping[str, Any] | None:
        """What is there, or None: not to be found is an answer."""
        try:
            return self._ask(session, ask, now)
        except Trouble as trouble:
            if trouble.code != "refused 404":
                raise
            return None

    def _ask(
        self, session: Session, ask: Callable[[Any], Any], now: datetime, *, changes: bool = False
    ) -> Mapping[str, Any]:  # fmt: skip
        def call() -> Mapping[str, Any]:
            found = _plain(ask(self._client().v1))
            if "error" in found:
                raise Trouble("error in the answer", unclear=True)
            return found

        return guarded_call(session, self.name, call, now=now, changes=changes, read=_read)

    def _client(self) -> Any:
        import stripe  # half a second, which a page that only asks whether it is configured does not spend

        stripe.enable_telemetry = False
        http = stripe.RequestsClient(timeout=remote.SECONDS)
        return stripe.StripeClient(
            self.account.key, base_addresses={"api": self.account.api}, http_client=http, max_network_retries=0
        )


def made() -> Gateway | None:
    """The payment gateway, when it is configured."""
    account = settings().stripe
    return Gateway(account) if account else None


def _by_address(address: str, api: Any, more: dict[str, Any]) -> Any:
    return api.customers.list({"email": address, **more})


def _says(customer: Mapping[str, Any] | None, values: Mapping[str, str]) -> bool:
    """Whether a customer is there and has the values: read back, not believed."""
    return customer is not None and all(customer.get(name) == value for name, value in values.items())


def _update(customer: str, values: dict[str, str], api: Any) -> Any:
    return api.customers.update(customer, values)


def _read(error: BaseException) -> Trouble | None:
    """What only this library does: an answer with a good status that it cannot read."""
    status = getattr(error, "http_status", None)
    return Trouble("not understood", unclear=True) if isinstance(status, int) and 200 <= status < 300 else None


def _plain(found: Any) -> Mapping[str, Any]:
    told: Mapping[str, Any] = found.to_dict() if hasattr(found, "to_dict") else dict(found)
    return told


def _data(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows of a page. Raises Trouble when it does not say what it holds, or whether there are more: then nothing is known."""
    rows, more = page.get("data"), page.get("has_more")
    if not isinstance(rows, list) or not isinstance(more, bool) or (more and not rows):
        raise Trouble("not understood")
    return [_plain(each) for each in rows]


def _customers_of(job: Mapping[str, Any]) -> tuple[str, ...]:
    objects = job.get("objects")
    return tuple(map(str, (objects.get("customers") or ()) if isinstance(objects, Mapping) else ()))
