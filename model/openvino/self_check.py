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
from model.checkpoint import Parameters, read_parameters
from model.files import write_atomically
from model.openvino.engine import OpenVINOEngine
from model.reference import Answers, WrongAnswerError
from model.weights import BUILTIN_PATH, Checkpoint

# What torch answers in fp32. ``python -m training.answers`` writes this file.
BUILTIN_ANSWERS_PATH = BUILTIN_PATH.with_name("mobile_sam_builtin_answers.npz")

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).parent
_SOURCES = (*sorted(_PACKAGE.glob("*.py")), _PACKAGE.parent / "reference.py")


def verified_engine(
    checkpoint: Checkpoint, parameters: Parameters, precision: str, folder: Path
) -> OpenVINOEngine:
    """An engine that answers as it should. Where a reduced precision does not, fp32 does.

    Args:
        parameters: of the checkpoint.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        folder: where answers are kept. Where it cannot be written to, they are computed each time.

    Raises:
        WrongAnswerError: OpenVINO is wrong in fp32 too.
    """
    engine = OpenVINOEngine(parameters, precision)
    expected = _known_answers(checkpoint, parameters, folder)
    try:
        reference.check(engine, expected, precision)
    except WrongAnswerError as error:
        if precision == "fp32":
            raise
        logger.error("OpenVINO failed its self-check in %s (%s): fp32 serves", precision, error)
        engine = OpenVINOEngine(parameters, "fp32")
        reference.check(engine, expected, "fp32")
        engine.description += f", since {precision} failed its self-check"
    engine.release_memory()  # the questions need more of it than clicks do
    return engine


def _known_answers(checkpoint: Checkpoint, parameters: Parameters, folder: Path) -> Answers:
    if checkpoint.is_builtin:
        return _shipped_answers()
    path = folder / f"answers-{_digest(checkpoint)}.npz"
    kept = _kept_answers(path)
    if kept is not None:
        return kept
    reference.check(
        OpenVINOEngine(read_parameters(BUILTIN_PATH), "fp32"), _shipped_answers(), "fp32"
    )
    computed = reference.ask(OpenVINOEngine(parameters, "fp32"))
    _keep(computed, path)
    return computed


def _digest(checkpoint: Checkpoint) -> str:
    """Of everything that the answers depend on."""
    processor = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    depends_on = [checkpoint.fingerprint, openvino.get_version(), processor]
    digest = hashlib.sha256("\n".join(depends_on).encode())
    for source in _SOURCES:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _shipped_answers() -> Answers:
    with open(BUILTIN_ANSWERS_PATH, "rb") as file:
        return Answers.load(file)


def _kept_answers(path: Path) -> Answers | None:
    try:
        with open(path, "rb") as file:
            return Answers.load(file)
    except OSError:  # there is none, or it cannot be read: the same as none
        return None
    except Exception as error:  # a damaged file can raise nearly anything, and is replaced
        logger.warning("%s cannot be read (%s): the answers are computed anew", path, error)
        return None


def _keep(answers: Answers, path: Path) -> None:
    """A folder that cannot be written to costs the next start a second, and no more."""
    try:
        with write_atomically(path, mode=0o644) as file:
            answers.save(file)
    except OSError as error:
        logger.info("no answers of the self-check are kept in %s (%s)", path.parent, error.strerror)
