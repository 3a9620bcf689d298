"""A start with an unsafe setting is refused."""

import pytest
from streamlit import config

from core.errors import SettingsError
from core.settings import settings
from ui import boot

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


def test_what_a_click_would_import_is_there_before_the_first_session() -> None:
    """plotly fails on a pandas that another thread is still importing: seen at the second click of a fresh process."""
    import subprocess
    import sys

    from core.settings import ROOT

    check = "import sys; from ui import boot; boot._warm_up(); assert {'pandas', 'ui.charts'} <= set(sys.modules)"
    first = "import sys, ui.charts; names = list(sys.modules); assert names.index('pandas') < names.index('plotly.graph_objects')"
    for code in (check, first):
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
