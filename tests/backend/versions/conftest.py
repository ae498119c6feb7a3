"""A learnt decoder, and where its versions are kept."""

import pytest

from model.architecture import DECODER_PARTS
from model.checkpoint import Arrays, read_parameters
from model.decoder_file import DecoderRecord
from model.weights import BUILTIN_PATH, identify


@pytest.fixture(scope="session")
def base_arrays() -> Arrays:
    """The tensors of the built-in checkpoint behind its image encoder."""
    arrays = read_parameters(BUILTIN_PATH).arrays
    return {name: array for name, array in arrays.items() if name.startswith(DECODER_PARTS)}


@pytest.fixture(scope="session")
def record() -> DecoderRecord:
    return DecoderRecord(
        parent=identify(BUILTIN_PATH).fingerprint,
        data_hash="0123456789abcdef",
        scores={"noc85": {"before": 4.5, "after": 3.25}},
        created="2026-01-02T03:04:05+00:00",
    )
