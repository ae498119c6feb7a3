"""Names for the files of an image: those of its URL, each name once."""

from __future__ import annotations

import base64
import binascii
import itertools
import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from backend.images.urls import is_data_uri, trimmed

_NAMELESS = "image"
_MAX_BYTES = 150  # of a name without its suffix; file systems take 255 with all that is added
# What some file system does not take in a name, and what moves to another folder.
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*\ud800-\udfff]')
# Names of devices on Windows, with every suffix. Superscript digits count as digits there.
_DEVICE = re.compile(
    r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)", re.IGNORECASE
)


class FileNames:
    """Gives names without a suffix, none of them twice on any file system.

    Two files that differ in the suffix alone would share the name of their labels.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def reserve(self, url: str, task_id: int | None) -> str:
        """A name for an image: that of its URL, with the task's number where the name is taken."""
        name = stem(file_name(url))
        second = f"{name}-{task_id or 0}"
        names = itertools.chain([name, second], (f"{second}-{n}" for n in itertools.count(2)))
        wanted = next(name for name in names if _compared(name) not in self._taken)
        self._taken.add(_compared(wanted))
        return wanted


def file_name(url: str) -> str:
    """The name of the file behind a URL of a task, as its owner calls it."""
    if is_data_uri(url):
        return _NAMELESS
    try:
        parts = urlsplit(trimmed(url))
    except ValueError:  # an address that is none
        return _NAMELESS
    query = parse_qs(parts.query)
    path = unquote(parts.path)
    if re.search(r"/data/local-files/?$", path) and "d" in query:
        path = query["d"][0]
    elif re.search(r"/(presign|resolve)/?$", path) and "fileuri" in query:
        path = _path_of_storage(query["fileuri"][0])
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or _NAMELESS


def suffix(name: str) -> str:
    """The suffix of a file name, lower case, with its dot."""
    return PurePosixPath(name).suffix.lower()


def stem(name: str) -> str:
    """A file name without its suffix, as any file system takes it."""
    return safe(PurePosixPath(name).stem)


def safe(text: str) -> str:
    """A text, such as a label, as any file system takes it in the name of a file."""
    clean = _FORBIDDEN.sub("_", text).strip(" .")
    short = clean.encode()[:_MAX_BYTES].decode(errors="ignore").rstrip(" .") or _NAMELESS
    return f"_{short}" if _DEVICE.match(short) else short


def _compared(name: str) -> str:
    """What is equal for names that some file system takes for one name."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _path_of_storage(fileuri: str) -> str:
    """The path of a file in a storage, out of the URL that Label Studio makes of it."""
    try:
        uri = base64.urlsafe_b64decode(fileuri).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return unquote(urlsplit(uri).path)
