"""Whatever lies in the place of a kept embedding, the click gets the mask of its image."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from backend.embeddings.codec import pack
from model import ImageEmbedding


def wrong_shape(path: Path) -> None:
    features = load(path.read_bytes())["features"]
    write(path, features[:, :, ::2])


def not_a_number(path: Path) -> None:
    features = load(path.read_bytes())["features"].copy()
    features[0, 0, 0, 0] = np.nan
    write(path, features)


def impossible_size(path: Path) -> None:
    write(path, load(path.read_bytes())["features"], (0, 240))


def write(path: Path, features: np.ndarray, size: tuple[int, int] = (240, 320)) -> None:
    """An entry with a right checksum."""
    path.write_bytes(pack(path.stem, ImageEmbedding(features, size)))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("moved"))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def huge(path: Path) -> None:
    os.truncate(path, 1 << 40)  # takes no space


KINDS = [wrong_shape, not_a_number, impossible_size, pipe, link, folder, huge]


def test_a_wrong_entry_is_removed_and_the_image_is_encoded_anew(
    start_backend, serve, click_at, rle_of, square, tmp_path: Path
) -> None:
    images, cache = tmp_path / "images", tmp_path / "cache"
    images.mkdir()
    url = serve(images)
    settings = {"LABEL_STUDIO_URL": url, "CACHE_DIR": str(cache)}
    backend = start_backend(**settings)
    before, entries = {}, {}
    for index, kind in enumerate(KINDS):
        name = f"{kind.__name__}.png"
        square(80 + 5 * index).save(images / name)
        known = set(cache.glob("??/*"))
        before[name] = rle_of(backend.client.post("/predict", json=click_at(f"{url}/{name}")))
        (entries[name],) = set(cache.glob("??/*")) - known
    backend.stop()
    for kind in KINDS:
        kind(entries[f"{kind.__name__}.png"])

    again = start_backend(**settings)
    for name, mask in before.items():
        answer = again.client.post("/predict", json=click_at(f"{url}/{name}"))
        assert rle_of(answer) == mask, name
        assert entries[name].is_file() and not entries[name].is_symlink()
    assert again.count("mobilesam_encodes_total") == len(KINDS)
    # The huge file may be removed before its click: it takes no part in the limit of the folder.
    removed = [name for name in entries if entries[name].stem in again.log]
    assert {*removed, "huge.png"} == {*entries}


@pytest.mark.parametrize("kind", [pipe, link, folder])
def test_a_lock_or_a_note_that_is_no_file_stops_no_click(
    start_backend, serve, click_at, rle_of, square, tmp_path: Path, kind: Callable[[Path], None]
) -> None:
    images, cache = tmp_path / "images", tmp_path / "cache"
    images.mkdir()
    url = serve(images)
    square().save(images / "first.png")
    (cache / "tasks" / "001").mkdir(parents=True)
    (cache / "tasks" / "001" / "1").touch()
    kind(cache / "tasks" / "001" / "1")
    backend = start_backend(LABEL_STUDIO_URL=url, CACHE_DIR=str(cache))
    first = rle_of(backend.client.post("/predict", json=click_at(f"{url}/first.png")))
    (entry,) = cache.glob("??/*")
    assert first
    assert (cache / "tasks" / "001" / "1").read_text() == f"{entry.stem}\n"

    entry.unlink()
    (cache / "locks" / entry.stem).touch()
    kind(cache / "locks" / entry.stem)
    backend.stop()
    again = start_backend(LABEL_STUDIO_URL=url, CACHE_DIR=str(cache))
    answer = again.client.post("/predict", json=click_at(f"{url}/first.png"))
    assert rle_of(answer) == first
