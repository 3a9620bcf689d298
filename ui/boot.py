"""What has to be true before the dashboard opens: safe settings, a migrated database, a role that can be bound."""

import gc
import importlib
import logging
import threading

from streamlit import config

from core import db, replica
from core.errors import SettingsError
from core.settings import settings

log = logging.getLogger("resocode")
_ASKING = logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context")
REQUIRED = {
    "server.enableXsrfProtection": True,
    "server.enableCORS": True,
    "server.enableStaticServing": False,
    "server.allowRunOnSave": False,
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "client.allowedOrigins": [],
    "browser.gatherUsageStats": False,
    "runner.postScriptGC": False,
}


def open_house() -> None:
    """Check everything, and begin to warm up. Raises AdminError with a sentence for whoever starts the dashboard."""
    global _warming
    _set_up_logs()
    check_config()
    db.prepare_once()
    db.check_role()
    replica.check()
    _warming = threading.Thread(target=_warm_up, name="warming up", daemon=True)
    _warming.start()


def wait_until_warm() -> None:
    """Wait, before the first page behind the sign-in, until everything that pages need is imported."""
    if _warming is not None:
        _warming.join()


_warming: threading.Thread | None = None


def _warm_up() -> None:
    """Import what the first session would import in the middle of a click, and let plotly build its validators once.

    Nobody waits for a second of pandas in order to see the sign-in: the house is open meanwhile. Streamlit imports plotly itself,
    with its own package; what a browser loads of it (2 MB) comes with the first chart.
    """
    gc.disable()
    _ASKING.disabled = (
        True  # the library of the sign-in registers its components as it is imported: outside of a page, as it must be
    )
    try:
        for name in ("ui.signin", "ui.codes", "ui.search", "ui.confirm", "streamlit.dataframe_util"):
            importlib.import_module(name)
        importlib.import_module("ui.charts").draw_something()
        # What was imported until here lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
    except Exception:
        log.exception("warming up failed: pages import what they need themselves")
    finally:
        _ASKING.disabled = False
        gc.enable()


def _set_up_logs() -> None:
    """Our own lines go to standard error; requests are not logged at all: addresses hold ids and filters."""
    ours = logging.getLogger("resocode")
    if not ours.handlers:
        ours.addHandler(logging.StreamHandler())
        ours.handlers[0].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        ours.setLevel(logging.INFO)
        ours.propagate = False
    logging.getLogger("uvicorn.access").disabled = True


def check_config() -> None:
    """Raise SettingsError for the first Streamlit setting that is not as safe as it must be."""
    settings()
    for name, wanted in REQUIRED.items():
        found = config.get_option(name)
        if found != wanted:
            raise SettingsError(
                f"Streamlit's setting {name} must be {wanted!r}, not {found!r}. See .streamlit/config.toml."
            )
