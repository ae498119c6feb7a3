"""The decoder that is served computes what the decoder that is trained does."""

import pytest
import torch

from model.architecture import MobileSAMConfig
from model.network.folded_decoder import FoldedDecoder, FoldedUpscaling, MaskPromptTokens
from model.network.mobile_sam import MobileSAM


@pytest.fixture(scope="module")
def network() -> MobileSAM:
    torch.manual_seed(0)
    return MobileSAM(MobileSAMConfig(image_size=128)).eval().requires_grad_(False)


@pytest.mark.parametrize("has_masks", [False, True])
def test_same_masks(network: MobileSAM, has_masks: bool) -> None:
    torch.manual_seed(1)
    features = torch.randn(1, 256, 8, 8)
    coords = torch.rand(3, 4, 2) * 128
    labels = torch.tensor([[1, -1, -1, -1], [2, 3, 0, 1], [1, 1, 0, -1]])
    mask_inputs = 4 * torch.randn(3, 1, 32, 32) if has_masks else None
    image_tokens = features.flatten(2).transpose(1, 2)
    if mask_inputs is not None:
        image_tokens = image_tokens + MaskPromptTokens(network)(mask_inputs)

    expected = network.decode(features, coords, labels, mask_inputs)
    keys, kernels, iou_predictions = FoldedDecoder(network)(image_tokens, coords, labels)
    found = FoldedUpscaling(network)(keys, kernels), iou_predictions

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
