"""Locks and files of the home: what only their owner reads, and what the kernel lets go of by itself."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def open_private(path: Path, flags: int = 0) -> int:
    """Open a file that only its owner reads, making it if need be; its descriptor."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
    if os.fstat(handle).st_mode & 0o077:
        os.fchmod(handle, 0o600)
    return handle


def write_private(path: Path, content: str) -> None:
    """Write all of it or nothing: a password that is half on the disk locks everybody out."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock alone, for the length of a block."""
    handle = open_private(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def locked(path: Path) -> bool:
    """Whether somebody holds a lock exclusively."""
    handle = open_private(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def lock_soon(handle: int) -> bool:
    """Lock within a moment: whoever only looks whether it is locked, or is being killed, holds it for less."""
    for _ in range(10):
        if try_exclusive(handle):
            return True
        time.sleep(0.02)
    return False


def try_exclusive(handle: int) -> bool:
    """Take a lock alone, if nobody else holds it at this moment."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
