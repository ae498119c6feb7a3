"""What several tests of the model share."""

from pathlib import Path

import pytest
import torch

from model.architecture import MobileSAMConfig
from model.network.checkpoint import save_network
from model.network.mobile_sam import MobileSAM


@pytest.fixture(scope="session")
def tiny_config() -> MobileSAMConfig:
    """The sizes of a network as small as it gets. Its input is 64 x 64."""
    return MobileSAMConfig(
        image_size=64,
        encoder_widths=(16, 16, 16, 16),
        encoder_depths=(1, 1, 1, 1),
        encoder_heads=(1, 1, 1, 1),
        embedding_width=32,
        decoder_mlp_width=32,
        iou_head_width=32,
    )


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory, tiny_config: MobileSAMConfig) -> Path:
    """The file of the smallest network, with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_network(path, MobileSAM(tiny_config), {})
    return path
