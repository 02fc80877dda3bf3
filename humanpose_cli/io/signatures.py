"""Signatures of the fits that this user wrote: such fits may name frames in any folder.

A signature is a keyed digest of a fit file and of the folders of its frames. The `run.json` of the results has it and
not the fit file, so that equal fits have equal bytes. The key never leaves the user's data folder.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from humanpose_cli.core.errors import HpcError
from humanpose_cli.io.atomic import folder_lock
from humanpose_cli.io.digests import digest_of
from humanpose_cli.io.paths import data_folder
from humanpose_cli.io.text_files import read_json

SIGNATURES = "signatures"
"""The key of `run.json`: signatures by the path of the fit file relative to the folder of `run.json`."""
_KEY_BYTES = 32
_MAX_RECORD = 64 << 20  # bytes of a run.json
_READ_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def user_key(*, make: bool = False) -> bytes | None:
    """Return this user's secret key.

    Args:
        make: Whether to make the key if it is missing or unusable.

    Returns:
        32 bytes. None if there is no key, or if it is not private to this user.
    """
    try:
        path = data_folder() / "key"
        if (key := _read_key(path)) is None and make:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with folder_lock(path.parent):  # processes that start together use one key
                key = _read_key(path) or _made_key(path)
        return key
    except (OSError, HpcError, RuntimeError):  # a read-only home, or none
        return None


def _read_key(path: Path) -> bytes | None:
    with suppress(OSError), open(os.open(path, os.O_RDONLY | _READ_FLAGS), "rb") as file:
        status = os.fstat(file.fileno())
        user = getattr(os, "geteuid", None)  # POSIX alone has it
        is_private = user is None or (status.st_uid == user() and not status.st_mode & 0o077)
        if is_private and stat.S_ISREG(status.st_mode) and status.st_size == _KEY_BYTES:
            return file.read(_KEY_BYTES)
    return None


def _made_key(path: Path) -> bytes:
    key, temporary = secrets.token_bytes(_KEY_BYTES), path.with_name(f".key.{secrets.token_hex(4)}")
    with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return key


def signature(path: Path, folders: Iterable[Path], key: bytes) -> str:
    """Compute the signature of a fit file whose frames lie in these folders, as hexadecimal digits."""
    message = json.dumps([digest_of(path), sorted({str(folder) for folder in folders})])
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()


def is_signed(path: Path, folders: Iterable[Path]) -> bool:
    """Return whether this user's `hpc` wrote a fit file with frames in these folders, which are not touched."""
    if (key := user_key()) is None:
        return False
    fit = Path(os.path.abspath(path))
    for folder in fit.parents:
        name = fit.relative_to(folder).as_posix()
        for record in (folder / "run.json", *sorted(folder.glob("run.*-of-*.json"))):
            found = read_signatures(record).get(name)
            if found is not None and hmac.compare_digest(found, signature(path, folders, key)):
                return True
    return False


def read_signatures(record: Path) -> Mapping[str, str]:
    """Read the signatures in a `run.json`; empty if the file is missing or damaged. They may be forged."""
    try:
        status = record.stat()
    except (OSError, ValueError):
        return {}
    return _signatures(record, status.st_mtime_ns) if status.st_size <= _MAX_RECORD else {}


@lru_cache(maxsize=8)  # a folder of fits has one record
def _signatures(record: Path, _: int) -> Mapping[str, str]:
    try:
        document = read_json(record)
    except HpcError:
        return {}
    found = document.get(SIGNATURES) if isinstance(document, dict) else None
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str) and value.isascii()}
