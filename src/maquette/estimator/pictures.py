"""Pictures to cut backgrounds and occluders from: photos of a folder, or textures made here.

Made ones are as cluttered as a desk, and many of them wear the object's own colours, so that neither an edge
nor a colour alone says where the object is.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from maquette.data.errors import InputError
from maquette.data.images import list_photos, read_photo

Picture = UInt8[np.ndarray, "height width 3"]
Colours = Float[np.ndarray, "colour 3"]
Texture = Float[np.ndarray, "size size 3"]
# Longer side of a picture in memory: a window of it still fills a crop.
LONGEST = 480


def load_pictures(folder: Path) -> list[Picture]:
    """The photos of a folder, shrunk. Raises InputError where there are none."""
    paths = list_photos(folder)
    if not paths:
        raise InputError(
            f"{folder} holds no photos: the estimator's --backgrounds expects a folder of photos without the object"
        )
    return [_shrunk(read_photo(path)) for path in paths]


def make_pictures(count: int, colours: Colours, rng: np.random.Generator, size: int = 256) -> list[Picture]:
    """Made textures and heaps of textured things. `colours`: the object's, sRGB in 0..1."""
    pictures = []
    for _ in range(count):
        palette = _palette(colours, rng)
        picture = _clutter(size, palette, rng) if rng.random() < 0.7 else _texture(size, palette, rng)
        pictures.append((np.clip(picture, 0, 1) * 255).astype(np.uint8))
    return pictures


def cut_patch(pictures: list[Picture], size: int, rng: np.random.Generator) -> UInt8[np.ndarray, "size size 3"]:
    """A random square window of a random picture, mirrored or not, as size x size."""
    picture = pictures[rng.integers(len(pictures))]
    height, width = picture.shape[:2]
    side = int(min(height, width) * rng.uniform(0.25, 1.0))
    x, y = rng.integers(width - side + 1), rng.integers(height - side + 1)
    window = picture[y : y + side, x : x + side]
    patch = cv2.resize(window, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
    return np.ascontiguousarray(patch[:, ::-1]) if rng.random() < 0.5 else patch


def _palette(colours: Colours, rng: np.random.Generator) -> Float[np.ndarray, "24 3"]:
    """Colours that go together: any, the muted ones of rooms and tables, or the object's own."""
    kind = rng.random()
    palette = rng.random((24, 3), dtype=np.float32)
    if kind < 0.4:
        palette = colours[rng.integers(len(colours), size=24)].astype(np.float32)
    elif kind < 0.7:
        palette = palette.mean(1, keepdims=True) + 0.15 * (palette - 0.5) + rng.normal(0, 0.1, 3).astype(np.float32)
    return np.clip(palette, 0, 1)


def _shrunk(photo: Picture) -> Picture:
    height, width = photo.shape[:2]
    zoom = min(1.0, LONGEST / max(height, width))
    small = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    return cv2.resize(photo, small, interpolation=cv2.INTER_AREA)


def _texture(size: int, palette: Colours, rng: np.random.Generator) -> Texture:
    """Two of the textures below, mixed over a smooth field."""
    first, second = (MAKERS[rng.integers(len(MAKERS))](size, palette, rng) for _ in range(2))
    share = rng.choice([0.0, 0.4, 1.0]) * _field(size, rng, 3)[..., None]
    return first * (1 - share) + second * share


def _clutter(size: int, palette: Colours, rng: np.random.Generator) -> Texture:
    """Textured things before one another, each lit from one side, each with a soft shadow behind it."""
    picture = _texture(size, palette, rng).astype(np.float32)
    for _ in range(rng.integers(4, 14)):
        outline = np.zeros((size, size), np.float32)
        x, y = (float(v) for v in rng.uniform(0, size, 2))
        wide, high = (float(v) for v in rng.uniform(0.08, 0.4, 2) * size)
        if rng.random() < 0.4:
            axes = (int(wide / 2) + 1, int(high / 2) + 1)
            cv2.ellipse(outline, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
        else:
            corners = cv2.boxPoints(((x, y), (wide, high), float(rng.uniform(0, 90))))
            corners += rng.uniform(-0.1, 0.1, (4, 2)).astype(np.float32) * min(wide, high)
            cv2.fillConvexPoly(outline, cv2.convexHull(corners)[:, 0].astype(np.int32), 1.0, cv2.LINE_AA)
        shadow = cv2.GaussianBlur(outline, (0, 0), float(rng.uniform(1, 8)))[..., None]
        picture *= 1 - float(rng.uniform(0, 0.6)) * shadow
        own = palette if rng.random() < 0.5 else rng.random((6, 3), dtype=np.float32)
        lit = _field(size, rng, 1)[..., None] * np.float32(0.9) + np.float32(0.4)
        picture += outline[..., None] * (_texture(size, own, rng) * lit - picture)
    return picture


def _field(size: int, rng: np.random.Generator, cells: int) -> Float[np.ndarray, "size size"]:
    """Smooth values in 0..1 between random knots."""
    knots = rng.random((cells + 1, cells + 1), dtype=np.float32)
    return np.clip(cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC), 0, 1)


def _ramp(values: Float[np.ndarray, "size size"], palette: Colours, rng: np.random.Generator) -> Texture:
    """Values in 0..1 through a ramp of three colours of the palette."""
    stops = palette[rng.integers(len(palette), size=3)]
    ramp = np.stack([np.interp(np.linspace(0, 1, 256), [0, 0.5, 1], stops[:, c]) for c in range(3)], -1)
    return ramp.astype(np.float32)[(np.clip(values, 0, 1) * 255).astype(np.uint8)]


def _noise(size: int, palette: Colours, rng: np.random.Generator) -> Texture:
    fall = rng.uniform(0.5, 1.0)
    octaves = [(fall**k, _field(size, rng, 2 ** (k + 1))) for k in range(7)]
    total = sum(weight for weight, _ in octaves)
    values = np.sum([weight / total * octave for weight, octave in octaves], axis=0)
    return _ramp(0.5 + rng.uniform(1.5, 4) * (values - 0.5), palette, rng)


def _blotches(size: int, palette: Colours, rng: np.random.Generator) -> Texture:
    """Noise cut at levels: spots and stains with hard edges."""
    values = _field(size, rng, int(rng.integers(4, 40)))
    levels = rng.integers(2, 5)
    return palette[rng.integers(len(palette), size=levels)][np.minimum((values * levels).astype(int), levels - 1)]


def _stripes(size: int, palette: Colours, rng: np.random.Generator) -> Texture:
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 60)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    waves = np.sin(along * 2 * np.pi / period) * (1 if rng.random() < 0.4 else np.sin(across * 2 * np.pi / period))
    return _ramp(0.5 + 0.5 * np.clip(waves * rng.uniform(1, 8), -1, 1), palette, rng)


def _gradient(size: int, palette: Colours, rng: np.random.Generator) -> Texture:
    return _ramp(_field(size, rng, 1), palette, rng)


def _print(size: int, palette: Colours, rng: np.random.Generator) -> Texture:
    """Marks as on a label: letters, lines, dots and bars over an even ground."""
    # Letters can only be drawn into 8-bit images.
    picture = (_ramp(_field(size, rng, 2), palette, rng) * 255).astype(np.uint8)
    letters = "ABCDEFGHKLMNOPRSTUVXYZabcdeghkmnoprsuvxz0123456789%&"
    for _ in range(rng.integers(8, 50)):
        x, y = (int(v) for v in rng.integers(0, size, 2))
        colour = tuple(float(v) for v in 255 * palette[rng.integers(len(palette))])
        thick = int(rng.integers(1, 6))
        kind = rng.integers(4)
        if kind == 0:
            word = "".join(letters[i] for i in rng.integers(len(letters), size=rng.integers(1, 8)))
            face, height = int(rng.integers(0, 8)), float(rng.uniform(0.4, 2.5))
            cv2.putText(picture, word, (x, y), face, height, colour, thick, cv2.LINE_AA)
        elif kind == 1:
            end = (x + int(rng.normal() * size / 5), y + int(rng.normal() * size / 5))
            cv2.line(picture, (x, y), end, colour, thick, cv2.LINE_AA)
        elif kind == 2:
            cv2.circle(picture, (x, y), int(rng.integers(2, size // 10)), colour, thick - 3, cv2.LINE_AA)
        else:
            end = (x + int(rng.integers(3, size // 4)), y + int(rng.integers(3, size // 8)))
            cv2.rectangle(picture, (x, y), end, colour, -1, cv2.LINE_AA)
    return picture.astype(np.float32) / 255


MAKERS: tuple[Callable[[int, Colours, np.random.Generator], Texture], ...] = (
    _noise,
    _blotches,
    _stripes,
    _gradient,
    _print,
)
