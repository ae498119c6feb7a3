"""The network as files for other programs: ONNX, or OpenVINO's own format.

``docs/model-export.md`` has the inputs and outputs.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model import installation, reference
from model.checkpoint import read_parameters
from model.openvino.engine import OpenVINOEngine
from model.openvino.exported import ExportedEngine, write_openvino
from model.reference import WrongAnswerError
from model.weights import Checkpoint

ExportFormat = Literal["onnx", "openvino"]

_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}
_ONNX_PACKAGES = ("torch", "timm", "onnx", "onnxscript")


@dataclass(frozen=True)
class Exported:
    """What :func:`export` has written.

    Attributes:
        files: encoder and decoder; for OpenVINO a ``.bin`` and an ``.xml`` file of each.
        relative_errors: how far the answers of the files are from those of our engine in fp32, by
            the name of the answer: the norm of the difference as a part of the norm of the answer.
    """

    files: list[Path]
    relative_errors: dict[str, float]


def export(checkpoint: Checkpoint, export_format: ExportFormat, folder: Path) -> Exported:
    """Write encoder and decoder, and compare their answers with those of our engine.

    Files appear in the folder only where they answer as our engine does.

    Args:
        checkpoint: of either format.
        export_format: ``onnx`` needs torch, onnx and onnxscript.
        folder: is made where it is missing. Files of an earlier export are replaced.

    Raises:
        ValueError: the checkpoint is none, a package is missing, or the files answer otherwise.
        OSError: a file cannot be read or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = read_parameters(checkpoint.path)
    with tempfile.TemporaryDirectory(dir=folder, prefix="export-") as name:
        suffix = _SUFFIXES[export_format]
        encoder, decoder = (Path(name) / f"{part}{suffix}" for part in ("encoder", "decoder"))
        if export_format == "onnx":
            _write_onnx(checkpoint.path, encoder, decoder)
        else:
            write_openvino(parameters, encoder, decoder)
        expected = reference.ask(OpenVINOEngine(parameters, "fp32"))
        try:
            errors = reference.check(ExportedEngine(encoder, decoder), expected, "fp32")
        except WrongAnswerError as error:
            raise ValueError(
                f"the exported files answer otherwise than our engine: {error}"
            ) from error
        # OpenVINO's .xml files come last: they name nothing that is not there yet.
        written = sorted(Path(name).iterdir())
        for path in written:
            os.replace(path, folder / path.name)
    return Exported([folder / path.name for path in written], errors)


def _write_onnx(checkpoint: Path, encoder: Path, decoder: Path) -> None:
    absent = installation.missing(_ONNX_PACKAGES)
    if absent:
        raise ValueError(
            f"the export to ONNX needs packages that are not installed ({', '.join(absent)}):"
            f" {installation.pip_install(*absent)}"
        )
    from model.network.onnx_export import write_onnx

    write_onnx(checkpoint, encoder, decoder)
