"""Writes what the built-in checkpoint answers in torch: ``python -m training.answers``.

To be run whenever the built-in checkpoint is replaced. Every start compares OpenVINO's answers
with these, see ``model/openvino/self_check.py``.
"""

from __future__ import annotations

from model import reference
from model.engine_torch import TorchEngine
from model.files import write_atomically
from model.openvino.self_check import BUILTIN_ANSWERS_PATH
from model.weights import BUILTIN_PATH


def builtin_answers() -> reference.Answers:
    """Of torch on the CPU in fp32: GPUs are less exact."""
    return reference.ask(TorchEngine(BUILTIN_PATH, "fp32"))


def main() -> None:
    """The command."""
    answers = builtin_answers()
    with write_atomically(BUILTIN_ANSWERS_PATH, mode=0o644) as file:
        answers.save(file)
    print(f"{BUILTIN_ANSWERS_PATH}: {BUILTIN_ANSWERS_PATH.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
