"""A start with an unsafe setting is refused."""

import gc
import subprocess
import sys
import threading

import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest

from core.errors import SettingsError
from core.settings import ROOT, settings
from tests.conftest import sign_in
from ui import boot

SHELL = ROOT / "ui" / "shell.py"

UNSAFE = {
    "server.enableXsrfProtection": False,
    "server.enableCORS": False,
    "server.enableStaticServing": True,
    "server.allowRunOnSave": True,
    "client.showErrorDetails": "full",
    "client.toolbarMode": "developer",
    "client.allowedOrigins": ["https://elsewhere.example"],
    "browser.gatherUsageStats": True,
    "runner.postScriptGC": True,
}


def test_every_required_setting_is_tried() -> None:
    assert set(UNSAFE) == set(boot.REQUIRED)


def test_the_settings_of_the_repository_are_safe() -> None:
    boot.check_config()


@pytest.mark.parametrize("name", UNSAFE)
def test_one_unsafe_setting_stops_the_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = config.get_option
    monkeypatch.setattr(config, "get_option", lambda key: UNSAFE[name] if key == name else real(key))
    with pytest.raises(SettingsError, match=name):
        boot.check_config()


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [("DATABASE_URL", "mysql://x", "must begin with postgresql"), ("RESOCODE_HTTPS", "maybe", "must be 1 or 0"), ("RESOCODE_PORT", "http", "port between"),
     ("RESOCODE_PORT", "70000", "port between")],
)  # fmt: skip
def test_a_setting_that_cannot_be_used_is_a_sentence(
    variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=sentence):
        settings()


def test_demo_mode_and_a_server_exclude_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_DEMO", "1")
    monkeypatch.setenv("DATABASE_URL", "postgresql://x@y/z")
    with pytest.raises(SettingsError, match="embedded database only"):
        settings()


def in_a_process_of_its_own(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_what_a_click_would_import_is_there_before_the_first_page() -> None:
    """plotly fails on a pandas that another thread is still importing: seen at the second click of a fresh process."""
    in_a_process_of_its_own(
        "import gc, sys; from ui import boot; boot._warm_up()\n"
        "assert {'pandas', 'ui.charts', 'ui.search'} <= set(sys.modules)\n"
        "assert gc.isenabled() and gc.get_freeze_count() > 100_000"
    )
    in_a_process_of_its_own(
        "import sys, ui.charts; names = list(sys.modules); assert names.index('pandas') < names.index('plotly.graph_objects')"
    )


def test_the_sign_in_needs_nothing_that_is_still_warming_up() -> None:
    in_a_process_of_its_own("import sys, dashboard, ui.shell; assert 'pandas' not in sys.modules")


def test_a_warm_up_that_fails_leaves_a_collector_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boot.importlib, "import_module", lambda name: 1 / 0)
    boot._warm_up()
    assert gc.isenabled()


def test_the_first_page_waits_for_the_warm_up_and_the_sign_in_does_not(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[str] = []
    monkeypatch.setattr(boot, "wait_until_warm", lambda: waited.append("waited"))
    assert not AppTest.from_file(str(SHELL), default_timeout=20).run().exception
    assert not waited
    app = AppTest.from_file(str(SHELL), default_timeout=20)
    app.session_state["token"] = sign_in("paula")[0].token
    assert not app.run().exception
    assert waited


def test_who_waits_goes_on_when_the_warm_up_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    boot.wait_until_warm()  # nothing was begun: tests, and whoever imports the shell alone
    go = threading.Event()
    warming = threading.Thread(target=go.wait)
    warming.start()
    monkeypatch.setattr(boot, "_warming", warming)
    waiting = threading.Thread(target=boot.wait_until_warm)
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    go.set()
    waiting.join(10)
    assert not waiting.is_alive()
