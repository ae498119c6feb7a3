"""The checkpoint file: which one, from where, and is it what it claims to be.

The published mobile_sam.pt is preferred. Where it is not available, the built-in checkpoint stands
in: smaller, trained by ``training/``, for trying out and for tests.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from model.files import write_atomically

PUBLISHED_URL = (
    "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/"
    "f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/mobile_sam.pt"
)
PUBLISHED_SHA256 = "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f"
PUBLISHED_NAME = "mobile_sam.pt"
BUILTIN_PATH = Path(__file__).resolve().with_name("mobile_sam_builtin.safetensors")
BUILTIN_VERSION = "mobile-sam-builtin"
DEFAULT_MODEL_DIR = Path("~/.cache/mobile-sam")  # for `expanded`: a user may have no home folder

_CONNECT_TIMEOUT_S = 5.0
_READ_TIMEOUT_S = 30.0

logger = logging.getLogger(__name__)


def expanded(path: Path) -> Path:
    """A path with ``~`` replaced by the home folder.

    Raises:
        ValueError: the path needs the home folder, and this user has none.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} does not exist: this user has no home folder") from error


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file that exists.

    Attributes:
        path: where it lies.
        fingerprint: SHA-256 of its content, hexadecimal. Embeddings of different fingerprints
            never mix.
        model_version: what Label Studio shows: ``mobile-sam`` for the published file,
            ``mobile-sam-builtin`` for the built-in one, ``mobile-sam-<fingerprint>`` for others.
    """

    path: Path
    fingerprint: str
    model_version: str

    @property
    def is_builtin(self) -> bool:
        """Whether this is the small stand-in and not MobileSAM's own weights."""
        return self.path == BUILTIN_PATH


def identify(path: Path) -> Checkpoint:
    """Fingerprint a checkpoint file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint file {path}")
    fingerprint = _sha256(path)
    if fingerprint == PUBLISHED_SHA256:
        version = "mobile-sam"
    elif path == BUILTIN_PATH:
        version = BUILTIN_VERSION
    else:
        version = f"mobile-sam-{fingerprint[:8]}"
    return Checkpoint(path, fingerprint, version)


def builtin_remedy(model_dir: Path) -> str:
    """What to do about the built-in checkpoint, where it serves.

    Args:
        model_dir: where the published checkpoint is looked for.
    """
    return (
        f"good for trying out only: put {PUBLISHED_NAME} into {model_dir}, or set"
        " MOBILESAM_CHECKPOINT to its path"
    )


def find(checkpoint: Path | None, model_dir: Path) -> Checkpoint:
    """Choose the checkpoint, without touching the network.

    Args:
        checkpoint: the one that was asked for; it or nothing.
        model_dir: where :func:`download` puts the published one. Without one there, the built-in
            checkpoint is chosen.

    Raises:
        FileNotFoundError: the one that was asked for is not there.
        ValueError: the file in ``model_dir`` is not the published one.
    """
    if checkpoint is not None:
        return identify(checkpoint)
    cached = model_dir / PUBLISHED_NAME
    if not cached.exists():
        return identify(BUILTIN_PATH)
    found = identify(cached)
    if found.fingerprint != PUBLISHED_SHA256:
        raise ValueError(
            f"{cached} is not the published mobile_sam.pt (SHA-256 {found.fingerprint[:12]}...,"
            f" expected {PUBLISHED_SHA256[:12]}...): remove it to download it again, or set"
            " MOBILESAM_CHECKPOINT to use it as it is"
        )
    return found


def obtain(checkpoint: Path | None, model_dir: Path) -> Checkpoint:
    """Choose the checkpoint, and download the published one where it is missing.

    A download that fails is a warning in the log: the built-in checkpoint serves then.

    Args:
        checkpoint, model_dir: as :func:`find` takes them.

    Raises:
        FileNotFoundError, ValueError: as :func:`find` raises them.
    """
    if checkpoint is None:
        try:
            download(model_dir, PUBLISHED_URL, PUBLISHED_SHA256)
        except (OSError, ValueError) as error:
            logger.warning(
                "the published MobileSAM weights are not available (%s): the small built-in"
                " checkpoint serves instead, good for trying out only. To use MobileSAM's own, put"
                " mobile_sam.pt into %s or set MOBILESAM_CHECKPOINT to its path.",
                error,
                model_dir,
            )
    return find(checkpoint, model_dir)


def download(model_dir: Path, url: str, expected_sha256: str) -> Path:
    """Download the published checkpoint into ``model_dir``, unless it is there.

    Shows a progress bar. The file appears under its name only when it is complete and verified.

    Returns:
        The path of the file.

    Raises:
        OSError: the server does not answer, answers with an error or breaks off, or the file
            cannot be written.
        ValueError: the server sent another file than the published one.
    """
    import httpx
    from tqdm import tqdm

    target = model_dir / PUBLISHED_NAME
    if target.exists():
        return target
    timeout = httpx.Timeout(_READ_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
    digest = hashlib.sha256()
    try:
        with (
            write_atomically(target, mode=0o644) as file,
            httpx.stream("GET", url, timeout=timeout, follow_redirects=True) as response,
        ):
            response.raise_for_status()
            total = int(response.headers.get("content-length", 0)) or None
            _check_space(model_dir, total or 0)
            with tqdm(total=total, unit="B", unit_scale=True, desc=PUBLISHED_NAME) as progress:
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    digest.update(chunk)
                    progress.update(len(chunk))
            found = digest.hexdigest()
            if found != expected_sha256:
                raise ValueError(
                    f"{url} sent something else than mobile_sam.pt (SHA-256 {found[:12]}...,"
                    f" expected {expected_sha256[:12]}...)"
                )
    except httpx.HTTPError as error:
        raise OSError(f"{url} cannot be downloaded: {error}") from error
    return target


def _check_space(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise OSError(
            f"{folder} has {free_bytes / 1e6:.1f} MB of free space, and {PUBLISHED_NAME} needs"
            f" {needed_bytes / 1e6:.1f} MB"
        )


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
