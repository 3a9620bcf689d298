"""What has to be true before the dashboard opens: safe settings, a migrated database, a role that can be bound."""

import gc

from streamlit import config

from core import db
from core.errors import SettingsError
from core.settings import settings

REQUIRED = {
    "server.enableXsrfProtection": True,
    "server.enableCORS": True,
    "server.enableStaticServing": False,
    "server.allowRunOnSave": False,
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "client.allowedOrigins": [],
    "browser.gatherUsageStats": False,
}


def open_house() -> None:
    """Check everything and warm up. Raises AdminError with a sentence for whoever starts the dashboard."""
    check_config()
    db.prepare()
    db.check_role()
    # What was imported until here lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()


def check_config() -> None:
    """Raise SettingsError for the first Streamlit setting that is not as safe as it must be."""
    settings()
    for name, wanted in REQUIRED.items():
        found = config.get_option(name)
        if found != wanted:
            raise SettingsError(
                f"Streamlit's setting {name} must be {wanted!r}, not {found!r}. See .streamlit/config.toml."
            )
