"""The ASGI app: Streamlit behind the gate, with three routes of our own. No data here.

``streamlit run dashboard.py`` and ``uvicorn dashboard:app`` serve the same. The main script is ``ui/shell.py``, because a
folder ``pages/`` beside the main script would be served without any sign-in (docs/adr/0002-shell.md); the assignment
below must stay literal, or Streamlit does not find the app and the gate is silently missing.
"""

import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware

sys.path.insert(0, str(Path(__file__).resolve().parent))

from core import db
from core.errors import AdminError
from ui.boot import open_house
from ui.gate import ROUTES, Gate
from ui.states import script_error


@asynccontextmanager
async def lifespan(_app: object) -> AsyncIterator[dict[str, Any]]:
    """Open the house, and let go of the database at the end."""
    try:
        open_house()
    except AdminError as error:
        logging.getLogger("resocode").critical(error.sentence)
        os._exit(2)
    yield {}
    db.release()


app = st.App(
    Path(__file__).resolve().parent / "ui" / "shell.py",
    lifespan=lifespan,
    routes=ROUTES,
    middleware=[Middleware(Gate)],
    on_script_error=script_error,
)
