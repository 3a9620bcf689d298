"""The dashboard in a process of its own, with somebody inside who answers questions: what each click took and how it is served.

    python -m bench.probe PATH serve --port 8700          what `python -m core serve` does
    python -m bench.probe PATH uvicorn dashboard:app …    what `uvicorn` does
    python -m bench.probe PATH streamlit run …            what `streamlit run` does
    python -m bench.probe PATH stock streamlit run …      the same as Streamlit comes: a collection after each run, nothing frozen, its own
                                                          socket on Python's own event loop, as without ``uvicorn[standard]``

Whoever connects to the Unix socket at PATH is sent one line of JSON.
"""

import gc
import json
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

counts = {"statements": 0, "transactions": 0, "connects": 0, "full_collections": 0, "collecting_ms": 0.0}
statements: list[str] = []
began = [0.0]


def main() -> None:
    """Start the answering thread, then become the server."""
    path, *words = sys.argv[1:]
    _count()
    threading.Thread(target=_answer, args=(path,), daemon=True).start()
    if words[0] == "stock":
        words = _as_it_comes(words[1:])
    if words[0] in ("uvicorn", "streamlit"):
        _run_other(words)
    from core.cli import main as serve

    sys.argv = ["core", *words]
    serve()


def ask(path: Path | str) -> dict[str, Any]:
    """What a running server says: counts so far, options of its sockets, memory in MB, seconds of CPU."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(30)
        line.connect(str(path))
        with line.makefile() as told:
            answer: dict[str, Any] = json.loads(told.read())
    return answer


def _run_other(words: list[str]) -> None:
    sys.argv = words
    if words[0] == "uvicorn":
        from uvicorn.main import main as other
    else:
        from streamlit.web.cli import main as other
    sys.exit(other())


def _as_it_comes(words: list[str]) -> list[str]:
    os.environ["STREAMLIT_RUNNER_POST_SCRIPT_GC"] = "true"
    sys.modules["uvloop"] = None  # type: ignore[assignment]
    gc.freeze = lambda: None
    if "dashboard.py" in " ".join(words):
        from ui import boot

        del boot.REQUIRED["runner.postScriptGC"]
    return words


def _count() -> None:
    @event.listens_for(Engine, "before_cursor_execute")
    def _statement(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        counts["statements"] += 1
        statements.append(" ".join(statement.split())[:160])
        del statements[:-200]

    @event.listens_for(Engine, "begin")
    def _begin(_connection: object) -> None:
        counts["transactions"] += 1

    @event.listens_for(Engine, "connect")
    def _connect(_connection: object, _record: object) -> None:
        counts["connects"] += 1

    def collected(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            began[0] = time.perf_counter()
            counts["full_collections"] += info["generation"] == 2
        else:
            counts["collecting_ms"] += (time.perf_counter() - began[0]) * 1000

    gc.callbacks.append(collected)


def _answer(path: str) -> None:
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        while True:
            line, _ = door.accept()
            with line:
                line.sendall(json.dumps(_told()).encode())


def _told() -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    with Path("/proc/self/statm").open() as memory:
        resident = int(memory.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return {
        **counts,
        "last": statements[-200:],
        "frozen": gc.get_freeze_count(),
        "modules": sorted(name for name in sys.modules if name in ("plotly", "plotly.graph_objects", "pandas")),
        "connections": [{"peer": peer, "no_delay": no_delay} for peer, no_delay in connections()],
        "memory_mb": resident,
        "threads": threading.active_count(),
        "cpu_s": used.ru_utime + used.ru_stime,
    }


def connections() -> Iterator[tuple[int, bool]]:
    """The TCP connections of this process that somebody else opened: the port they come from, and whether Nagle is off."""
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed in between, listening, or no TCP at all
            if entry.readlink().name.startswith("socket:"):
                with socket.socket(fileno=os.dup(int(entry.name))) as kept:
                    peer = kept.getpeername()
                    if kept.family in (socket.AF_INET, socket.AF_INET6) and kept.getsockname()[1] != peer[1]:
                        yield peer[1], bool(kept.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


if __name__ == "__main__":
    main()
