"""A run's folder belongs to one process at a time."""

import os
import platform
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from jaxgnn.host.storage import writable_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

_NAME = ".lock"
# What `jaxgnn.host.storage.write_atomically` leaves behind when its process is killed.
_TEMPORARY = re.compile(r"\..+\.(json|jsonl|npz|png|svg|html|md)\.[a-z0-9_]{8}")
_INSIDE = ("figures", "cells")


class _Holder(NamedTuple):
    """Who in this process has a folder: a thread may come back to its own."""

    thread: int
    file: IO[str]


_HELD: dict[Path, _Holder] = {}  # a lock is the process's, whichever object asks for it


@contextmanager
def occupied(folder: Path) -> Iterator[Path]:
    """A folder that no other process works in, until the context ends or this process dies.

    It is made if need be, and what killed processes left half written in it, in figures/ and in cells/, is removed. The
    same thread may enter it again. On a file system without locks nobody is kept out.

    Raises ValueError, in one sentence, where another process or thread is in it, or it cannot be written to.
    """
    folder = writable_folder(Path(folder))
    key = folder.resolve()
    if (holder := _HELD.get(key)) is not None:
        if holder.thread != threading.get_ident():
            raise ValueError(_refusal(folder, "another thread of this process"))
        yield folder
        return
    file = _locked(folder)
    _HELD[key] = _Holder(threading.get_ident(), file)
    try:
        _sweep(folder)
        yield folder
    finally:
        del _HELD[key]
        # Removed before it is given up: who gets it afterwards notices that the file is another.
        with suppress(OSError):
            (folder / _NAME).unlink(missing_ok=True)
        file.close()


def _locked(folder: Path) -> IO[str]:
    path = folder / _NAME
    while True:
        file = path.open("a+", encoding="utf-8", errors="replace")
        try:
            _lock(file)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            who = file.read(200).strip()
            file.close()
            raise ValueError(_refusal(folder, f"another process ({who})" if who else "another process")) from None
        except OSError:  # a file system without locks
            return file
        with suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()  # the process before removed it in between
    with suppress(OSError):  # a full disk
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
    return file


def _lock(file: IO[str]) -> None:
    if fcntl is not None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        file.seek(2**20)  # beyond what is written: locked bytes cannot be read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)


def _refusal(folder: Path, who: str) -> str:
    return f"{folder} is in use by {who}: wait until it is done, or choose another folder"


def _sweep(folder: Path) -> None:
    for place in (folder, *(folder / name for name in _INSIDE)):
        with suppress(OSError):
            for path in place.iterdir():
                if _TEMPORARY.fullmatch(path.name):
                    path.unlink(missing_ok=True)
