"""New versions of the policy: refused when they are none, different in words, affecting whom, by two people, and never changed."""

import uuid
from dataclasses import fields
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError, ProgrammingError

from core import db, policy
from core.cli import app
from core.errors import AdminError, BadInput, NotFresh, Refused
from core.policy import difference
from core.policy.versions import FIRST_VERSION, Parameters
from core.privacy import proposals, simulation
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import DAY, HOUR, act, closed, file, lines, row, rows, staff

pytestmark = pytest.mark.usefixtures("house")
FIRST: dict[str, Any] = yaml.safe_load(FIRST_VERSION.read_text(encoding="utf-8"))


def document(**more: Any) -> str:
    """A version after the first one, as a file."""
    parameters = FIRST["parameters"] | more.pop("parameters", {})
    made = {
        "version": "2027-01-01",
        "effective_at": date(2027, 1, 1),
        "parameters": parameters,
        "processors": FIRST["processors"],
    }
    return str(yaml.safe_dump(made | more))


SHORTER = {"parameters": {"grace_days": 14, "email_log_days": 60}}


def proposed(**more: Any) -> uuid.UUID:
    """A version that is proposed and simulated."""
    with db.transaction("worker") as session:
        made = proposals.propose_policy(session, content=document(**(more or SHORTER)), now=NOW)
        assert proposals.simulations_due(session, NOW) == [str(made.proposal_id)]
        proposals.run_simulation(session, proposal_id=made.proposal_id, now=NOW)
        assert proposals.simulations_due(session, NOW) == []
    return made.proposal_id


def digest(proposal: uuid.UUID) -> str:
    return str(rows("select sha256 from privacy.policy_proposal where id = :id", id=proposal)[0][0])


def publish(proposal: uuid.UUID, *, first: str = "omar", second: str = "olga") -> Any:
    """Two people say yes."""
    act("put_up_policy", first, proposal_id=proposal)
    return act("approve_policy", second, proposal_id=proposal, sha256=digest(proposal))


def test_a_version_is_published_by_two_people_and_told_to_everybody() -> None:
    before = file("access", now=NOW)
    proposal = proposed()
    made = publish(proposal)
    assert "2027-01-01" in made.sentence and made.campaign_id
    assert rows("select version from privacy.policy_version order by effective_at") == [
        ("2026-04-20",),
        ("2027-01-01",),
    ]
    with db.transaction("worker") as session:
        for at, days in ((NOW, 30), (NOW + 60 * DAY, 14)):
            assert policy.in_force(session, at).grace_days == days, "it holds from its day on, not before"
    assert row(before.request_id)["policy_version"] == "2026-04-20", "what is open stays pinned"
    [(kind, audience, about, body, deadline)] = rows(
        "select kind, audience, about, body, deadline from privacy.campaign"
    )
    assert (kind, audience, about) == ("policy notice", "open accounts", "2027-01-01")
    assert "can be reactivated: 14 days instead of 30" in body and "1 January 2027" in body
    assert "log of mail" not in body, "a shorter log is no worse for anybody: not significant"
    assert f"{deadline:%F}" == "2027-01-01"
    assert [each for each in lines() if each.startswith(("policy", "notices"))] == [
        "policy proposed", "policy put up", "notices begun", "policy decided", "policy published"]  # fmt: skip
    assert act("approve_policy", "olga", proposal_id=proposal, sha256=digest(proposal)).again
    assert rows("select count(*) from privacy.campaign") == [(1,)]


def test_one_person_cannot_publish() -> None:
    proposal = proposed()
    with pytest.raises(BadInput, match="first, then another"):
        act("approve_policy", "omar", proposal_id=proposal, sha256=digest(proposal))
    act("put_up_policy", "omar", proposal_id=proposal)
    assert act("put_up_policy", "omar", proposal_id=proposal).again
    with pytest.raises(Refused, match="another person"):
        act("approve_policy", "omar", proposal_id=proposal, sha256=digest(proposal))
    with pytest.raises(BadInput, match="not the version that you were shown"):
        act("approve_policy", "olga", proposal_id=proposal, sha256="0" * 64)
    with pytest.raises(BadInput, match="is past"):
        act("approve_policy", "olga", proposal_id=proposal, sha256=digest(proposal), now=NOW + 60 * DAY)
    stale = staff("olga", now=NOW - HOUR)
    for verb, more in (("put_up_policy", {}), ("approve_policy", {"sha256": digest(proposal)})):
        with pytest.raises(NotFresh):
            act(verb, stale, proposal_id=proposal, **more)
    for name in ("paula", "ines", "aiko"):
        with pytest.raises(AdminError):
            act("approve_policy", name, proposal_id=proposal, sha256=digest(proposal))
    assert rows("select count(*) from privacy.policy_version") == [(1,)]


def test_the_database_refuses_one_person_when_the_guard_is_off() -> None:
    proposal, omar = proposed(), staff("omar")
    approve = text("select privacy.decide_policy(:id, 'approved', '', :sha, :now)")
    for statement, sentence in (
        (
            text("update privacy.policy_proposal set put_up_by = :me, put_up_at = :now where id = :id"),
            "permission denied",
        ),
        (text("insert into privacy.policy_version values ('x', :now, :now, '{}')"), "permission denied"),
        (approve, "first, then another"),
    ):
        with (
            pytest.raises((ProgrammingError, DatabaseError), match=sentence),
            db.transaction(staff_id=omar.id, session_id=omar.session_id) as session,
        ):
            session.execute(statement, {"id": proposal, "me": omar.id, "now": NOW, "sha": digest(proposal)})
    act("put_up_policy", omar, proposal_id=proposal)
    with (
        pytest.raises(DatabaseError, match="another person"),
        db.transaction(staff_id=omar.id, session_id=omar.session_id) as session,
    ):
        session.execute(approve, {"id": proposal, "now": NOW, "sha": digest(proposal)})


WORDS = "null, null, null, null, '', null, null"
FORGED = (
    "insert into privacy.policy_version select 'x', now() + interval '1 day', now(), document from privacy.policy_version",
    "update privacy.policy_version set document = '{}'", "delete from privacy.policy_version", "truncate privacy.policy_version",
    f"insert into privacy.policy_proposal select gen_random_uuid(), 'x', follows, effective_at, document, sha256, changes, significant, filed_at,"
    f" {WORDS} from privacy.policy_proposal",
    "update privacy.policy_proposal set put_up_by = :me, put_up_at = now()",
    "update privacy.policy_proposal set decision = 'approved', decided_by = :me, decided_at = now()",
    "update privacy.policy_proposal set document = '{}'", "delete from privacy.policy_proposal",
)  # fmt: skip


@pytest.mark.parametrize("role", ["worker", "owner"])
def test_no_role_that_signs_in_publishes_a_version_or_forges_an_approval(role: str) -> None:
    """The guard is off: bare SQL with the passwords of the worker and of the owner of the schema."""
    proposed()
    extra = ("alter table privacy.policy_version disable trigger all", "drop trigger guard on privacy.policy_version",
             "drop trigger approved on privacy.policy_version")  # fmt: skip
    for statement in FORGED if role == "worker" else (*FORGED[:4], *extra):
        with pytest.raises(DatabaseError, match=r"permission denied|must be owner"), db.transaction(role) as session:
            session.execute(text(statement), {"me": id_of("omar")})
    with db.transaction("worker") as session:
        again = text("select privacy.publish_first_policy('x', now(), '{}', now())")
        assert session.scalar(again) is False, "there is a first one"
    assert rows("select version from privacy.policy_version") == [("2026-04-20",)]


@pytest.mark.parametrize(
    ("inserted", "decided"),
    [
        ("p.version, p.effective_at, :now, p.document", ""),
        ("p.version, p.effective_at, :now, p.document", "decided_by = :olga, decision = 'declined'"),
        ("p.version, p.effective_at + interval '1 day', :now, p.document", "decided_by = :olga, decision = 'approved'"),
        ("p.version, p.effective_at, :now, jsonb '{}'", "decided_by = :olga, decision = 'approved'"),
        ("'x', p.effective_at, :now, p.document", "decided_by = :olga, decision = 'approved'"),
    ],
)
def test_whoever_inserts_a_version_needs_the_yes_of_two_people_to_exactly_it(
    inserted: str, decided: str, owner: Connection
) -> None:
    """Even as superuser: what looks for the approval is a trigger at the end of the transaction."""
    proposal = proposed()
    act("put_up_policy", "omar", proposal_id=proposal)
    if decided:
        forged = f"update privacy.policy_proposal set {decided}, decided_at = :now"
        owner.execute(text(forged), {"olga": id_of("olga"), "now": NOW})
    copied = f"insert into privacy.policy_version select {inserted} from privacy.policy_proposal p"
    owner.execute(text(copied), {"now": NOW})
    with pytest.raises(DatabaseError, match="published by two people"):
        owner.commit()
    owner.rollback()


def test_what_is_published_or_proposed_never_changes(owner: Connection) -> None:
    proposal = proposed()
    publish(proposal)
    for statement in (
        "update privacy.policy_version set document = '{}'", "delete from privacy.policy_version where version = '2027-01-01'",
        "update privacy.policy_version set effective_at = now()", "update privacy.policy_proposal set document = '{}'",
        "update privacy.policy_proposal set decided_by = put_up_by", "delete from privacy.policy_proposal",
        "truncate privacy.policy_version cascade",
    ):  # fmt: skip
        with pytest.raises(DatabaseError, match=r"does not change|is kept"):
            owner.execute(text(statement))
        owner.rollback()


def test_what_is_declined_or_withdrawn_can_be_proposed_anew() -> None:
    for verb, by, more in (("decline_policy", "olga", {"reason": "not needed"}), ("withdraw_policy", "omar", {})):
        proposal = proposed()
        act("put_up_policy", "omar", proposal_id=proposal)
        act(verb, by, proposal_id=proposal, **more)
        assert act(verb, by, proposal_id=proposal, **more).again
        with pytest.raises(BadInput, match="decided about already"):
            act("approve_policy", "oskar", proposal_id=proposal, sha256=digest(proposal))
    with pytest.raises(BadInput, match="Choose a reason"):
        act("decline_policy", "olga", proposal_id=proposed(), reason="because")
    assert rows("select count(*) from privacy.policy_version") == [(1,)]


def test_a_version_that_is_not_significant_tells_nobody() -> None:
    made = publish(proposed(parameters={"email_log_days": 60}))
    assert made.campaign_id is None and rows("select count(*) from privacy.campaign") == [(0,)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "has version"), ("a: [", "no YAML"), ("- a", "has version"), ("!!python/object:os.system x", "no YAML"),
        (document(parameters={"grace_days": 0}), "parameters of policy"), (document(parameters={"grace_days": "30"}), "parameters of policy"),
        (document(parameters={"retention": 3}), "parameters of policy"), (document(parameters={"minimum_age": 19}), "above the age of consent"),
        (document(effective_at="2026-01-01"), "effective_at is a day"), (document(version="../x", **SHORTER), "name of a version"),
        (document(version="2026-04-20", **SHORTER), "is published"), (document(), "says the same"), (document(newsletter=True), "does not have newsletter"),
        (document(processors=[{"purpose": "x"}]), "has a name"), (document(processors=[{"name": "X"}, {"name": "X"}]), "names one twice"),
        (document(promises=["x"]), "has a id"), (document(texts=["x"]), "a text for each clause"), (document(significant="no"), "true or false"),
        (document(effective_at=date(2026, 11, 1), **SHORTER), "lies ahead"), ("x" * 500_001, "500,000"),
    ],
)  # fmt: skip
def test_what_is_no_later_version_is_refused_with_the_part_that_is_wrong(content: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence), db.transaction("worker") as session:
        proposals.propose_policy(session, content=content, now=NOW)
    assert rows("select count(*) from privacy.policy_proposal") == [(0,)]


def test_the_same_file_twice_is_one_proposal_and_another_one_by_its_name_is_refused() -> None:
    first = proposed()
    with db.transaction("worker") as session:
        assert proposals.propose_policy(session, content=document(**SHORTER), now=NOW).proposal_id == first
        with pytest.raises(BadInput, match="Another file is proposed"):
            proposals.propose_policy(session, content=document(parameters={"grace_days": 10}), now=NOW)


def test_two_versions_on_top_of_one_are_not_both_published() -> None:
    one, two = (
        proposed(),
        proposed(version="2027-02-01", effective_at=date(2027, 2, 1), parameters={"grace_days": 20}),
    )
    publish(one)
    act("put_up_policy", "omar", proposal_id=two)
    with pytest.raises(BadInput, match="published meanwhile"):
        act("approve_policy", "olga", proposal_id=two, sha256=digest(two))


def test_every_parameter_has_words_a_rule_and_a_simulation() -> None:
    named = {field.name for field in fields(Parameters)} - {"version"}
    assert named <= set(difference.WORDS) and named <= set(simulation.SIMULATIONS)
    assert named <= set(difference._rules()["parameters"])


@pytest.mark.parametrize("name", sorted({field.name for field in fields(Parameters)} - {"version"}))
def test_each_parameter_is_told_and_counted_when_it_changes(name: str) -> None:
    value = FIRST["parameters"].get(name, 30)
    up, down = proposed(parameters={name: value + 1}), None
    [(changes, told)] = rows("select changes, simulation from privacy.policy_proposal where id = :id", id=up)
    assert [change["name"] for change in changes] == [name] and str(value + 1) in changes[0]["after"]
    [effect] = told["affected"]
    assert effect["name"] == name and effect["people"] >= 0 and effect["counted"], down


def test_the_simulation_counts_people_and_rows_and_what_stays_pinned() -> None:
    closed()
    with db.transaction("worker") as session:
        age = text(
            "update privacy.consent set birth_date = :born, adult = null, state = 'missing' where student_id = :id"
        )
        session.execute(age, {"born": NOW.date() - timedelta(days=int(17.5 * 365.25)), "id": id_of("asha")})
    proposal = proposed(parameters={"email_log_days": 120, "consent_age": 17, "group_minimum": 1},
                        processors=[*FIRST["processors"], {"name": "Newsletter Ltd", "purpose": "news"}])  # fmt: skip
    [(told, changes)] = rows("select simulation, changes from privacy.policy_proposal where id = :id", id=proposal)
    found = {each["name"]: (each["people"], each["rows"]) for each in told["affected"]}
    assert found == {"email_log_days": (3, 3), "consent_age": (1, 1), "group_minimum": (3, 3), "Newsletter Ltd": (3, 0)}
    assert (told["pinned_requests"], told["pinned_deletions"], told["accounts"]) == (2, 1, 2)
    assert {change["name"]: change["significant"] for change in changes} == {
        "email_log_days": True, "consent_age": True, "group_minimum": True, "Newsletter Ltd": True}  # fmt: skip


def test_the_rules_of_significance_are_data() -> None:
    old = FIRST | {"promises": [{"id": "X", "text": "We keep X"}, {"id": "Y"}], "texts": {"1": "a", "2": "b"}}
    new = old | {
        "promises": [{"id": "X", "text": "We may keep X"}, {"id": "Z"}],
        "texts": {"1": "a!", "3": "c"},
        "processors": FIRST["processors"][1:],
    }
    told = {(each.what, each.name): each.significant for each in difference.changes(old, new, {})}
    assert told == {("processor", "MongoDB Atlas"): False, ("promise", "X"): True, ("promise", "Y"): True, ("promise", "Z"): False,
                    ("text", "1"): False, ("text", "2"): True, ("text", "3"): False}  # fmt: skip
    assert difference.rule_of("parameters", "unheard of") == "any"


def test_the_command_prints_what_changes(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    new = tmp_path / "new.yaml"
    new.write_text(document(version="2099-01-01", effective_at=date(2099, 1, 1), **SHORTER))
    said = CliRunner().invoke(app, ["policy", "propose", str(new)])
    assert said.exit_code == 0, said.output
    assert "! The time in which a closed account can be reactivated: 14 days instead of 30." in said.output
    assert "significant: everybody is told" in said.output
    new.write_bytes(b"\xff\xfe\xff")
    for wrong in (new, tmp_path / "none.yaml"):
        assert isinstance(CliRunner().invoke(app, ["policy", "propose", str(wrong)]).exception, BadInput)
