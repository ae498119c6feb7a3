"""An OpenVINO engine that was asked questions whose answers are known.

Two things are to be known. Whether OpenVINO is right in fp32 on this machine: the built-in
checkpoint is asked, whose answers by torch are shipped. Whether the precision that was chosen is
right for the checkpoint that is served: fp32 on this machine is asked the same, once, and its
answers are kept. The built-in checkpoint needs no answers but the shipped ones.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import openvino

from model import reference
from model.checkpoint import read_parameters
from model.files import write_atomically
from model.openvino.engine import OpenVINOEngine
from model.reference import Answers, WrongAnswerError
from model.weights import BUILTIN_PATH, Checkpoint

# What torch answers in fp32. ``python -m training.answers`` writes this file.
BUILTIN_ANSWERS_PATH = BUILTIN_PATH.with_name("mobile_sam_builtin_answers.npz")

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parent
_SOURCES = (*sorted(_PACKAGE.glob("*.py")), _PACKAGE.parent / "reference.py")


def verified_engine(checkpoint: Checkpoint, precision: str, folder: Path) -> OpenVINOEngine:
    """An engine that answers as it should. Where a reduced precision does not, fp32 does.

    The file is read once for each engine: kept in memory for all of them, its arrays would leave
    a gap of 40 MB behind.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``.
        folder: where answers and compiled graphs are kept, in a folder of their own. Where they
            cannot be kept, a start takes a second or two longer.

    Raises:
        OSError, ValueError: the file cannot be read or is no checkpoint.
        WrongAnswerError: OpenVINO is wrong in fp32 too.
    """
    kept = _kept_folder(checkpoint, folder)
    expected = _shipped_answers() if checkpoint.is_builtin else _fp32_answers(checkpoint, kept)
    engine = OpenVINOEngine(read_parameters(checkpoint.path), precision, kept)
    try:
        reference.check(engine, expected, precision)
    except WrongAnswerError as error:
        if precision == "fp32":
            raise
        logger.error("OpenVINO failed its self-check in %s (%s): fp32 serves", precision, error)
        engine = OpenVINOEngine(read_parameters(checkpoint.path), "fp32")
        reference.check(engine, expected, "fp32")
        engine.description += f", since {precision} failed its self-check"
    engine.release_memory()  # the questions need more of it than clicks do
    return engine


def _kept_folder(checkpoint: Checkpoint, folder: Path) -> Path | None:
    """Named after everything that its content depends on; None where it cannot be made."""
    kept = folder / f"openvino-{_digest(checkpoint)}"
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.info("nothing of OpenVINO is kept in %s (%s)", folder, error.strerror)
        return None
    return kept


def _fp32_answers(checkpoint: Checkpoint, kept: Path | None) -> Answers:
    path = None if kept is None else kept / "answers.npz"
    answers = None if path is None else _read_answers(path)
    if answers is not None:
        return answers
    builtin = OpenVINOEngine(read_parameters(BUILTIN_PATH), "fp32")
    reference.check(builtin, _shipped_answers(), "fp32")
    answers = reference.ask(OpenVINOEngine(read_parameters(checkpoint.path), "fp32"))
    if path is not None:
        _keep(answers, path)
    return answers


def _digest(checkpoint: Checkpoint) -> str:
    """Of the checkpoint, the machine and the code."""
    processor = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    depends_on = [checkpoint.fingerprint, openvino.get_version(), processor]
    digest = hashlib.sha256("\n".join(depends_on).encode())
    for source in _SOURCES:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _shipped_answers() -> Answers:
    with open(BUILTIN_ANSWERS_PATH, "rb") as file:
        return Answers.load(file)


def _read_answers(path: Path) -> Answers | None:
    try:
        with open(path, "rb") as file:
            return Answers.load(file)
    except OSError:  # there is none, or it cannot be read: the same as none
        return None
    except Exception as error:  # a damaged file can raise nearly anything, and is replaced
        logger.warning("%s cannot be read (%s): the answers are computed anew", path, error)
        return None


def _keep(answers: Answers, path: Path) -> None:
    try:
        with write_atomically(path, mode=0o644) as file:
            answers.save(file)
    except OSError as error:
        logger.info("answers of the self-check are not kept (%s)", error)
