"""Checkpoints as OpenVINO models: made once for each, in a process of its own.

That process loads torch, so that this one need not. Its result is kept under the checkpoint's
fingerprint and that of the code which made it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock

from model.weights import Checkpoint

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parent
_SOURCES = (*sorted((_PACKAGE / "network").glob("*.py")), _PACKAGE / "reference.py")


def convert_once(checkpoint: Checkpoint, folder: Path) -> Path:
    """The folder of a checkpoint's OpenVINO models, converted now if nobody has yet.

    Other processes that want the same meanwhile wait.

    Args:
        folder: where conversions are kept.

    Raises:
        OSError: the folder cannot be written to.
        ValueError: the file is no checkpoint.
    """
    target = folder / f"{checkpoint.fingerprint[:16]}-{_converter_version()}"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock", mode=0o666):
            if not target.exists():
                _convert(checkpoint, target)
    except OSError as error:
        raise OSError(
            f"the converted network cannot be kept in {folder} ({error.strerror}): set MODEL_DIR"
            " to a folder that can be written to"
        ) from error
    return target


def _converter_version() -> str:
    digest = hashlib.sha256(version("openvino").encode())
    for source in _SOURCES:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:8]


def _convert(checkpoint: Checkpoint, target: Path) -> None:
    logger.warning(
        "converting %s for this processor, once; it takes about a minute", checkpoint.path
    )
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f"{target.name}."))
    command = [sys.executable, "-W", "ignore", "-m", "model.network.convert"]
    try:
        converter = subprocess.run(
            [*command, checkpoint.path.absolute(), partial.absolute()],
            cwd=_PACKAGE.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if converter.returncode:
            said = converter.stderr.strip().splitlines() or ["it said nothing"]
            raise ValueError(said[-1])
        os.chmod(partial, 0o777 & ~_umask())  # mkdtemp's 0700 would shut other users out
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _umask() -> int:
    umask = os.umask(0o022)
    os.umask(umask)
    return umask
