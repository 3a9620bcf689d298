"""The screens of the house, and the way in of a new colleague, through AppTest."""

from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest

from core import db, privacy_actions
from core.settings import ROOT
from tests.admins import act, add_bea, inside, row
from tests.cast import PASSWORD, email_of, id_of
from tests.pages.test_matrix import words
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")

PHRASE = "juniper-lagoon-meadow-77"


def shell(name: str | None = None, page: str = "", **query: str) -> AppTest:
    """The shell, as somebody (None: nobody), with a page open."""
    app = AppTest.from_file(str(ROOT / "ui" / "shell.py"), default_timeout=60)
    if name:
        app.session_state["token"] = inside(name)[0].token
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    return app.switch_page(str(ROOT / "pages" / f"{page}.py")).run() if page else app


def press(app: AppTest, label: str) -> AppTest:
    """Press the last button whose label holds these words."""
    [*_, button] = [each for each in app.button if label in each.label]
    button.click()
    app.run()
    assert not app.exception
    return app


def fill(app: AppTest, **typed: str) -> None:
    """Fill text fields by (the beginning of) their label, with _ for a blank; the last one of a label counts."""
    for label, value in typed.items():
        wanted = label.replace("_", " ").lower()
        fields = [*app.text_input, *app.text_area]
        exact = [f for f in fields if f.label.lower() == wanted]
        [*_, field] = exact or [f for f in fields if f.label.lower().startswith(wanted)]
        field.set_value(value)


def choose(app: AppTest, label: str, value: object) -> None:
    [*_, box] = [each for each in app.selectbox if each.label == label]
    box.set_value(value)


def invited(app: AppTest, role: str) -> str:
    """Invite Nina; the code that is shown."""
    press(app, "Invite a staff member")
    fill(app, name="Nina *New*", **{"e-mail": "nina@staff.example"}, reason="We grow")
    choose(app, "Role", role)
    press(app, "Make the invitation")
    return str(app.code[0].value)


def test_from_the_invitation_to_the_first_screen(owner: Connection) -> None:
    add_bea()
    ada = shell("ada", "staff")
    code = invited(ada, "privacy_officer")
    assert "Nina *New* · nina@staff.example" in [t.value for t in ada.text]
    press(ada, "I have handed it over")
    assert not ada.code, "shown once"
    assert not [b for b in ada.button if b.label == "Review"], "who proposed does not approve"
    new = shell()
    press(new, "I have an invitation")
    fill(new, **{"e-mail": "nina@staff.example"}, code=code)
    press(new, "Go on")
    assert "approval of a second admin" in new.error[0].value

    boss = shell("bea", "staff")
    press(boss, "Review")
    fill(boss, type="Nina *New*")
    press(boss, "Approve")
    assert row("select decision from staff.proposal").decision == "approved"

    press(new, "Go on")
    assert "Welcome" in new.title[0].value
    fill(new, new_password="short", new_password_again="short")
    press(new, "Set password")
    assert "15 to 128" in new.error[0].value
    fill(new, new_password=PHRASE, new_password_again=PHRASE + "!")
    press(new, "Set password")
    assert "differ" in new.error[0].value
    fill(new, new_password=PHRASE, new_password_again=PHRASE)
    press(new, "Set password")
    assert "Your password is set" in new.info[0].value
    fill(new, **{"e-mail": "nina@staff.example"}, password=PHRASE)
    press(new, "Sign in")
    assert new.title[0].value == "Set up one-time codes"
    new.switch_page(str(ROOT / "pages" / "overview.py")).run()
    assert new.title[0].value == "Set up one-time codes", "nothing else opens"
    secret = str(new.code[0].value).replace(" ", "")
    fill(new, new_code="000000")
    press(new, "Turn on")
    assert "does not fit" in new.error[0].value
    fill(new, new_code=pyotp.TOTP(secret).at(now()))
    press(new, "Turn on")
    assert new.title[0].value == "Today"
    seen = [action for (action,) in owner.execute(text("select action from privacy.audit_event order by seq"))]
    assert [a for a in seen if a != "signed in"] == [
        "staff invited", "one-time code refused", "grant decided", "one-time code redeemed", "one-time codes refused", "one-time codes set up",
    ]  # fmt: skip


@pytest.mark.parametrize("what", ["used", "expired", "foreign"])
def test_a_dead_invitation_says_why_and_changes_nothing(what: str) -> None:
    add_bea()
    code = invited(shell("ada", "staff"), "instructor")
    with db.transaction("worker") as session:
        session.execute(text("update staff.proposal set decision = 'approved', decided_at = now()"))
        column = {"used": "used_at = made_at", "expired": "expires_at = made_at", "foreign": "kind = kind"}[what]
        session.execute(text(f"update staff.invitation set {column}"))
    app = shell()
    press(app, "I have an invitation")
    fill(app, **{"e-mail": "other@staff.example" if what == "foreign" else "nina@staff.example"}, code=code)
    press(app, "Go on")
    words_of = {"used": "was used already", "expired": "has expired", "foreign": "does not belong"}
    assert words_of[what] in app.error[0].value
    assert row("select password_hash from staff.staff_member where name = 'Nina *New*'").password_hash is None


def test_disabling_asks_for_reason_and_word() -> None:
    app = shell("ada", "staff_member", id=str(id_of("paula")))
    press(app, "Disable the account")
    fill(app, type="somebody")
    choose(app, "Reason", "long leave")
    press(app, ":material/block: Disable the account]")
    assert "You typed" in app.error[0].value
    assert row("select disabled_at from staff.staff_member where name = 'Paula'").disabled_at is None
    fill(app, type=email_of("paula"))
    press(app, ":material/block: Disable the account]")
    assert row("select disabled_at from staff.staff_member where name = 'Paula'").disabled_at
    assert row("select disabled_at from staff.staff_member where name = 'Ines'").disabled_at is None
    assert "Opening it again is a grant" in words(app)


def test_a_reset_shows_a_code_and_no_secret() -> None:
    app = shell("ada", "staff_member", id=str(id_of("ines")))
    press(app, "Reset password")
    choose(app, "Reason", "password forgotten")
    fill(app, type=email_of("ines"))
    press(app, "Reset the password]")
    assert (
        len(app.code) == 1
        and row("select password_hash from staff.staff_member where name = 'Ines'").password_hash is None
    )
    press(app, "I have handed it over")
    assert "A one-time code waits until" in words(app)


def test_ones_own_account_offers_no_way_to_change_rights() -> None:
    app = shell("ada", "staff_member", id=str(id_of("ada")))
    assert "This is you" in app.info[0].value
    assert not [b.label for b in app.button if any(w in b.label for w in ("Disable", "Reset", "Propose"))]


@pytest.mark.parametrize("wrong", ["", "none", "00000000-0000-0000-0000-000000000000"])
def test_an_address_that_names_no_account(wrong: str) -> None:
    assert "No such account" in words(shell("ada", "staff_member", id=wrong))


def test_the_list_is_filtered_by_role_state_and_search() -> None:
    app = shell("ada", "staff", state="disabled")
    assert list(app.dataframe[0].value["Name"]) == ["Dora"]
    app = shell("ada", "staff", role="Mentor")
    assert list(app.dataframe[0].value["Name"]) == ["Marek"]
    app = shell("ada", "staff")
    [box] = [f for f in app.text_input if f.label == "Search by part of a name or e-mail"]
    box.set_value("INES@")
    app.run()
    assert list(app.dataframe[0].value["Name"]) == ["Ines"]
    assert "INES" not in str(dict(app.query_params))
    [box] = [f for f in app.text_input if f.label == "Search by part of a name or e-mail"]
    box.set_value("nobody at all")
    app.run()
    assert "No account matches" in words(app)


def test_sixty_accounts_are_two_pages() -> None:
    with db.transaction("worker") as session:
        session.execute(text(
            "insert into staff.staff_member (id, email, name, role, created_at) select gen_random_uuid(), 'm' || n || '@x.example',"
            " 'Mass ' || lpad(n::text, 2, '0'), 'auditor', now() from generate_series(1, 60) n"
        ))  # fmt: skip
    app = shell("ada", "staff", role="Auditor")
    first = list(app.dataframe[0].value["Name"])
    press(app, "Next")
    second = list(app.dataframe[0].value["Name"])
    assert len(first) == 50 and len(second) == 11 and not set(first) & set(second)
    press(app, "Previous")
    assert list(app.dataframe[0].value["Name"]) == first


def test_a_cohort_is_assigned_and_ended() -> None:
    app = shell("ada", "assignments")
    assert len(app.dataframe[0].value) == 4
    press(app, "Assign a cohort")
    press(app, "Assign")
    assert "Choose a person" in app.error[0].value
    choose(app, "Person", id_of("ines"))
    choose(app, "Cohort", id_of("cloud"))
    press(app, "Assign")
    assert len(app.dataframe[0].value) == 5
    member = shell("ada", "staff_member", id=str(id_of("marek")))
    press(member, "End at once")
    assert (
        row("select ends_on from staff.assignment where id = :id", id=id_of("marek cloud")).ends_on
        < datetime.now(UTC).date()
    )
    assert row("select count(*) from staff.assignment where ends_on is null").count == 3


def test_the_review_is_started_decided_and_finished() -> None:
    app = shell("ada", "access_review")
    press(app, "Start the access review")
    assert "0 of" in words(app) and "you: another person decides" in words(app)
    item = row(
        "select id from staff.access_review_item where staff_id = :id and assignment_id is null", id=id_of("paula")
    ).id
    app.button(key=f"remove_{item}").click()
    app.run()
    choose(app, "Reason", "left the company")
    fill(app, type=email_of("paula"))
    press(app, "Remove this right]")
    assert row("select disabled_at from staff.staff_member where name = 'Paula'").disabled_at
    for name in ("ada", "omar"):
        app = shell(name, "access_review")
        while buttons := [b for b in app.button if b.label in ("Confirm all", "Confirm")]:
            buttons[0].click()
            app.run()
            assert not app.exception
    assert row("select completed_at from staff.access_review").completed_at
    assert "The last one was finished" in words(shell("ada", "access_review"))


def test_today_tells_of_grants_and_of_the_review() -> None:
    assert "There has been no access review yet" in words(shell("ada"))
    act(privacy_actions.start_access_review, "ada", due_on=now().date())
    act(privacy_actions.propose_role, "ada", staff_id=id_of("ines"), role="mentor", reason="x")
    shown = words(shell("ada"))
    assert "1 grant waits" in shown and "has to be finished today" in shown
    with db.transaction("worker") as session:
        session.execute(text("update staff.access_review set due_on = due_on - 3"))
    assert "overdue by 3 days" in words(shell("ada")) and "overdue by 3 days" in words(shell("omar"))
    assert "access review" not in words(shell("paula"))


def test_the_single_admin_mode_is_declared_and_visible() -> None:
    app = shell("ada", "staff")
    assert "You are the only admin" in words(app)
    press(app, "Declare single-admin mode")
    fill(app, type="single admin", reason="We are two people.")
    press(app, "Declare it]")
    assert "Single-admin mode since" in words(app)
    for name in ("ada", "omar", "aiko"):
        assert "Single-admin mode" in words(shell(name)), name
    with db.transaction("worker") as session:
        session.execute(text("update staff.staff_member set disabled_at = now() where role = 'privacy_officer'"))
    act(privacy_actions.start_access_review, "ada", due_on=now().date())
    review = shell("ada", "access_review")
    assert "you confirm your own rights" in review.warning[0].value and "you: nobody else is there" in words(review)
    mine = row("select id from staff.access_review_item where staff_id = :id", id=id_of("ada")).id
    assert not [b for b in review.button if b.key == f"remove_{mine}"]
    review.button(key=f"confirm_{mine}").click()
    review.run()
    review.segmented_control(key="view").set_value("All").run()
    assert "confirmed by themselves" in words(review)
    assert "the admin confirms their own rights" in words(shell("aiko"))
    app = shell("ada", "staff")
    press(app, "End it")
    assert "Single-admin mode since" not in words(app)


def test_a_password_is_changed_on_my_account() -> None:
    app = shell("paula", "account")
    fill(app, current_password="wrong", new_password=PHRASE, new_password_again=PHRASE)
    press(app, "Change password")
    assert "Check the password" in app.error[0].value
    fill(app, current_password=PASSWORD, new_password="paulapaulapaulapaula", new_password_again="paulapaulapaulapaula")
    press(app, "Change password")
    assert "easy to guess" in app.error[0].value
    fill(app, current_password=PASSWORD, new_password=PHRASE, new_password_again=PHRASE)
    press(app, "Change password")
    assert "Your password is changed" in app.info[0].value
    fill(app, **{"e-mail": email_of("paula")}, password=PHRASE)
    press(app, "Sign in")
    assert app.title[0].value == "My account"


def test_codes_and_sessions_on_my_account() -> None:
    _, other = inside("paula")
    app = shell("paula", "account")
    app.button(key=f"end_{other.session_id}").click()
    app.run()
    assert row("select ended_at from staff.session where id = :id", id=other.session_id).ended_at
    press(app, "Set up one-time codes")
    secret = str(app.code[0].value).replace(" ", "")
    fill(app, new_code=pyotp.TOTP(secret).at(now()))
    press(app, "Turn on")
    assert "Asked for at every sign-in" in words(app) and not app.code
    press(app, "Turn off")
    press(app, ":material/warning: Turn off]")
    assert row("select totp_since from staff.staff_member where name = 'Paula'").totp_since is None


def test_an_old_proof_is_renewed_in_the_set_up() -> None:
    made, staff = inside("paula")
    with db.transaction("worker") as session:
        old = {"id": staff.session_id, "at": staff.started_at - timedelta(minutes=6)}
        session.execute(text("update staff.session set confirmed_at = :at where id = :id"), old)
    app = AppTest.from_file(str(ROOT / "ui" / "shell.py"), default_timeout=60)
    app.session_state["token"] = made.token
    app.run().switch_page(str(ROOT / "pages" / "account.py")).run()
    press(app, "Set up one-time codes")
    code = pyotp.TOTP(str(app.code[0].value).replace(" ", "")).at(now())
    fill(app, new_code=code)
    press(app, "Turn on")
    assert "Your password is needed" in app.error[0].value
    fill(app, new_code=code, your_password=PASSWORD)
    press(app, "Turn on")
    assert row("select totp_since from staff.staff_member where name = 'Paula'").totp_since


@pytest.mark.parametrize("asked", ["auditor", "Auditor"])
def test_a_role_in_the_address_is_taken_by_its_code_or_its_name(asked: str) -> None:
    page = shell("ada", "staff", role=asked)
    assert page.selectbox(key="role").value == "auditor"
    (shown,) = (frame.value for frame in page.dataframe if "Role" in frame.value)
    assert set(shown["Role"]) == {"Auditor"}
    page.selectbox(key="role").select("mentor").run()
    assert page.query_params["role"] in ("mentor", ["mentor"])
    page.selectbox(key="role").select("All roles").run()
    assert "role" not in page.query_params
    assert not page.exception


def test_an_admin_changes_the_end_of_an_account(owner: Connection) -> None:
    app = shell("ada", "staff_member", id=str(id_of("aiko")))
    assert "Ends after" in words(app), "an auditor's account always has an end"
    press(app, "Change the end")
    last = now().date() + timedelta(days=10)
    [field] = [each for each in app.date_input if each.label == "Last day"]
    assert not [box for box in app.checkbox if box.label == "No end"]
    field.set_value(last)
    press(app, "Set the end")
    kept = row("select ends_at from staff.staff_member where name = 'Aiko'").ends_at
    assert kept == datetime.combine(last + timedelta(days=1), datetime.min.time(), UTC)

    app = shell("ada", "staff_member", id=str(id_of("paula")))
    assert "No end" in words(app)
    press(app, "Set the end")
    press(app, "Set the end")
    assert row("select ends_at from staff.staff_member where name = 'Paula'").ends_at is not None
    app = shell("ada", "staff_member", id=str(id_of("paula")))
    press(app, "Change the end")
    [box] = [each for each in app.checkbox if each.label == "No end"]
    box.check()
    press(app, "Set the end")
    assert row("select ends_at from staff.staff_member where name = 'Paula'").ends_at is None
    owner.execute(text("update staff.staff_member set ends_at = now() - interval '1 hour' where name = 'Paula'"))
    owner.commit()
    assert "Ended after" in words(shell("ada", "staff_member", id=str(id_of("paula"))))
    assert list(shell("ada", "staff", state="ended").dataframe[0].value["Name"]) == ["Paula"]
