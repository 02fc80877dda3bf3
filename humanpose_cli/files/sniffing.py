"""Recognition of files by their first bytes, and messages about files that cannot be read."""

from __future__ import annotations

import difflib
import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from humanpose_cli.core.errors import HpcError, InputError, UnavailableError, is_system_fault, shell_word

FileKind = str
"""A phrase for messages, such as 'an image', 'a video', 'text', 'a ZIP archive' or 'an empty file'."""

_HEAD_BYTES = 4096
_MAX_BYTES = 4 << 30

_IMAGE_MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"qoif", b"P5", b"P6"),
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),  # TIFF, JPEG 2000
)
_VIDEO_MAGIC: tuple[bytes, ...] = (
    b"\x1a\x45\xdf\xa3",
    b"FLV\x01",
    b"\0\0\x01\xba",
    b"\0\0\x01\xb3",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
)
_VIDEO_MAGIC += (b"YUV4MPEG2", b"DKIF", b"\x1f\x07\0")  # Y4M, IVF, DV
# A start code and the header of the first unit of H.264 or HEVC: parameters, a delimiter or a message
_VIDEO_MAGIC += tuple(
    start + bytes([header])
    for start in (b"\0\0\1", b"\0\0\0\1")
    for header in (0x67, 0x47, 0x27, 0x09, 0x06, 0x40, 0x46, 0x4E)
)
_MAGIC: dict[FileKind, bytes | tuple[bytes, ...]] = {
    "an image": _IMAGE_MAGIC,
    "a video": _VIDEO_MAGIC,
    "a JPEG XL image": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "a PDF document": b"%PDF",
    "a PostScript document": b"%!PS",
    "a ZIP archive": b"PK\x03\x04",
    "an empty ZIP archive": b"PK\x05\x06",
    "a gzip archive": b"\x1f\x8b",
    "a NumPy array": b"\x93NUMPY",
    "an HDF5 file": b"\x89HDF\r\n\x1a\n",
    "a Python pickle": (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
    "an OpenEXR image": b"v/1\x01",
    "a DPX image": (b"SDPX", b"XPDS"),
    "a glTF file": b"glTF",
    "a Photoshop file": b"8BPS",
    "a Git LFS pointer (git lfs pull fetches the file itself)": b"version https://git-lfs",
}
_OLD_PICKLE = re.compile(  # of protocols 0 and 1, which have no magic number
    rb"\((dp?\d|dq|lp?\d|lq|p0)|[\]})]q|c(numpy|collections|copy_?reg|__builtin__|builtins|torch|joblib)[\w.]*\n\w+\n"
)
_TS_PACKETS = ((0, 188), (4, 192))  # offset and size, without and with times (M2TS); each has a "G" (ISO 13818-1)
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}


def refuse_pipes(path: Path | str) -> None:
    """Raise InputError for devices and pipes, which may have no end or can be read only once.

    Missing and unreadable files pass: opening them raises the error.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        problem = "is a device or a pipe, which can be read only once or has no end"
        raise InputError(path, problem, expected="a file", remedy="save it as a file first")


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn system errors about a file into errors of `reading_error`; refuse pipes and devices at once."""
    refuse_pipes(path)
    try:
        yield
    except OSError as error:
        raise reading_error(path, error) from error


def read_bytes(path: Path | str, limit: int = _MAX_BYTES) -> bytes:
    """Read a file of at most `limit` bytes. Raises InputError for larger ones, and as `reading`."""
    with reading(path), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            expected, got = f"at most {limit >> 20} MiB", f"{size >> 20} MiB"
            raise InputError(path, "is too large", expected=expected, got=got)
        return file.read()


def check_readable(path: Path | str) -> None:
    """Raise InputError if a path does not exist, may not be read, or is a pipe."""
    with reading(path):
        os.stat(path)
        if not os.access(path, os.R_OK):
            raise PermissionError(path)


def file_kind(path: Path | str) -> FileKind:
    """Recognize a file by its first bytes. Raises InputError if it cannot be opened."""
    with reading(path), open(path, "rb") as file:
        return kind_of(file.read(_HEAD_BYTES))


def kind_of(head: bytes) -> FileKind:
    """Recognize the first bytes of a file."""
    if not head:
        return "an empty file"
    if head[:4] == b"RIFF":
        return {b"WEBP": "an image", b"AVI ": "a video"}.get(head[8:12], "a RIFF file")
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in {b"avif", b"avis"}:
            return "an image"
        return "a HEIC image" if brand in _HEIC_BRANDS else "a video"
    if any(head[offset::size][:3] == b"GGG" for offset, size in _TS_PACKETS):
        return "a video"
    for kind, magic in _MAGIC.items():
        if head.startswith(magic):
            return kind
    return "a Python pickle" if _OLD_PICKLE.match(head) else _kind_of_text(head)


def _kind_of_text(head: bytes) -> FileKind:
    if not any(head):
        return "nothing but zero bytes"
    start = head.lstrip()[:64].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in head):
        return "an SVG drawing"
    printable = sum(byte >= 32 or byte in b"\t\r\n\f\b" for byte in head)
    return "text" if b"\0" not in head and printable > 0.95 * len(head) else "data of no known kind"


def reader_of(path: Path | str) -> str:
    """Name the command that reads a file, as a remedy; "" if no command reads it."""
    name = Path(path).name.lower()
    word = shell_word(path)
    kind = file_kind(path)
    if kind in ("an image", "a video"):
        return f"hpc fit {word} makes its fit file, {Path(path).name}.fit.npz"
    if name.endswith(".fit.npz"):
        return f"hpc view {word} shows this fit; hpc refine and hpc export read it too"
    if name.endswith((".npy", ".npz", ".bvh")):
        return f"hpc repose photo.jpg {word} reads it, if it is a pose"
    if name.endswith(".safetensors"):
        return f"`weights={word}` reads it, if it holds the weights of a network"
    if kind == "an HDF5 file":
        return f"hpc cache {word} shows it, if it is part of a dataset cache"
    if kind == "a web page":
        return "save the image or the video itself, not its page"
    if kind == "text" and name.endswith((".txt", ".lst")):
        return f"hpc fit --items {word} reads it, if it is a list of images"
    return ""


def _missing_remedy(name: str, *, search: bool) -> str:
    """Explain why a file is missing, by its name as typed: ~, separators, and by `search` a typing error."""
    if name.startswith("~") and (meant := os.path.expanduser(name)) != name:
        return f"~ is the home folder outside of quotes only: {meant}"
    if os.name != "nt" and "\\" in name:
        drive, _, below = name.replace("\\", "/").rpartition(":")
        mounted = f"/mnt/{drive.lower()}{below}" if drive else below
        return f"\\ does not separate folders here: {mounted}{', if this is WSL' if drive else ''}"
    if "," in name and all(map(os.path.exists, name.split(","))):
        return f"separate files by spaces: {name.replace(',', ' ')}"
    path = Path(name)
    try:
        names = os.listdir(path.parent) if search else []
    except OSError:  # the folder is missing, too
        return f"there is no folder {path.parent}"
    same_case = [each for each in names if each.lower() == path.name.lower()]
    same_stem = [each for each in names if Path(each).stem == path.name]
    close = same_case or same_stem or difflib.get_close_matches(path.name, names, n=1, cutoff=0.85)
    reason = " (upper and lower case differ)" if same_case else ""
    return f"did you mean {path.with_name(close[0])}?{reason}" if close else "check the spelling and the folder"


def reading_error(path: Path | str, error: OSError, *, search: bool = True) -> HpcError:
    """Explain why a file cannot be read: InputError, or UnavailableError if the machine or network mount fails.

    With `search`, similar names in the folder of a missing file are named, which takes long for many files.
    """
    if isinstance(error, FileNotFoundError):
        return InputError(path, "does not exist", remedy=_missing_remedy(str(path), search=search))
    if isinstance(error, IsADirectoryError):
        return InputError(path, "is a folder", expected="a file")
    if error.errno == errno.ENAMETOOLONG:
        return InputError(path, "has too long a name for this file system", remedy="check the list or the arguments")
    if isinstance(error, PermissionError):
        return InputError(path, "may not be read", remedy="change its mode or its owner")
    reason = error.strerror or "it cannot be read"
    if is_system_fault(error) and error.errno not in (errno.EIO, errno.ELOOP, errno.EINVAL):  # faults of one file
        remedy = "check the machine; the same command goes on"
        return UnavailableError(path, "cannot be read", got=reason, remedy=remedy)
    return InputError(path, f"cannot be read ({reason})", remedy="check the disk or network mount")
