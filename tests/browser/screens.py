"""Takes the pictures of docs/screens: every screen, light and dark, at 1440 and 900, with seed records and empty.

make screens
"""

import os
import re
import shutil
import subprocess

from playwright.sync_api import Browser, Page, sync_playwright

from core.settings import ROOT
from tests.browser.conftest import DRAWN, FLAGS, Dashboard, select_row, serving, sign_in
from tests.conftest import open_folder

SCREENS = ROOT / "docs" / "screens"
PATHS = {
    "analytics": ("paula", "/analytics"),
    "analytics-milestones": ("aiko", "/analytics?figure=Progress+milestones"),
    "today-program-staff": ("paula", "/"),
    "today-instructor": ("ines", "/"),
    "progress": ("ines", "/progress"),
    "progress-list": ("ines", "/progress?show=List"),
    "reviews": ("ines", "/reviews"),
    "programs": ("paula", "/programs"),
    "progress-refused": ("ines", "/progress?cohort=WEB-5"),
    "today-privacy-officer": ("omar", "/"),
    "today-admin": ("ada", "/"),
    "today-auditor": ("aiko", "/"),
    "enrollments": ("paula", "/enrollments?period=1+year"),
    "enrollments-admin": ("ada", "/enrollments?period=1+year"),
    "enrollments-hostile": ("paula", "/enrollments?period=All+time&sort=By+name"),
    "enrollments-nothing-found": ("paula", "/enrollments?level=advanced&status=withdrawn&period=30+days"),
    "hand-on": ("paula", "/hand_on"),
    "requests": ("omar", "/requests"),
    "requests-to-approve": ("olga", "/requests?view=to+approve"),
    "request-missing": ("omar", "/request?id=none"),
    "manual-steps": ("omar", "/manual_steps"),
    "processors": ("ada", "/processors"),
    "platform-sync": ("ada", "/platform_sync"),
    "quarantine": ("omar", "/quarantine"),
    "certificates": ("aiko", "/certificates"),
    "retention": ("omar", "/retention"),
    "retention-runs": ("aiko", "/retention?view=runs"),
    "letters": ("omar", "/letters"),
    "letters-delivery": ("omar", "/letters?show=Delivery"),
    "incidents": ("omar", "/incidents"),
    "policy-versions": ("omar", "/policy_versions"),
    "notices": ("omar", "/notices"),
    "letters-wordings": ("omar", "/letters?show=Wordings"),
    "report": ("aiko", "/report"),
    "visitors": ("paula", "/visitors"),
    "visitors-unowned": ("paula", "/visitors?owner=Nobody&sort=Oldest+first"),
    "samples": ("aiko", "/samples"),
    "processing-record": ("aiko", "/processing_record"),
    "policy": ("omar", "/policy"),
    "policy-proof": ("omar", "/policy?promise=SEC-ENCRYPT"),
    "policy-text": ("paula", "/policy"),
    "audit": ("aiko", "/audit?period=All+time"),
    "audit-admin": ("ada", "/audit"),
    "holds": ("omar", "/holds"),
    "consent": ("omar", "/consent"),
    "consent-waiting": ("olga", "/consent?view=waiting"),
    "staff": ("ada", "/staff"),
    "assignments": ("ada", "/assignments"),
    "access-review": ("ada", "/access_review"),
    "account": ("paula", "/account"),
    "refused": ("ines", "/enrollments"),
    "student-missing": ("paula", "/student?id=none"),
}
# What the first row of a list opens: the picture's name, and a heading that says it is there.
OPENED = {
    "enrollments-hostile": ("student", "^Student$"),
    "requests": ("request-overdue", "R-"),
    "requests-to-approve": ("request", "Deletion R-"),
    "certificates": ("certificate", "Certificate of erasure"),
    "incidents": ("incident", "Attendance list"),
}


def main() -> None:
    """Take them all."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    path = (
        os.environ.get("RESOCODE_BROWSER")
        or subprocess.run([ROOT / "bin" / "browser"], capture_output=True, text=True, check=True).stdout.strip()
    )
    folder = open_folder()
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=FLAGS)
        with serving(folder / "full", "--demo", "--seed", "auto") as dashboard:
            dashboard.core("drill")  # so that there is a certificate
            for scheme in ("light", "dark"):
                full(browser, dashboard, scheme)
        with serving(folder / "empty", "--demo") as dashboard:
            tab = tab_of(browser, "light", 1440)
            sign_in(tab, dashboard, "paula", "/")
            shoot(tab, "today-empty-light")
            tab.goto(dashboard.url + "/enrollments")
            shoot(tab, "enrollments-empty-light")
        browser.close()
    shutil.rmtree(folder, ignore_errors=True)


def full(browser: Browser, dashboard: Dashboard, scheme: str) -> None:
    """Every screen with records, in one color scheme."""
    tab = tab_of(browser, scheme, 1440)
    tab.goto(dashboard.url)
    tab.get_by_role("button", name="Sign in").wait_for()
    shoot(tab, f"sign-in-{scheme}")
    for name, (person, path) in PATHS.items():
        tab = tab_of(browser, scheme, 1440)
        sign_in(tab, dashboard, person, path)
        shoot(tab, f"{name}-{scheme}")
        if name in ("enrollments", "today-program-staff"):
            tab.set_viewport_size({"width": 900, "height": 900})
            shoot(tab, f"{name}-{scheme}-900")
        if name in OPENED:
            page, heading = OPENED[name]
            open_first(tab, heading)
            shoot(tab, f"{page}-{scheme}")
            tab.set_viewport_size({"width": 900, "height": 1400})
            shoot(tab, f"{page}-{scheme}-900")
        tab.context.close()


def open_first(tab: Page, heading: str) -> None:
    """Select the first row: a canvas, so by place."""
    tab.get_by_test_id("stDataFrame").last.scroll_into_view_if_needed()
    select_row(tab)
    tab.get_by_role("heading", name=re.compile(heading)).first.wait_for()


def tab_of(browser: Browser, scheme: str, width: int) -> Page:
    """A tab of its own."""
    made = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    return made.new_page()


def shoot(tab: Page, name: str) -> None:
    """Take one picture once the page has come to rest: tables and charts are drawn, and nothing moves any more."""
    tab.mouse.move(0, 0)  # a table under the pointer shows its toolbar
    tab.wait_for_load_state("networkidle")
    tab.wait_for_function(DRAWN)
    before, now = b"", tab.screenshot()
    for _ in range(20):
        before, now = now, (tab.wait_for_timeout(400), tab.screenshot())[1]
        if before == now:
            break
    (SCREENS / f"{name}.png").write_bytes(now)
    print(name)


if __name__ == "__main__":
    main()
