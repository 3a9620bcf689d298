"""A browser's tab without a browser: Streamlit's protobuf over a real websocket, with the real cookie.

It keeps what a browser keeps (elements by their place, the state of widgets, the messages it has cached) and sends what a
browser sends, so that the server does the same work. Everything is awaited: thirty tabs are one process.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

TICKET = '{ticket: "'
KEPT_RUNS = 2  # a browser forgets a cached message after so many runs without it
LONGEST = 60  # seconds: a page that runs in a circle, or answers no more, is a TimeoutError
FAILED = ("could not be loaded", "That did not work", "is not open to you")


@dataclass(frozen=True)
class Run:
    """One run of the script: until its last message, in milliseconds, and what came."""

    milliseconds: float
    messages: int
    size: int
    trouble: str = ""


@dataclass
class Tab:
    """A tab of the dashboard at ``url`` (http://host:port). Times are of the whole click: sent, run, last message here."""

    url: str
    cookie: str = ""
    pages: dict[str, str] = field(default_factory=dict)
    elements: dict[tuple[int, ...], tuple[Element, str]] = field(default_factory=dict)
    _socket: ClientConnection | None = None
    _states: dict[str, WidgetState] = field(default_factory=dict)
    _cached: dict[str, tuple[int, Element]] = field(default_factory=dict)
    _runs: int = 0
    _page: str = ""
    _query: str = ""
    _fresh: dict[tuple[int, ...], tuple[Element, str]] = field(default_factory=dict)

    async def open(self, query: str = "", page: str = "") -> Run:
        """Connect, as a browser does with its cookie and origin, and wait for the first run."""
        address = urlsplit(self.url)
        headers = {"Cookie": self.cookie} if self.cookie else {}
        self._socket = await connect(
            f"ws://{address.netloc}/_stcore/stream", origin=self.url, subprotocols=["streamlit"],  # type: ignore[arg-type, list-item]
            additional_headers=headers, max_size=None, compression=None,
        )  # fmt: skip
        self._query = query
        return await self._run(page_name=page)

    async def close(self) -> None:
        """Close the tab."""
        if self._socket is not None:
            await self._socket.close()

    async def sign_in(self, email: str, password: str) -> Run:
        """Sign in through the form, exchange the ticket for the cookie, and connect again with it."""
        await self.open()
        for label, typed in (("E-mail", email), ("Password", password)):
            self.set(label, typed)
        await self.press("Sign in")
        self.cookie = _exchanged(self.url, self._ticket())
        await self.close()
        self._states.clear()
        return await self.open()

    async def rerun(self) -> Run:
        """Run the page again, nothing changed."""
        return await self._run()

    async def go(self, path: str, query: str = "") -> Run:
        """Open a page from the menu by its path."""
        self._page, self._query, self._states = self.pages[path], query, {}
        return await self._run()

    async def press(self, label: str) -> Run:
        """Press the button with this label (the first of them)."""
        found, fragment = self.find("button", lambda b: label in b.label and not b.disabled)
        return await self._run(WidgetState(id=found.id, trigger_value=True), fragment=fragment)

    async def choose(self, label: str, *options: str) -> Run:
        """Choose options of a select box, of segments or of pills."""
        return await self._run(fragment=self.set(label, *options))

    async def type(self, label: str, text: str) -> Run:
        """Type into a field and leave it."""
        return await self._run(fragment=self.set(label, text))

    def set(self, label: str, *values: str) -> str:
        """Change a widget without running; return the fragment it stands in."""
        found, fragment = self.find(
            "", lambda each: getattr(each, "label", "") == label and bool(getattr(each, "id", ""))
        )
        state = WidgetState(id=found.id)
        if type(found).__name__ == "ButtonGroup":
            state.string_array_value.data.extend(values)
        elif type(found).__name__ == "Checkbox":
            state.bool_value = values[0] == "on"
        else:
            state.string_value = values[0]
        self._states[found.id] = state
        return fragment

    def find(self, kind: str, fits: Callable[[Any], bool]) -> tuple[Any, str]:
        """The first element of a kind ("" for any) that fits, and its fragment. Raises LookupError."""
        for element, fragment in self.elements.values():
            name = element.WhichOneof("type")
            if name and kind in ("", name) and fits(getattr(element, name)):
                return getattr(element, name), fragment
        raise LookupError(f"nothing fits among {len(self.elements)} elements")

    def kinds(self) -> Sequence[str]:
        """What kinds of elements stand on the page."""
        return [str(element.WhichOneof("type")) for element, _ in self.elements.values()]

    def labels(self, kind: str) -> Sequence[str]:
        """The labels of the widgets of a kind that can be used."""
        found = [getattr(e, kind) for e, _ in self.elements.values() if e.WhichOneof("type") == kind]
        return [each.label for each in found if not getattr(each, "disabled", False)]

    def texts(self) -> str:
        """All words of the page: headings, paragraphs, warnings."""
        return "\n".join(getattr(getattr(e, str(e.WhichOneof("type"))), "body", "") for e, _ in self.elements.values())

    async def _run(self, trigger: WidgetState | None = None, *, fragment: str = "", page_name: str = "") -> Run:
        assert self._socket is not None
        message = BackMsg()
        asked = message.rerun_script
        asked.query_string, asked.page_script_hash, asked.page_name = self._query, self._page, page_name
        asked.fragment_id = fragment
        asked.widget_states.widgets.extend([*self._states.values(), *([trigger] if trigger else [])])
        asked.cached_message_hashes.extend(self._cached)
        asked.context_info.timezone, asked.context_info.locale, asked.context_info.url = "UTC", "en", self.url
        start = time.perf_counter()
        await self._socket.send(message.SerializeToString())
        return await self._received(start)

    async def _received(self, start: float) -> Run:
        """Take messages until the run that was asked for has ended; runs that follow by themselves are waited for."""
        assert self._socket is not None
        messages = size = 0
        while True:
            data = await asyncio.wait_for(self._socket.recv(), LONGEST - (time.perf_counter() - start))
            messages, size = messages + 1, size + len(data)
            message = ForwardMsg.FromString(data)  # type: ignore[arg-type]
            kind = message.WhichOneof("type")
            if kind == "script_finished":
                if message.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                    continue
                ended = (time.perf_counter() - start) * 1000
                self._ended(whole=message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY)
                return Run(ended, messages, size, self._trouble(message.script_finished))
            self._take(kind, message)

    def _take(self, kind: str | None, message: ForwardMsg) -> None:
        if kind == "new_session":
            self._fresh, self._page = {}, message.new_session.page_script_hash
        elif kind == "navigation":
            self.pages = {
                page.url_pathname or "": page.page_script_hash
                for page in message.navigation.app_pages
                if not page.is_hidden
            }
            self._page = message.navigation.page_script_hash or self._page
        elif kind == "page_info_changed":
            self._query = message.page_info_changed.query_string
        elif kind == "ref_hash":
            self._fresh[tuple(message.metadata.delta_path)] = (self._cached[message.ref_hash][1], "")
            self._cached[message.ref_hash] = (self._runs, self._cached[message.ref_hash][1])
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            element = message.delta.new_element
            self._fresh[tuple(message.metadata.delta_path)] = (element, message.delta.fragment_id)
            if message.metadata.cacheable:
                self._cached[message.hash] = (self._runs, element)

    def _ended(self, *, whole: bool) -> None:
        self.elements = self._fresh if whole else {**self.elements, **self._fresh}
        self._runs += whole
        self._cached = {key: kept for key, kept in self._cached.items() if self._runs - kept[0] <= KEPT_RUNS}

    def _trouble(self, status: int) -> str:
        failed = [e.exception for e, _ in self.elements.values() if e.WhichOneof("type") == "exception"]
        if status == ForwardMsg.FINISHED_WITH_COMPILE_ERROR or failed:
            return " ".join(["the script failed", *(f"{each.type}: {each.message}" for each in failed)])
        told = self.texts()
        return next((sign for sign in FAILED if sign in told), "")

    def _ticket(self) -> str:
        found, _ = self.find("html", lambda html: TICKET in html.body)
        return str(found.body.split(TICKET, 1)[1].split('"', 1)[0])


def _exchanged(url: str, ticket: str) -> str:
    """The cookie for a single-use ticket, through the same route as a browser."""
    headers = {"Content-Type": "application/json", "Origin": url}
    request = Request(f"{url}/auth/cookie", data=json.dumps({"ticket": ticket}).encode(), headers=headers)
    with urlopen(request, timeout=30) as answer:
        return str(answer.headers["set-cookie"]).split(";", 1)[0]


def query(**filters: str) -> str:
    """An address's query of filters."""
    return "&".join(f"{name}={quote(value)}" for name, value in filters.items())
