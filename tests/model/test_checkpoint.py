"""Checkpoint files: what was saved is what is loaded, and no file does harm or hangs."""

import json
import struct
import zipfile
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from model.architecture import MobileSAMConfig, tensor_shapes
from model.checkpoint import read_parameters
from model.network.checkpoint import load_network, save_network
from model.network.mobile_sam import MobileSAM
from model.torch_file import read_state_dict
from model.weights import BUILTIN_PATH

SMALL = MobileSAMConfig(
    image_size=128,
    encoder_widths=(16, 32, 48, 64),
    encoder_depths=(1, 1, 1, 1),
    encoder_heads=(1, 1, 2, 2),
    embedding_width=32,
    decoder_heads=4,
    decoder_mlp_width=64,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    save_network(path, MobileSAM(SMALL), {})
    return path


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


def test_the_list_of_shapes_is_that_of_the_torch_network() -> None:
    for config in (SMALL, MobileSAMConfig(), read_parameters(BUILTIN_PATH).config):
        with torch.device("meta"):
            state_dict = MobileSAM(config).state_dict()
        expected = {
            key: tuple(value.shape)
            for key, value in state_dict.items()
            if not key.endswith("num_batches_tracked")
        }
        assert tensor_shapes(config) == expected


class TestPublishedFormat:
    def test_the_arrays_are_those_that_torch_reads(self, seeded_checkpoint: Path) -> None:
        expected = torch.load(seeded_checkpoint, weights_only=True)
        found = read_state_dict(seeded_checkpoint)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value.numpy())

    def test_what_a_fine_tuning_saves(self, tmp_path: Path) -> None:
        """Parameters, half precision, other memory orders, one storage for two tensors."""
        weight = torch.arange(24.0).reshape(2, 3, 2, 2)
        saved = OrderedDict(
            {
                "parameter": torch.nn.Parameter(weight),
                "half": weight.half(),
                "double": weight.double(),
                "channels_last": weight.to(memory_format=torch.channels_last),
                "transposed": weight[0, :, :, 0].t(),
                "part": weight[1],
                "number": torch.tensor(3),
            }
        )
        saved._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
        torch.save(saved, tmp_path / "tuned.pt")
        found = read_state_dict(tmp_path / "tuned.pt")
        for key, value in saved.items():
            np.testing.assert_array_equal(found[key], value.detach().numpy())

    def test_every_wrong_tensor_is_named(self, seeded_checkpoint: Path, tmp_path: Path) -> None:
        state_dict = torch.load(seeded_checkpoint, weights_only=True)
        del state_dict["mask_decoder.iou_token.weight"]
        state_dict["image_encoder.layers.1.blocks.0.attn.qkv.bias"] = torch.zeros(7)
        state_dict["adapter"] = torch.zeros(1)
        torch.save(state_dict, tmp_path / "other.pt")
        with pytest.raises(ValueError) as raised:
            read_parameters(tmp_path / "other.pt")
        assert str(raised.value).endswith(
            "other.pt is no MobileSAM checkpoint:"
            " 1 tensor is missing: mask_decoder.iou_token.weight;"
            " 1 tensor is unknown: adapter;"
            " 1 tensor is of another shape:"
            " image_encoder.trunk.stages.1.blocks.0.attn.qkv.bias (7 and not 384)."
        )

    def test_values_that_are_no_numbers(self, seeded_checkpoint: Path, tmp_path: Path) -> None:
        state_dict = torch.load(seeded_checkpoint, weights_only=True)
        state_dict["mask_decoder.iou_token.weight"][0, 3] = float("nan")
        torch.save(state_dict, tmp_path / "broken.pt")
        with pytest.raises(ValueError, match="not finite: mask_decoder.iou_token.weight"):
            read_parameters(tmp_path / "broken.pt")


# A pickle by hand: one instruction of the stack machine is one letter.
def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def group(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def tensor(
    size: tuple[int, ...] = (2,), stride: tuple[int, ...] = (1,), offset: int = 0, count: int = 2
) -> bytes:
    storage = group(
        text("storage"), name("torch", "FloatStorage"), text("0"), text("cpu"), number(count)
    )
    sizes, strides = group(*map(number, size)), group(*map(number, stride))
    arguments = group(storage + b"Q", number(offset), sizes, strides, b"\x89", b"N")
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def state(value: bytes) -> bytes:
    return b"\x80\x02}(" + text("key") + value + b"u."


def archive(
    path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED, storage: bytes = bytes(8)
) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("it/data.pkl", pickled)
        file.writestr("it/data/0", storage)
    return path


class TestHostileFiles:
    def test_the_harmless_one(self, tmp_path: Path) -> None:
        found = read_state_dict(archive(tmp_path / "it.pt", state(tensor())))
        np.testing.assert_array_equal(found["key"], np.zeros(2, np.float32))

    @pytest.mark.parametrize(
        ("pickled", "sentence"),
        [
            pytest.param(
                state(name("os", "system") + group(text("true")) + b"R"),
                "names 'os system'",
                id="os.system",
            ),
            pytest.param(state(tensor((3,))), "beyond its storage", id="too-long"),
            pytest.param(state(tensor(offset=1)), "beyond its storage", id="offset"),
            pytest.param(state(tensor((2,), (2,))), "beyond its storage", id="stride"),
            pytest.param(state(tensor((2**30,), (0,))), "numbers overlap", id="no-stride"),
            pytest.param(state(tensor((2, 2), (1, 1), 0, 2)), "numbers overlap", id="overlap"),
            pytest.param(state(tensor((-2,))), "negative", id="negative-size"),
            pytest.param(state(tensor((2,), (-1,), 1)), "negative", id="negative-stride"),
            pytest.param(state(tensor(offset=-1)), "negative", id="negative-offset"),
            pytest.param(state(tensor(count=2**31 - 1)), "8 bytes for 2147483647", id="count"),
            pytest.param(state(tensor(count=-1)), "makes no sense", id="negative-count"),
            pytest.param(state(tensor((1,) * 9, (1,) * 9)), "makes no sense", id="dimensions"),
            pytest.param(state(tensor((1, 2), (1,))), "makes no sense", id="unequal"),
            pytest.param(state(b"}(" + text("a") + tensor() + b"u"), "no flat", id="nested"),
            pytest.param(state(text("a text")), "no flat", id="no-tensor"),
            pytest.param(b"\x80\x02" + tensor() + b".", "no flat", id="no-dict"),
            pytest.param(state(tensor())[:40], "makes no sense", id="cut-off"),
            pytest.param(b"", "makes no sense", id="empty"),
            pytest.param(b"\xff" * 40, "makes no sense", id="no-pickle"),
            pytest.param(b"(" * 10**6 + b"t" * 10**6 + b".", "no flat", id="deep"),
            pytest.param(
                b"}" + group() + b"2\x86" * 64 + b"Ns.", "instruction DUP", id="doubling-key"
            ),
            pytest.param(
                b"}" + group() + b"q\x00" + b"h\x00h\x00\x86q\x00" * 64 + b"h\x00Ns.",
                "makes no sense",
                id="doubling-key-from-memory",
            ),
            pytest.param(b"}r\xff\xff\xff\x7f.", None, id="large-memo-index"),
            pytest.param(b"\x8e" + b"\xff" * 7 + b"\x7f.", "makes no sense", id="2**62-bytes"),
            pytest.param(
                name("collections", "OrderedDict") + b")\x81.", "instruction NEWOBJ", id="newobj"
            ),
        ],
    )
    def test_a_pickle(self, tmp_path: Path, pickled: bytes, sentence: str | None) -> None:
        path = archive(tmp_path / "it.pt", pickled)
        if sentence is None:
            assert read_state_dict(path) == {}
            return
        with pytest.raises(ValueError, match=sentence):
            read_state_dict(path)

    def test_a_zip_bomb(self, tmp_path: Path) -> None:
        content = bytes(1 << 24)
        described = state(tensor((1 << 22,), count=1 << 22))
        path = archive(tmp_path / "it.pt", described, zipfile.ZIP_DEFLATED, content)
        assert path.stat().st_size < 1 << 16
        with pytest.raises(ValueError, match="has compressed entries"):
            read_state_dict(path)

    def test_entries_that_lie_over_each_other(self, tmp_path: Path) -> None:
        """Every name of the archive's list leads to the same bytes."""
        content = archive(tmp_path / "it.pt", state(tensor()), storage=bytes(4000)).read_bytes()
        begin = content.rindex(b"PK\x01\x02")
        end = content.rindex(b"PK\x05\x06")
        more = b"".join(
            content[begin:end].replace(b"it/data/0", b"it/data/%d" % index) for index in range(9)
        )
        first = content.index(b"PK\x01\x02")
        tail = struct.pack(
            "<4s4H2LH", b"PK\x05\x06", 0, 0, 11, 11, end - first + len(more), first, 0
        )
        (tmp_path / "it.pt").write_bytes(content[:end] + more + tail)
        with pytest.raises(ValueError, match="larger than the file"):
            read_state_dict(tmp_path / "it.pt")

    def test_very_many_entries(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "it.pt", "w") as file:
            for index in range(10_001):
                file.writestr(f"it/data/{index}", b"")
        with pytest.raises(ValueError, match="more than 10000 entries"):
            read_state_dict(tmp_path / "it.pt")

    def test_a_huge_file_is_not_opened(self, tmp_path: Path) -> None:
        with open(tmp_path / "it.pt", "wb") as file:
            file.truncate(1 << 40)  # takes no room on the disk
        with pytest.raises(ValueError, match="has 1048576 MiB, and .* at most 512"):
            read_parameters(tmp_path / "it.pt")

    def test_damaged_anywhere(self, tmp_path: Path, small: Path) -> None:
        """A file that was cut, or of which a byte is another one, is read or refused."""
        state_dict = {key: torch.zeros(2, 3) for key in ("one", "two")}
        torch.save(state_dict, tmp_path / "whole.pt")
        random, refused = np.random.default_rng(0), 0
        for whole in (tmp_path / "whole.pt", small):
            content = whole.read_bytes()
            for _ in range(300):
                damaged = bytearray(content[: random.integers(len(content))])
                if random.random() < 0.7 or not damaged:
                    damaged = bytearray(content)
                    limit = min(len(content), 30_000)  # the header, of safetensors
                    damaged[random.integers(limit)] = random.integers(256)
                path = tmp_path / "damaged"
                path.write_bytes(damaged)
                try:
                    read_parameters(path)
                except ValueError as error:
                    refused += "\n" not in str(error)
        assert refused > 500  # a changed name of the metadata, for example, does no harm

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            pytest.param({"encoder_depths": [10**9] * 4}, "encoder_depths must be", id="deep"),
            pytest.param({"encoder_depths": [1, 1]}, "encoder_depths must be 4", id="two-stages"),
            pytest.param({"image_size": -16}, "image_size must be", id="negative"),
            pytest.param({"image_size": 100}, "image_size is 100", id="no-multiple"),
            pytest.param({"image_size": "64"}, "image_size must be", id="text"),
            pytest.param({"encoder_heads": [3, 1, 1, 1]}, "no multiple of 3", id="heads"),
            pytest.param({"layers": 3}, "layers", id="unknown"),
        ],
    )
    def test_a_configuration(
        self, tmp_path: Path, change: dict[str, object], sentence: str
    ) -> None:
        config = json.dumps({**asdict(SMALL), **change})
        save_file({"a": np.zeros(1)}, tmp_path / "it.safetensors", {"config": config})
        with pytest.raises(ValueError, match=f"no checkpoint of this project.*{sentence}"):
            read_parameters(tmp_path / "it.safetensors")

    @pytest.mark.parametrize("config", ["[" * 100_000, "[]", "{", "null"])
    def test_a_configuration_that_is_none(self, tmp_path: Path, config: str) -> None:
        save_file({"a": np.zeros(1)}, tmp_path / "it.safetensors", {"config": config})
        with pytest.raises(ValueError, match="no checkpoint of this project"):
            read_parameters(tmp_path / "it.safetensors")
