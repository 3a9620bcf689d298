"""The privacy desk through AppTest: the queue, one request from the first word to the decision, bad input, two persons."""

import ast
import uuid
from datetime import timedelta
from itertools import product

import pytest
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest

from core import db, privacy_actions, timekeeping
from core.policy import machine
from core.privacy import brakes
from core.privacy_actions import Filed
from core.processors import registry
from core.processors.protocol import Became, Outcome
from core.settings import ROOT
from tests.cast import email_of, id_of
from tests.core.privacy import house_of_consent as consent
from tests.core.privacy import house_of_erasures as erasures
from tests.core.privacy import house_of_requests as desk
from tests.pages.test_matrix import opened
from tests.pages.test_matrix import words as raw_words
from ui import plans
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")
HOSTILE = "**bold** <img src=x onerror=alert(1)> [x](javascript:alert(1)) :material/delete: $x^2$"
DAY = timedelta(days=1)


def words(app: AppTest) -> str:
    """What a page says, as it is read: without the backslashes that keep text from becoming markdown."""
    return raw_words(app).replace("\\", "")


def file(kind: str = "delete", **more: object) -> Filed:
    return desk.file(kind, now=now(), **more)


def request(name: str, filed: Filed) -> AppTest:
    return opened(name, "request", id=str(filed.request_id))


def press(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception
    return app


def menu(app: AppTest, choice: str) -> AppTest:
    app.menu_button(key="more").click(choice).run()
    assert not app.exception
    return app


def confirmed(app: AppTest, number: str, *, reason: str | None = None) -> AppTest:
    """Confirm the danger dialog that is open (the session has just signed in: no password is asked for)."""
    if reason:
        app.selectbox[[box.label for box in app.selectbox].index("Reason")].set_value(reason)
    app.text_input[[box.label.startswith("Type") for box in app.text_input].index(True)].set_value(number)
    next(button for button in app.button if button.label.startswith((":red[", ":material/undo"))
         and button.proto.is_form_submitter).click()  # fmt: skip
    app.run()
    assert not app.exception
    return app


def verified() -> Filed:
    return desk.verified(now=now())


def closed() -> Filed:
    return desk.closed(now=now())


def lines(filed: Filed) -> list[str]:
    return desk.lines(filed.request_id)


# the queue


def test_the_queue_has_what_is_overdue_on_top_and_no_name() -> None:
    first = file("access", received_at=now() - 20 * DAY)
    page = opened("omar", "requests")
    rows = page.dataframe[0].value
    assert list(rows["Request"])[1] == first.number
    assert rows["Time left"][0][0].startswith("overdue")
    assert rows["Month used"][0] > 100
    assert rows["Next action"][1] == "Check the identity"
    shown = words(page)
    assert not any(word in shown for word in ("Asha", "Cleo", "students.example"))


@pytest.mark.parametrize(
    ("view", "numbers"),
    [("open", 3), ("mine", 1), ("to approve", 1), ("waiting for the person", 0), ("closed", 1)],
)
def test_each_segment_shows_its_requests(view: str, numbers: int) -> None:
    closed()
    file("object", student_id=id_of("ben"))
    page = opened("omar", "requests", view=view)
    shown = len(page.dataframe[0].value) if page.dataframe else 0
    assert shown == numbers
    if not numbers:
        assert "No clock rests" in words(page)
        press(page, "show_open")
        assert len(page.dataframe[0].value) == 3


def test_a_kind_nobody_asked_for_says_so_and_can_be_cleared() -> None:
    page = opened("omar", "requests")
    page.selectbox(key="kind").set_value("object").run()
    assert "No request matches" in words(page)
    press(page, "clear_filters")
    assert len(page.dataframe[0].value) == 1


def test_pages_of_fifty_on_and_back() -> None:
    for n in range(52):
        file("access", email=f"somebody{n}@else.example")
    page = opened("omar", "requests")
    assert len(page.dataframe[0].value) == 50
    press(page, "next")
    assert len(page.dataframe[0].value) == 3
    assert "51 to 53 of 53" in words(page)
    press(page, "previous")
    assert len(page.dataframe[0].value) == 50


def test_a_bulk_approval_names_each_bad_one_and_lets_the_rest_through() -> None:
    filed = [desk.closed(now=now(), student_id=id_of(name)) for name in ("asha", "ben", "cleo")]
    for each in filed[:2]:
        desk.act("open_plan", "olga", now=now(), request_id=each.request_id)
    page = opened("olga", "requests", view="to approve")
    page.toggle(key="several").set_value(True).run()
    rows = [desk.row(each.request_id) for each in filed]
    page.session_state["bulk_items"] = [
        (r["id"], r["version"], r["plan_fingerprint"], f"R-{r['number']}") for r in rows
    ]
    page.session_state["danger_open"] = "approve several"
    page.run()
    confirmed(page, "3", reason="plan is right")
    outcome = page.dataframe[0].value
    assert [each[0] for each in outcome["Outcome"]] == ["approved", "approved", "left out"]
    assert outcome["Request"][2] == filed[2].number
    assert "Open the plan first" in outcome["Why"][2]
    assert [desk.row(each.request_id)["state"] for each in filed] == ["waiting", "waiting", "to approve"]


# one request


@pytest.mark.parametrize("wanted", ["", "no-uuid", "00000000-0000-7000-8000-000000000000", "asha"])
def test_unknown_and_somebody_elses_id_give_one_answer(wanted: str) -> None:
    page = opened("omar", "request", id=str(id_of(wanted)) if wanted == "asha" else wanted)
    assert not page.exception
    assert "No such request" in words(page)
    assert "There is no such request, or it is not open to you." in words(page)


def test_the_person_is_hidden_until_revealed_which_is_recorded_once_and_words_stay_text(owner: Connection) -> None:
    filed = file(words=HOSTILE, student_id=id_of("cleo"))
    page = request("omar", filed)
    assert not any(word in words(page) for word in ("Cleo", "students.example", "onerror"))
    press(page, "reveal_here")
    page.run()
    assert "Cleo Example" in words(page) and email_of("cleo") in words(page)
    assert HOSTILE in [each.value for each in page.text]
    assert not any("onerror" in each.value for each in page.markdown)
    views = text("select count(*) from privacy.audit_event where action = 'person viewed' and subject_id = :id")
    assert owner.scalar(views, {"id": id_of("cleo")}) == 1


def test_file_verify_close_reactivate_and_each_page_says_what_is_next() -> None:
    filed = file()
    page = request("omar", filed)
    assert "Next action: yours" in words(page) and "Check the identity" in words(page)
    press(page, "do_identity")
    page.selectbox[0].set_value("known in person")
    page.radio(key="identity_outcome").set_value("It is them")
    press(page, "identity_go")
    assert "Close the account" in words(page) and "identity checked" in words(page)
    press(page, "do_close account")
    confirmed(page, filed.number)
    assert desk.row(filed.request_id)["state"] == "to approve"
    assert "Next action: another officer's" in words(page)
    assert "A second person approves the plan" in words(page)
    press(page, "do_reactivate")
    confirmed(page, filed.number, reason="the student changed their mind")
    assert desk.row(filed.request_id)["state"] == "reactivated"
    assert "Reactivated" in words(page) and "does not change any more" in words(page)


def test_the_second_person_sees_the_plan_only_by_opening_it_and_then_approves() -> None:
    filed = closed()
    page = request("olga", filed)
    assert "waits for you" in str([each.label for each in page.expander])
    assert not page.table and "You have not opened this plan yet" in words(page)
    press(page, "do_plan")
    assert page.table and "Approve the deletion" in words(page)
    press(page, "do_approve deletion")
    confirmed(page, "R-1", reason="plan is right")
    assert "it should be" in words(page)
    assert desk.row(filed.request_id)["state"] == "to approve", "the wrong word"
    confirmed(page, filed.number, reason="plan is right")
    assert desk.row(filed.request_id)["state"] == "waiting"
    assert "Next action: the worker's" in words(page) and "approved by Olga" in words(page)
    assert "deletion approved" in lines(filed)


def test_whoever_closed_sees_why_they_cannot_approve() -> None:
    page = request("omar", closed())
    assert "a second person approves" in words(page)
    assert "do_approve deletion" not in [button.key for button in page.button]


def test_a_decision_on_an_older_picture_is_refused_with_a_sentence_and_nothing_typed_is_lost() -> None:
    filed = file()
    page = request("omar", filed)
    press(page, "do_identity")
    desk.act("take_request", "olga", now=now(), **desk.on(filed))
    page.selectbox[0].set_value("known in person")
    page.radio(key="identity_outcome").set_value("It is them")
    page.text_area[0].set_value("seen at the desk")
    press(page, "identity_go")
    assert "was changed since you opened it" in words(page)
    assert page.text_area[0].value == "seen at the desk"
    assert desk.row(filed.request_id)["state"] == "received"


def test_two_tabs_of_one_officer_do_it_once() -> None:
    filed = file()
    first, second = request("omar", filed), request("omar", filed)
    menu(first, "Take it over")
    menu(second, "Take it over")
    assert "Take it over" not in second.menu_button(key="more").options
    assert lines(filed).count("request taken") == 1


def test_two_officers_at_once_the_second_is_told() -> None:
    filed = file()
    first, second = request("omar", filed), request("olga", filed)
    menu(first, "Take it over")
    menu(second, "Take it over")
    assert "was changed since you opened it" in words(second)
    assert "owner: Omar" in words(second)


@pytest.mark.parametrize(
    ("choice", "key", "sentence"),
    [
        ("Refuse", "refuse", "Choose a reason"),
        ("Record a withdrawal", "withdraw", "Choose a reason"),
        ("Extend the answer", "extend", "Choose a reason"),
        ("Record the identity check", "identity", "Say how the identity was checked"),
        ("Add a note", "note", "Write the note first"),
    ],
)
def test_what_is_missing_is_said_inside_the_dialog(choice: str, key: str, sentence: str) -> None:
    filed = file()
    page = menu(request("omar", filed), choice)
    press(page, f"{key}_go")
    assert sentence in words(page)
    press(page, f"{key}_cancel")
    assert f"{key}_go" not in [button.key for button in page.button]
    assert desk.row(filed.request_id)["version"] == 1


def test_pause_resume_extend_and_refuse_with_letters() -> None:
    filed = file("access")
    page = menu(request("omar", filed), "Ask for proof of identity")
    press(page, "ask_go")
    assert "The clock rests" in words(page) and "Next action: the person's" in words(page)
    menu(page, "Let the clock run on")
    page.selectbox[0].set_value("the person answered")
    press(page, "resume_go")
    menu(page, "Extend the answer")
    page.selectbox[0].set_value("complex")
    press(page, "extend_go")
    assert "extended by 1 month" in words(page)
    assert "Extend the answer" not in page.menu_button(key="more").options
    menu(page, "Refuse")
    page.selectbox[0].set_value("manifestly unfounded")
    page.text_area[0].set_value(HOSTILE)
    press(page, "refuse_go")
    assert desk.row(filed.request_id)["state"] == "refused"
    letters = [each.label for each in page.expander if "waits to be sent" in each.label]
    assert [label.split()[0] for label in letters] == ["Identity", "Extension", "Refusal"]


def test_a_letter_is_written_read_and_marked_as_sent() -> None:
    filed = file()
    page = menu(request("omar", filed), "Write a letter")
    page.text_area[0].set_value("Dear Cleo,\n\n" + HOSTILE)
    press(page, "letter_go")
    assert len(desk.rows("select id from privacy.outbox where request_id = :id", id=filed.request_id)) == 1
    outbox = opened("omar", "letters")
    assert list(outbox.dataframe[0].value["Request"]) == [filed.number]
    assert "Cleo" not in words(outbox), "no letter is shown before it is opened"
    sent = next(button for button in page.button if button.label == "Mark as sent by hand")
    press(page, sent.key)
    assert desk.rows("select state, address from privacy.outbox where request_id = :id", id=filed.request_id) == [
        ("sent", None)
    ]
    assert "No letter waits" in words(opened("omar", "letters"))


def test_an_officers_own_record_is_another_officers() -> None:
    with db.transaction("worker") as session:
        session.execute(text("update platform.student set email = :mail where id = :id"),
                        {"mail": email_of("omar"), "id": id_of("cleo")})  # fmt: skip
    filed = file()
    page = request("omar", filed)
    assert "This is your own record" in words(page)
    assert not page.menu_button
    assert not [button.key for button in page.button if (button.key or "").startswith("do_")]
    assert "works here" in words(page) or "own record" in words(request("omar", filed))
    assert "works here too" in words(request("olga", filed))


def test_an_early_deletion_needs_the_students_words_and_two_persons() -> None:
    filed = closed()
    page = request("omar", filed)
    press(page, "early")
    confirmed(page, filed.number)
    assert "student's own words" in words(page)
    page.text_area[0].set_value("Please do not wait.")
    confirmed(page, filed.number)
    assert desk.row(filed.request_id)["approvals_needed"] == 2
    assert "0 of 2 approvals are given" in words(request("olga", filed))


def test_a_hold_shows_in_the_plan_and_the_way_to_another_one_is_in_the_menu() -> None:
    filed = verified()
    page = request("omar", filed)
    assert "held" not in str(page.table[0].value.to_csv())
    desk.act("place_hold", "olga", now=now(), student_id=id_of("cleo"), basis="court proceedings", reference="C 12",
             review_on=(now() + 90 * DAY).date(), form_key=uuid.uuid4())  # fmt: skip
    page.run()
    assert "held" in str(page.table[0].value.to_csv())
    page = menu(page, "Place a hold")
    assert "Holds" in [each.value for each in page.subheader] and page.radio(key="hold_scope")


def test_what_is_closed_changes_no_more_and_hides_the_person() -> None:
    filed = file("opt_out")
    desk.act("withdraw_request", "omar", now=now(), reason="filed by mistake", **desk.on(filed))
    page = request("omar", filed)
    assert not page.menu_button and "The request is closed" in words(page)
    assert "Cleo" not in words(page)


# handing on


def fill(page: AppTest, *, kind: str = "delete", email: str = "vera@visitors.example", said: str = "") -> AppTest:
    page.selectbox(key="handed_kind").set_value(kind)
    if any(each.key == "handed_how" for each in page.segmented_control):
        page.segmented_control(key="handed_how").set_value("What was said").run()
    page.text_input(key="handed_email").set_value(email)
    page.text_area(key="handed_words").set_value(said)
    return press(page, "hand_on_now")


@pytest.mark.parametrize("name", ["paula", "ines", "marek", "omar", "ada", "aiko"])
def test_anybody_hands_on_a_request_and_learns_number_and_due_date_only(name: str) -> None:
    page = fill(opened(name, "hand_on"), said=HOSTILE)
    shown = words(page)
    assert "R-" in shown and "the answer is due on" in shown
    assert "Vera" not in shown and "onerror" not in shown
    again = opened(name, "hand_on")
    assert len(again.dataframe[0].value) == 1


def test_a_student_is_found_within_ones_rights_only() -> None:
    page = opened("ines", "hand_on")
    page.text_input(key="handed_search_student").set_value("example").run()
    assert list(page.selectbox(key="handed_student").options) == ["Asha Example · a•••••ha@students.example"]
    page.text_input(key="handed_search_student").set_value("Cleo").run()
    assert "No student whom you can see" in words(page)
    assert "A visitor I can see" not in page.segmented_control(key="handed_how").options


def test_a_visitor_is_found_by_those_who_follow_visitors_up() -> None:
    page = opened("paula", "hand_on")
    page.selectbox(key="handed_kind").set_value("delete")
    page.segmented_control(key="handed_how").set_value("A visitor I can see").run()
    page.text_input(key="handed_search_visitor").set_value("vera").run()
    [option] = page.selectbox(key="handed_visitor").options
    assert option.startswith("Vera") and "vera@" not in option, "masked as in the list"
    press(page, "hand_on_now")
    assert "the answer is due on" in words(page)
    assert desk.rows("select visitor_id, student_id from privacy.request where kind = 'delete'") == [
        (id_of("vera"), None)
    ]


def test_a_second_request_names_the_first_one() -> None:
    first = file("delete", email="vera@visitors.example")
    page = fill(opened("paula", "hand_on"))
    assert first.number in words(page) and "open already" in words(page)
    assert len(desk.rows("select id from privacy.request where kind = 'delete'")) == 1


@pytest.mark.parametrize(
    ("kind", "email", "said", "sentence"),
    [
        (None, "a@b.example", "", "Choose what they ask for"),
        ("access", "", "", "Say who asked"),
        ("access", "no address", "", "not an e-mail address"),
        ("access", "a\x00b@c.example", "", "cannot be used"),
        ("access", "a@b.example", "x" * 100_000, "characters long"),
        ("access", "a@b.example", "a\x00b", "cannot be used"),
    ],
)
def test_what_cannot_be_filed_is_a_sentence_and_nothing_is_lost(
    kind: str | None, email: str, said: str, sentence: str
) -> None:
    page = opened("omar", "hand_on")
    page.selectbox(key="handed_kind").set_value(kind)
    page.text_input(key="handed_email").set_value(email)
    page.text_area(key="handed_words").set_value(said)
    press(page, "hand_on_now")
    assert "Nothing was filed" in words(page) and sentence in words(page)
    assert page.text_input(key="handed_email").value == email
    assert page.text_area(key="handed_words").value == said
    assert len(desk.rows("select id from privacy.request where source = 'dashboard'")) == 0


def test_the_same_form_twice_files_once() -> None:
    page = opened("ada", "hand_on")
    key = page.session_state["handed_key"]
    fill(page)
    again = opened("ada", "hand_on")
    again.session_state["handed_key"] = key
    fill(again)
    assert len(desk.rows("select id from privacy.request where source = 'dashboard'")) == 1


# letters and report


def test_a_wording_is_edited_and_a_placeholder_that_is_not_there_is_refused() -> None:
    page = opened("omar", "letters", show="Wordings", wording="refusal")
    page.text_area[0].set_value("Dear {nmae}")
    press(page, "keep_wording")
    assert "cannot be filled in" in words(page)
    page.text_area[0].set_value("Dear {name}, " + HOSTILE)
    press(page, "keep_wording")
    assert "version 1" in words(page)
    assert desk.rows("select version, body from privacy.letter_template") == [(1, "Dear {name}, " + HOSTILE)]


def test_the_yearly_report_is_figures_and_a_page_to_print(owner: Connection) -> None:
    closed()
    page = opened("aiko", "report", year=str(now().year))
    table = page.table[0].value
    assert "All" in str(table.to_csv())
    press(page, "make_page")
    assert owner.scalar(text("select name from staff.file_link")) == f"requests-{now().year}.html"
    assert "No request was received" in words(opened("ada", "report", year=str(now().year - 3)))


def test_a_printed_page_holds_no_markup_of_others() -> None:
    from ui import printing

    made = printing.page("Requests <2026>", HOSTILE, ("Kind",), [("<b>x</b>",)], [], made=now()).decode()
    assert "<img" not in made and "<b>" not in made and "&lt;b&gt;" in made


@pytest.mark.parametrize("name", ["asha", "vera"])
def test_every_table_of_a_plan_has_a_word(name: str) -> None:
    whom = {"student_id": id_of(name)} if name == "asha" else {"visitor_id": id_of(name)}
    filed = desk.verified(now=now(), **whom)
    shown = desk.act("preview_deletion", "omar", now=now(), request_id=filed.request_id)
    assert {row["table"] for row in shown.document["rows"]} <= set(plans.DATA)
    assert plans.lines_of(shown.document)
    assert desk.row(filed.request_id)["plan_fingerprint"] is None, "a preview is not kept"


def test_a_refusal_of_the_function_is_recorded_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The button is not what refuses: an officer who approves what they closed is refused by core."""
    from ui import request_dialogs

    filed = closed()
    page = request("omar", filed)
    desk.act("open_plan", "omar", now=now(), request_id=filed.request_id)
    page.session_state["danger_open"] = request_dialogs.APPROVE
    page.session_state["danger_version"] = desk.row(filed.request_id)["version"]
    page.run()
    confirmed(page, filed.number, reason="plan is right")
    assert "A second person has to approve it" in words(page)
    assert desk.row(filed.request_id)["state"] == "to approve"
    assert "refused" in desk.lines()


def test_nobody_but_officers_gets_the_desk_even_without_the_guard() -> None:
    closed()
    for name in ("paula", "ada", "aiko", "ines"):
        with db.transaction(staff_id=id_of(name)) as session:
            from core import queries

            assert queries.desk_counts(session, now=now()).open == 0
            assert not queries.request_queue(session, queries.QueueFilter(), now=now()).rows
    assert privacy_actions.Receipt


# erasures


def test_a_stuck_erasure_says_what_it_waits_for_and_what_proves_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = erasures.configure(monkeypatch)
    monkeypatch.delitem(registry._makers, "Vercel")
    stores["SMTP"].faults = [Outcome(Became.FAILED, error="503")] * 9
    filed = desk.waiting(now=now() - 2 * DAY, visitor_id=id_of("vera"))
    for hours in (30, 29, 28, 27, 26, 1):
        erasures.work(now() - timedelta(hours=hours))
    app = request("omar", filed)
    labels = " ".join(box.label for box in app.expander).replace("\\", "")
    assert "Waits for the next attempt: the last one failed (SMTP: 503), since" in words(app)
    assert "waits for people who do it by hand at a processor" in labels
    assert "failed 6 times, Omar sees to it" in labels
    assert "Read back: gone" in words(app)
    assert "R-2043 waits for the next attempt" in words(opened("omar", "requests")).replace("**", "")
    assert "1 erasure waiting for somebody" in words(opened("omar", "overview"))
    [step] = [button for button in app.button if button.label == "Try again now: SMTP"]
    press(app, step.key)
    assert lines(filed)[-1] == "erasure step tried again"


def test_an_erasure_that_waits_for_hands_leads_to_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    erasures.configure(monkeypatch)
    monkeypatch.delitem(registry._makers, "Vercel")
    filed = desk.waiting(now=now() - 2 * DAY, visitor_id=id_of("vera"))
    erasures.work(now() - timedelta(hours=1))
    app = request("omar", filed)
    assert "Do the steps by hand" in words(app)
    assert "Do the steps by hand" in words(opened("omar", "requests")), "so says the queue"
    assert app.button(key="see_to_it").label == "Manual steps"
    assert "manual (" not in words(app), "no id of a step among the evidence"


def test_an_erased_request_keeps_its_steps_and_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    erasures.configure(monkeypatch)
    filed = desk.waiting(now=now() - 2 * DAY, visitor_id=id_of("vera"))
    assert erasures.erased(filed.request_id, now() - DAY)
    app = request("olga", filed)
    labels = " ".join(box.label for box in app.expander)
    assert labels.count("proven") == 8 and "Erased in the platform database" in labels
    assert "Contact details: 1" in words(app)
    assert "Open the certificate" in [button.label for button in app.button]
    assert "vera" not in words(app).lower()


def test_what_stopped_the_eraser_is_answered_on_the_desk() -> None:
    with db.transaction("worker") as session:
        brakes._raise(session, "many", "many at once", now(), due=33, people=900)
        brakes._raise(session, "clock", timekeeping.SILENT, now())
    assert "Erasures are stopped" in words(opened("olga", "overview"))
    app = opened("olga", "requests")
    assert "33 people would be erased in one day, of 900" in words(app)
    press(app, "answer_many")
    confirmed(app, "33", reason=brakes.REASONS[0])
    assert "33 people would be erased" not in words(app)
    press(app, "answer_clock")
    confirmed(app, "go on", reason=brakes.REASONS[1])
    assert desk.rows("select count(*) from privacy.brake where answered_at is null") == [(0,)]


# --- correction, restriction, opt-out, objection -------------------------------------------------------------------------


def test_a_correction_goes_from_one_officer_to_another() -> None:
    filed = desk.verified("correct", now=now())
    app = press(request("omar", filed), "do_enter correction")
    assert app.text_input(key="correct_name").value == "Cleo Example"
    app.text_input(key="correct_name").set_value(HOSTILE)
    app.selectbox(key="correction_reason").set_value("changed")
    press(app, "enter_go")
    assert "You entered this correction" in words(app)
    other = press(request("olga", filed), "do_confirm correction")
    assert HOSTILE in str(other.dataframe[0].value.values)
    next(each for each in other.button if each.label == "Confirm the correction").click().run()
    assert not other.exception
    assert desk.rows("select name from platform.student where id = :id", id=id_of("cleo")) == [(HOSTILE,)]
    assert "record corrected" in lines(filed)
    assert "Corrected and passed on" in words(request("omar", filed))


def test_nothing_that_was_typed_for_a_correction_is_lost_when_it_is_refused() -> None:
    filed = desk.verified("correct", now=now())
    app = press(request("omar", filed), "do_enter correction")
    app.text_input(key="correct_email").set_value("ben@students.example")
    press(app, "enter_go")
    assert "Say why it is wrong" in words(app)
    app.selectbox(key="correction_reason").set_value("mistyped")
    press(app, "enter_go")
    assert "Another student has this" in words(app)
    assert app.text_input(key="correct_email").value == "ben@students.example"
    press(app, "enter_cancel")
    assert desk.rows("select count(*) from privacy.correction") == [(0,)]


def test_a_restriction_holds_with_the_click_and_ends_with_a_letter() -> None:
    filed = file("restrict", student_id=id_of("asha"))
    app = press(request("omar", filed), "do_restrict_now")
    assert "Restricted, as the person asked" in words(app)
    seen = opened("ines", "student", id=str(id_of("asha")))
    assert "This record is kept and not used for now" in words(seen)
    assert "1 student is restricted" in words(opened("ines", "progress", cohort="PYTHON-26"))
    assert "1 student is restricted" in words(opened("paula", "enrollments"))
    desk.act("record_identity", "omar", now=now(), method="known in person", confirmed=True, **desk.on(filed))
    app = press(request("omar", filed), "do_answer right")
    press(app, "answer right_go")
    app = press(request("omar", filed), "announce_end")
    app.selectbox(key="lift_reason").set_value("the person asks for it")
    press(app, "announce_go")
    assert "waits to be sent" in words(app)
    letter = desk.rows("select id from privacy.outbox where kind = 'restriction ends'")[0][0]
    desk.act("mark_sent_by_hand", "omar", now=now(), letter_id=letter)
    app = press(request("omar", filed), "lift")
    assert "ended: lifted by Omar" in words(app)
    assert "Restricted" not in words(opened("ines", "student", id=str(id_of("asha"))))


def test_an_objection_is_refused_on_compelling_grounds_and_marketing_stays_off() -> None:
    filed = desk.verified("object", student_id=id_of("asha"), now=now())
    assert "Not ordered by need of help" in words(opened("ines", "student", id=str(id_of("asha"))))
    app = press(request("omar", filed), "do_refuse")
    app.selectbox[[box.label for box in app.selectbox].index("Reason")].set_value("compelling grounds")
    app.text_area[[area.label.startswith("The reason") for area in app.text_area].index(True)].set_value(
        "Safety of others."
    )
    press(app, "refuse_go")
    page = words(request("omar", filed))
    assert "the request was refused" in page
    assert "Wants no marketing mail (came with an objection)" in page
    assert "Not ordered" not in words(opened("ines", "student", id=str(id_of("asha"))))


def test_an_opt_out_is_answered_with_its_own_letter() -> None:
    filed = file("opt_out", visitor_id=id_of("vera"))
    app = press(request("omar", filed), "do_answer right")
    press(app, "answer right_go")
    assert desk.rows("select kind from privacy.outbox where request_id = :id", id=filed.request_id) == [("opted out",)]
    assert "Wants no marketing mail" in words(app)


def every_next_code() -> set[str]:
    """What the machine can say comes next, over all kinds, states and stages."""
    codes = set()
    for kind, state, known, student, export, restricted, entered, seen in product(
        machine.KIND_WORDS, machine.STATE_WORDS, (True, False), (True, False), machine.EXPORT_NEXT, (True, False), (True, False), (True, False)
    ):  # fmt: skip
        who = frozenset({uuid.uuid4()} if entered else ())
        situation = machine.Situation(kind=kind, state=state, known=known, is_student=student, paused=seen, me=None, officer=True,
                                      own_record=False, plan_seen=seen, export=export, restricted=restricted, entered_by=who)  # fmt: skip
        codes.add(machine.next_action(situation).code)
    return codes


def test_the_desk_has_a_word_for_whatever_comes_next() -> None:
    source = ast.parse((ROOT / "pages" / "requests.py").read_text())
    [words] = [
        node.value for node in source.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "NEXT"
    ]
    assert every_next_code() - {"wait for the grace period"} <= set(ast.literal_eval(words))


def test_a_guardian_is_found_corrected_and_erased_on_the_same_page() -> None:
    consent.verified()
    filed = file("correct", email="greta@guardians.example", name="Greta")
    desk.act("link_subject", "omar", email="greta@guardians.example", now=now(), **desk.on(filed))
    desk.act("record_identity", "omar", method="known in person", confirmed=True, now=now(), **desk.on(filed))
    page = request("omar", filed)
    assert not page.exception
    assert "Place a hold" not in str(page.get("menu_button"))
    page = press(press(page, "reveal"), "do_correct guardian")
    assert "Greta Guardian" in [each.value for each in page.text]
    next(box for box in page.text_input if box.label.startswith("Name of the parent")).set_value("Greta *Gardner*")
    next(box for box in page.text_input if box.label.startswith("E-mail of the parent")).set_value("greta@new.example")
    page = press(page, "correct guardian_go")
    assert desk.row(filed.request_id)["outcome"] == "corrected", words(page)
    erased = file("delete", email="greta@new.example", name="Greta")
    desk.act("link_subject", "omar", email="greta@new.example", now=now(), **desk.on(erased))
    desk.act("record_identity", "omar", method="known in person", confirmed=True, now=now(), **desk.on(erased))
    assert "a second person erases" in words(request("omar", erased))
    page = press(request("olga", erased), "do_erase guardian")
    page = confirmed(page, erased.number)
    assert not page.exception
    assert desk.row(erased.request_id)["outcome"] == "erased", words(page)
    assert not opened("omar", "requests").exception
