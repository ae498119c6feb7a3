"""Our own checkpoint format: what was saved is what is loaded."""

from pathlib import Path

import torch
from safetensors import safe_open

from model.network.checkpoint import load_network, save_network
from model.network.mobile_sam import MobileSAM, MobileSAMConfig

SMALL = MobileSAMConfig(
    image_size=128,
    encoder_widths=(16, 32, 48, 64),
    encoder_depths=(1, 1, 1, 1),
    encoder_heads=(1, 1, 2, 2),
    embedding_width=32,
    decoder_heads=4,
    decoder_mlp_width=64,
)


def test_round_trip(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = MobileSAM(SMALL)
    images = torch.rand(1, 3, 128, 128)
    network.image_encoder(images)  # moves the BatchNorms' statistics away from their start
    path = tmp_path / "small.safetensors"

    save_network(path, network, {"seed": "0"})
    loaded = load_network(path)

    assert loaded.config == SMALL
    network.eval()
    with torch.inference_mode():
        expected, found = network.image_encoder(images), loaded.image_encoder(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-2)  # weights are kept in fp16
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["seed"] == "0"
    assert list(tmp_path.iterdir()) == [path]
