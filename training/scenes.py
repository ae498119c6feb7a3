"""Synthetic scenes: pictures whose every object mask is known, made from a random generator.

A network that was trained on simpler scenes took each material for an object. So most objects here
are put together from parts with different surfaces, and both the whole object and each part are
right answers. The module needs numpy and OpenCV only: the demo shows scenes too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Label = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

MAX_PARTS = 255  # part numbers are stored in one byte
_MIN_ANSWER_SHARE = 0.0005  # of the picture; smaller visible rests are no objects
_LIGHT = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True)
class Scene:
    """One picture and the objects in it.

    Attributes:
        image: H x W x 3 uint8 RGB.
        part_map: H x W uint8, the number of the visible part at each pixel; 0 is background.
        owners: ``owners[p]`` is the number of the object that part ``p`` belongs to;
            ``owners[0]`` is 0.
    """

    image: npt.NDArray[np.uint8]
    part_map: Label
    owners: npt.NDArray[np.uint8]

    @property
    def object_map(self) -> Label:
        """H x W uint8, the number of the visible object at each pixel; 0 is background."""
        return self.owners[self.part_map]

    @property
    def masks(self) -> tuple[Bool, ...]:
        """Whole objects, largest first, then the parts of objects that show more than one."""
        return (*self.object_masks, *self.part_masks)

    @property
    def object_masks(self) -> tuple[Bool, ...]:
        """Whole objects, largest first."""
        return self._masks_of(self.object_map)

    @property
    def part_masks(self) -> tuple[Bool, ...]:
        """Parts of objects that show more than one part, largest first."""
        visible = np.unique(self.part_map)
        parts_of_owner = np.bincount(self.owners[visible], minlength=256)
        lone = visible[parts_of_owner[self.owners[visible]] < 2]
        return self._masks_of(np.where(np.isin(self.part_map, lone), 0, self.part_map))

    def _masks_of(self, numbers: Label) -> tuple[Bool, ...]:
        area = np.bincount(numbers.ravel(), minlength=256)
        area[0] = 0
        kept = np.flatnonzero(area >= max(1.0, _MIN_ANSWER_SHARE * numbers.size))
        order = np.argsort(-area[kept], kind="stable")
        return tuple(numbers == number for number in kept[order])


def generate(rng: np.random.Generator, size: int) -> Scene:
    """Draw one scene.

    Args:
        rng: the only source of chance: equal generators give equal scenes.
        size: side of the square picture, pixels.
    """
    canvas = _Canvas(_background(rng, size), np.zeros((size, size), np.uint8))
    layouts = (_portrait, _clutter, _field)
    layouts[rng.choice(3, p=[0.45, 0.4, 0.15])](rng, canvas)
    return Scene(_photograph(rng, canvas.image), canvas.part_map, canvas.owner_table())


@dataclass
class _Canvas:
    """The picture so far. Later objects cover earlier objects."""

    image: FloatArray  # H x W x 3, 0 to 255 and somewhat beyond
    part_map: Label
    owners: list[int] = field(default_factory=lambda: [0])

    @property
    def size(self) -> int:
        return self.part_map.shape[0]

    def owner_table(self) -> npt.NDArray[np.uint8]:
        table = np.zeros(MAX_PARTS + 1, np.uint8)
        table[: len(self.owners)] = self.owners
        return table


# Layouts: the places of the objects.


def _portrait(rng: np.random.Generator, canvas: _Canvas) -> None:
    """One or two large objects in the middle, before things that may be out of focus."""
    for _ in range(rng.integers(0, 7)):
        _place(rng, canvas, _thing(rng), radius=_log_uniform(rng, 0.05, 0.3))
    if rng.random() < 0.4:
        blur = _log_uniform(rng, 0.5, 4.0) * canvas.size / 256
        canvas.image = _blurred(canvas.image, blur)
    for _ in range(rng.choice([1, 2], p=[0.75, 0.25])):
        centre = rng.normal(0.5, 0.1, 2)
        _place(rng, canvas, _thing(rng), rng.uniform(0.22, 0.5), centre)
    for _ in range(rng.integers(0, 3)):
        _place(rng, canvas, _thing(rng), radius=_log_uniform(rng, 0.04, 0.15))


def _clutter(rng: np.random.Generator, canvas: _Canvas) -> None:
    """Objects of all sizes, the larger ones mostly behind."""
    radii = np.exp(rng.uniform(math.log(0.04), math.log(0.4), rng.integers(3, 16)))
    radii *= np.exp(rng.normal(0, 0.3, len(radii)))
    for radius in sorted(radii * np.exp(rng.normal(0, 0.3, len(radii))), reverse=True):
        _place(rng, canvas, _thing(rng), min(0.45, float(radius)))


def _field(rng: np.random.Generator, canvas: _Canvas) -> None:
    """Many objects of one kind, such as coins, cells, fruit, or people in a crowd."""
    kinds = [_thing(rng) for _ in range(rng.integers(1, 4))]
    radius = _log_uniform(rng, 0.04, 0.14)
    turn = rng.uniform(0, math.pi) * float(rng.random() < 0.5)
    columns = max(2, int(rng.uniform(0.3, 0.55) / radius))
    for cell in rng.permutation(columns * columns):
        if rng.random() < 0.2:
            continue
        spot = (np.array([cell % columns, cell // columns]) + 0.5) / columns
        spot = spot + rng.normal(0, 0.12 / columns, 2)
        kind = kinds[rng.integers(len(kinds))]
        _place(rng, canvas, kind, radius * rng.uniform(0.8, 1.2), spot, rng.normal(0, 0.1) + turn)


# Objects: outlines of parts, each of a material, in a frame where the object has radius 1.


@dataclass(frozen=True)
class _Material:
    """How a surface looks. Lengths are shares of the picture's side."""

    colour: FloatArray
    second_colour: FloatArray
    pattern: str  # plain, stripes, checks, spots or clouds
    period: float
    angle: float
    contrast: float
    grain: float  # standard deviation of fine noise, grey levels
    grain_zoom: int


@dataclass(frozen=True)
class _Part:
    outline: FloatArray  # N x 2, (x, y)
    material: _Material
    kind: Literal[
        "solid", "mark", "hole"
    ]  # a mark is painted on the object; a hole shows the ground


def _thing(rng: np.random.Generator) -> tuple[_Part, ...]:
    """An object of one or, more often, several parts."""
    base = _material(rng)
    parts = [_Part(_outline(rng), base, "solid")]
    if rng.random() < 0.1:
        parts.append(_Part(_hole(rng), base, "hole"))
    if rng.random() < 0.25:
        return tuple(parts)
    # related colours as on fur or wood, or unrelated colours as on clothes and prints
    related = rng.random() < 0.4
    mirrored = rng.random() < 0.6
    for _ in range(rng.choice(5, p=[0.3, 0.25, 0.2, 0.15, 0.1])):
        material = base if rng.random() < 0.25 else _material(rng, base if related else None)
        piece = _Part(_attached(rng, parts[0].outline), material, "solid")
        twins = [piece, replace(piece, outline=piece.outline * _floats([-1, 1]))]
        behind = 0 if rng.random() < 0.5 else len(parts)
        parts[behind:behind] = twins if mirrored and rng.random() < 0.7 else [piece]
    for _ in range(rng.choice(4, p=[0.3, 0.35, 0.2, 0.15])):
        material = _material(rng, base if related else None)
        parts.append(_Part(_mark(rng, parts[0].outline), material, "mark"))
    return tuple(parts)


def _outline(rng: np.random.Generator) -> FloatArray:
    """A closed outline around the origin, of radius about 1."""
    kind = rng.choice(["blob", "ellipse", "polygon", "box"], p=[0.4, 0.2, 0.15, 0.25])
    if kind == "blob":
        points = _blob(rng, rng.uniform(0.05, 0.4))
    elif kind == "ellipse":
        points = _circle(48)
    elif kind == "polygon":
        corners = np.sort(rng.uniform(0, 2 * math.pi, rng.integers(3, 9)))
        points = np.stack([np.cos(corners), np.sin(corners)], 1).astype(np.float32)
    else:
        # a superellipse: from rounded to square, widening to one end
        circle = _circle(64)
        points = _floats(np.sign(circle) * np.abs(circle) ** rng.uniform(0.1, 0.6))
        points[:, 0] *= 1 + rng.uniform(-0.6, 0.6) * float(rng.random() < 0.5) * points[:, 1]
        points = points * 0.8
    stretch = math.exp(rng.normal(0, 0.4))
    return _floats(points * _floats([stretch, 1 / stretch]))


def _circle(corners: int) -> FloatArray:
    angles = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def _blob(rng: np.random.Generator, irregularity: float) -> FloatArray:
    angles = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    radii = np.ones(64)
    for wave in range(1, int(rng.integers(3, 9))):
        swing = irregularity / wave * rng.normal()
        radii += swing * np.cos(wave * angles + rng.uniform(0, 2 * math.pi))
    return (_circle(64) * np.clip(radii, 0.2, 2.5)[:, None]).astype(np.float32)


def _attached(rng: np.random.Generator, body: FloatArray) -> FloatArray:
    """A head, limb, wheel or handle that overlaps the edge of the body."""
    joint = body[rng.integers(len(body))] * rng.uniform(0.7, 1.0)
    if rng.random() < 0.5:
        lump = _outline(rng) * _log_uniform(rng, 0.15, 0.7)
        return _floats(lump + joint * 1.1)
    outward = math.atan2(joint[1], joint[0]) + rng.normal(0, 0.5)
    return _limb(rng, joint, outward, length=rng.uniform(0.4, 1.6))


def _limb(rng: np.random.Generator, start: FloatArray, angle: float, length: float) -> FloatArray:
    """A tapering, bending band."""
    steps = np.linspace(0, 1, 10)
    bend = angle + rng.normal(0, 0.6) * steps
    spine = start + np.cumsum(np.stack([np.cos(bend), np.sin(bend)], 1), 0) * length / 10
    half_width = _log_uniform(rng, 0.04, 0.25) * (1 - rng.uniform(-0.2, 0.8) * steps)
    normal = np.stack([-np.sin(bend), np.cos(bend)], 1) * half_width[:, None]
    return _floats(np.concatenate([spine + normal, (spine - normal)[::-1]]))


def _mark(rng: np.random.Generator, body: FloatArray) -> FloatArray:
    """The outline of a patch, a band or one side of the body."""
    kind = rng.choice(["patch", "band", "side"], p=[0.4, 0.25, 0.35])
    angle = rng.choice([0.0, math.pi / 2, rng.uniform(0, 2 * math.pi)], p=[0.5, 0.2, 0.3])
    if kind == "patch":
        centre = body[rng.integers(len(body))] * rng.uniform(0, 0.7)
        return _floats(_outline(rng) * _log_uniform(rng, 0.12, 0.6) + centre)
    near = rng.uniform(-0.5, 0.5)
    far = near + rng.uniform(0.1, 0.4) if kind == "band" else 4.0
    edge = np.linspace(-4, 4, 33)
    wave = rng.uniform(0, 0.12) * np.sin(edge * rng.uniform(1, 6) + rng.uniform(0, 6))
    wave += rng.uniform(-0.3, 0.3) * float(rng.random() < 0.5) * edge**2 / 2
    strip = np.concatenate(
        [np.stack([edge, near + wave], 1), np.stack([edge, far + wave], 1)[::-1]]
    )
    return _floats(strip @ _rotation(float(angle)))


def _hole(rng: np.random.Generator) -> FloatArray:
    """A hole, which makes a ring or a frame of a body."""
    return (_outline(rng) * rng.uniform(0.3, 0.7)).astype(np.float32)


def _rotation(angle: float) -> FloatArray:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, sin], [-sin, cos]], dtype=np.float32)


# Painting.


def _place(
    rng: np.random.Generator,
    canvas: _Canvas,
    parts: Sequence[_Part],
    radius: float,
    centre: npt.NDArray[np.float64] | None = None,
    angle: float | None = None,
) -> None:
    """Paint an object; radius and centre are shares of the picture's side."""
    size = canvas.size
    if centre is None:
        centre = rng.uniform(-0.02, 1.02, 2)
    if angle is None:
        angle = rng.normal(0, 0.25) if rng.random() < 0.6 else rng.uniform(0, 2 * math.pi)
    if len(canvas.owners) + len(parts) > MAX_PARTS:
        return
    if rng.random() < 0.2:
        parts = _camouflaged(rng, parts, canvas.image, centre)
    pose = _rotation(angle) * np.float32(radius * size)
    outlines = [part.outline @ pose + centre.astype(np.float32) * size for part in parts]
    solid = np.concatenate(
        [outline for outline, part in zip(outlines, parts, strict=True) if part.kind == "solid"]
    )
    left, top = np.clip(np.floor(solid.min(0)).astype(int) - 4, 0, size)
    right, bottom = np.clip(np.ceil(solid.max(0)).astype(int) + 5, 0, size)
    if right - left < 6 or bottom - top < 6:
        return
    labels = np.zeros((bottom - top, right - left), np.uint8)
    for number, (outline, part) in enumerate(zip(outlines, parts, strict=True), start=1):
        covered = labels if part.kind == "solid" else np.zeros_like(labels)
        corners = np.round((outline - _floats([left, top])) * 16).astype(np.int32)
        cv2.fillPoly(covered, [np.asarray(corners)], number, shift=4)
        if part.kind == "mark":
            labels[(covered > 0) & (labels > 0)] = number
        elif part.kind == "hole":
            labels[covered > 0] = 0
    if np.count_nonzero(labels) < 12:
        return

    if rng.random() < 0.45:
        _cast_shadow(rng, canvas.image, labels, (int(top), int(left)))
    surface = _surface(rng, parts, labels, size)
    window = (slice(top, bottom), slice(left, right))
    solid_mask = (labels > 0).astype(np.float32)
    alpha = _blurred(solid_mask, rng.uniform(0.3, 0.9) * max(1.0, size / 320))
    canvas.image[window] += (surface - canvas.image[window]) * alpha[..., None]
    _record(canvas, labels, window, len(parts))


def _camouflaged(
    rng: np.random.Generator,
    parts: Sequence[_Part],
    image: FloatArray,
    centre: npt.NDArray[np.float64],
) -> tuple[_Part, ...]:
    """The same object in nearly the colour of its ground."""
    x, y = np.clip(centre * image.shape[0], 0, image.shape[0] - 1).astype(int)
    ground = image[max(0, y - 8) : y + 8, max(0, x - 8) : x + 8].mean((0, 1))
    likeness = np.float32(rng.uniform(0.5, 0.9))

    def blend(colour: FloatArray) -> FloatArray:
        return _floats(colour + (ground - colour) * likeness)

    return tuple(
        replace(
            part,
            material=replace(
                part.material,
                colour=blend(part.material.colour),
                second_colour=blend(part.material.second_colour),
            ),
        )
        for part in parts
    )


def _record(canvas: _Canvas, labels: Label, window: tuple[slice, slice], parts: int) -> None:
    first = len(canvas.owners)
    canvas.owners.extend([max(canvas.owners) + 1] * parts)
    part_map = canvas.part_map[window]
    np.copyto(part_map, labels + np.uint8(first - 1), where=labels > 0)


def _cast_shadow(
    rng: np.random.Generator, image: FloatArray, labels: Label, corner: tuple[int, int]
) -> None:
    """Darken the ground beside the object: its own outline, moved and blurred."""
    size = image.shape[0]
    shift = rng.normal(0, 0.025, 2) * size
    reach = int(0.06 * size) + 2
    top, left = max(0, corner[0] - reach), max(0, corner[1] - reach)
    bottom = min(size, corner[0] + labels.shape[0] + reach)
    right = min(size, corner[1] + labels.shape[1] + reach)
    move = _floats([[1, 0, corner[1] - left + shift[0]], [0, 1, corner[0] - top + shift[1]]])
    solid = (labels > 0).astype(np.float32)
    shadow = cv2.warpAffine(solid, move, (right - left, bottom - top))
    shadow = _blurred(shadow, _log_uniform(rng, 0.003, 0.02) * size)
    image[top:bottom, left:right] *= 1 - rng.uniform(0.1, 0.6) * shadow[..., None]


def _surface(
    rng: np.random.Generator, parts: Sequence[_Part], labels: Label, size: int
) -> FloatArray:
    """Paint the parts and the light on them, H x W x 3."""
    surface = np.zeros((*labels.shape, 3), np.float32)
    rounded = rng.random() < 0.5
    for number, part in enumerate(parts, start=1):
        visible = (labels == number).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(visible)
        if not width:
            continue
        window = (slice(y, y + height), slice(x, x + width))
        paint = _render(rng, part.material, height, width, size)
        if rounded and part.kind == "solid":
            paint *= _bulge(rng, visible[window])
        np.copyto(surface[window], paint, where=visible[window][..., None] > 0)
    if rng.random() < 0.4:
        surface *= _bulge(rng, (labels > 0).astype(np.uint8))
    surface *= _slope(rng, labels.shape[0], labels.shape[1], strength=rng.uniform(0, 0.8))
    if rng.random() < 0.2:
        surface += _gloss(rng, labels.shape[0], labels.shape[1])
    return surface


def _gloss(rng: np.random.Generator, height: int, width: int) -> FloatArray:
    """The mirror image of a light, H x W x 1."""
    gloss = np.zeros((height, width), np.float32)
    reach = min(height, width)
    centre = (int(width * rng.uniform(0.25, 0.75)), int(height * rng.uniform(0.2, 0.6)))
    axes = (1 + int(reach * rng.uniform(0.03, 0.2)), 1 + int(reach * rng.uniform(0.03, 0.2)))
    cv2.ellipse(gloss, centre, axes, rng.uniform(0, 180), 0, 360, rng.uniform(40, 200), -1)
    return _blurred(gloss, 0.5 + reach * rng.uniform(0.01, 0.08))[..., None]


def _bulge(rng: np.random.Generator, solid: Label) -> FloatArray:
    """Light on a round body, H x W x 1: bright in the middle and dark at the edges, or reversed."""
    depth = cv2.distanceTransform(solid, cv2.DIST_L2, 3)
    depth = np.sqrt(depth / (depth.max() + 1e-6))
    light: FloatArray = 1 + (depth - 0.6) * np.float32(rng.uniform(-0.2, 0.9))
    return light[..., None]


def _slope(rng: np.random.Generator, height: int, width: int, strength: float) -> FloatArray:
    """Light that changes evenly in one direction, H x W x 1."""
    angle = rng.uniform(0, 2 * math.pi)
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32) * math.cos(angle)
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32) * math.sin(angle)
    light: FloatArray = 1 + np.float32(strength) * (x[None, :] + y[:, None])
    return light[..., None]


def _material(rng: np.random.Generator, relative: _Material | None = None) -> _Material:
    """A random material, with a colour near that of ``relative`` if there is one."""
    colour = _colour(rng)
    if relative is not None:
        colour = _floats(relative.colour * rng.uniform(0.45, 1.6) + rng.normal(0, 14, 3))
    second = _colour(rng) if rng.random() < 0.5 else colour * np.float32(rng.uniform(0.4, 1.5))
    pattern = rng.choice(
        ["plain", "clouds", "stripes", "checks", "spots"], p=[0.42, 0.28, 0.12, 0.05, 0.13]
    )
    return _Material(
        colour.astype(np.float32),
        second.astype(np.float32),
        str(pattern),
        period=_log_uniform(rng, 0.012, 0.12),
        angle=rng.uniform(0, math.pi),
        contrast=rng.uniform(0.1, 1.0),
        grain=float(rng.choice([0.0, _log_uniform(rng, 1.0, 24.0)], p=[0.2, 0.8])),
        grain_zoom=int(rng.integers(1, 5)),
    )


def _colour(rng: np.random.Generator) -> FloatArray:
    """RGB; dull colours are as likely as strong ones."""
    colour = rng.uniform(0, 255, 3)
    grey = float(colour @ _LIGHT)
    return (grey + (colour - grey) * rng.uniform(0.05, 1.0)).astype(np.float32)


def _render(
    rng: np.random.Generator, material: _Material, height: int, width: int, size: int
) -> FloatArray:
    """Paint a material, H x W x 3."""
    paint = np.empty((height, width, 3), np.float32)
    paint[:] = material.colour
    if material.pattern != "plain":
        cover = _pattern(rng, material, height, width, size) * np.float32(material.contrast)
        paint += (material.second_colour - material.colour) * cover[..., None]
    if material.grain:
        grain = _noise(rng, height, width, material.grain_zoom) * np.float32(material.grain)
        paint += grain[..., None]
    return paint


def _pattern(
    rng: np.random.Generator, material: _Material, height: int, width: int, size: int
) -> FloatArray:
    """Where the second colour shows, H x W, 0 to 1."""
    if material.pattern in ("clouds", "spots"):
        noise = _noise(rng, height, width, zoom=1 + int(material.period * 50))
        if material.pattern == "clouds":
            return np.clip(0.5 + 0.4 * noise, 0, 1)
        return np.clip((noise - 0.6) * 6, 0, 1)
    turns = 2 * math.pi / (material.period * size)
    cos, sin = math.cos(material.angle) * turns, math.sin(material.angle) * turns
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    wave = np.sin(x * cos + y * sin + rng.uniform(0, 6))
    if material.pattern == "checks":
        wave = wave * np.sin(y * cos - x * sin)
    return np.clip(0.5 + wave * 3, 0, 1)


@functools.cache
def _noise_bank() -> FloatArray:
    """Fields of fractal noise, N x 512 x 512. To cut pieces from them is cheaper than new noise."""
    rng = np.random.default_rng(0)
    side = 512
    bank = []
    for coarsest in (128, 64, 32, 16, 8, 4):
        total = np.zeros((side, side), np.float32)
        strength = 1.0
        for octave in range(5):
            step = max(1, coarsest >> octave)
            knots = rng.standard_normal((side // step + 2, side // step + 2)).astype(np.float32)
            total += strength * cv2.resize(knots, (side, side), interpolation=cv2.INTER_CUBIC)
            strength *= rng.uniform(0.4, 0.8)
        bank.append((total - total.mean()) / total.std())
    return np.stack(bank)


def _noise(rng: np.random.Generator, height: int, width: int, zoom: int) -> FloatArray:
    """Noise of mean 0 and standard deviation about 1, H x W."""
    bank = _noise_bank()
    side = bank.shape[-1]
    rows, columns = (min(side, max(2, length // zoom)) for length in (height, width))
    y, x = rng.integers(0, side - rows + 1), rng.integers(0, side - columns + 1)
    piece = bank[rng.integers(len(bank)), y : y + rows, x : x + columns]
    return cv2.resize(piece, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _background(rng: np.random.Generator, size: int) -> FloatArray:
    """Ground, perhaps with a wall or a sky above it, and with shapes that are no objects."""
    image = _render(rng, _material(rng), size, size, size)
    if rng.random() < 0.5:
        horizon = int(size * rng.uniform(0.2, 0.8))
        image[:horizon] = _render(rng, _material(rng), horizon, size, size)
    for _ in range(rng.integers(0, 4) if rng.random() < 0.5 else 0):
        outline = _outline(rng) @ _rotation(rng.uniform(0, 6)) * _log_uniform(rng, 0.1, 0.6)
        stain: FloatArray = np.zeros((size, size), np.float32)
        corners = np.round((outline + rng.uniform(0, 1, 2)) * size * 16).astype(np.int32)
        cv2.fillPoly(stain, [corners], 1.0, shift=4)
        stain = _blurred(stain, _log_uniform(rng, 0.01, 0.06) * size)
        stain *= np.float32(rng.uniform(0.2, 1.0))
        image += (_render(rng, _material(rng), size, size, size) - image) * stain[..., None]
    return image * _slope(rng, size, size, strength=rng.uniform(0, 1.0))


def _photograph(rng: np.random.Generator, image: FloatArray) -> npt.NDArray[np.uint8]:
    """The changes that light, lens, sensor and file format make to a picture."""
    image = image * np.float32(rng.uniform(0.65, 1.25))
    if rng.random() < 0.4:
        image = image * rng.normal(1, 0.08, 3).astype(np.float32)
    if rng.random() < 0.3:
        image = _vignette(rng, image)
    if rng.random() < 0.3:  # a gamma curve
        image = _floats(255 * (np.clip(image, 0, 255) / 255) ** rng.uniform(0.6, 1.6))
    if rng.random() < 0.2:
        image = _colour_fringes(rng, image)
    if rng.random() < 0.35:
        image = _blurred(image, rng.uniform(0.4, 1.5) * image.shape[0] / 320)
    image += rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0, 8))
    if rng.random() < 0.1:
        image = np.repeat((image @ _LIGHT)[..., None], 3, axis=2)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))]
        encoded = cv2.imencode(".jpg", pixels, quality)[1]
        pixels = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return pixels


def _vignette(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """The dark corners that a lens makes."""
    side = np.linspace(-1, 1, image.shape[0], dtype=np.float32)
    distance = (side[:, None] ** 2 + side[None, :] ** 2) / 2
    return _floats(image * (1 - rng.uniform(0.1, 0.5) * distance)[..., None])


def _colour_fringes(rng: np.random.Generator, image: FloatArray) -> FloatArray:
    """A lens that magnifies red and blue a little differently from green."""
    size = image.shape[0]
    channels = []
    for channel in range(3):
        zoom = 1 + (rng.normal(0, 0.004) if channel != 1 else 0)
        shift = (1 - zoom) * size / 2
        move = _floats([[zoom, 0, shift], [0, zoom, shift]])
        channels.append(
            cv2.warpAffine(image[..., channel], move, (size, size), borderMode=cv2.BORDER_REFLECT)
        )
    return np.stack(channels, axis=-1)


def _floats(values: npt.ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float32)


def _blurred(image: npt.ArrayLike, sigma: float) -> FloatArray:
    return _floats(cv2.GaussianBlur(_floats(image), (0, 0), sigma))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))
