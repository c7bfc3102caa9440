"""Patterns that never repeat: noise at many scales, shapes, words. Made from a random generator, as sRGB images.

A `Pattern` makes an image of the asked height and width in pixels; row 0 is the top.
"""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Image = UInt8[np.ndarray, "_ _ 3"]
Palette = Float[np.ndarray, "_ 3"]
Pattern = Callable[[int, int, np.random.Generator], Image]

FONTS = (
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
    cv2.FONT_HERSHEY_SIMPLEX,
)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz0123456789&%?"


def palette(
    rng: np.random.Generator,
    count: int,
    saturation: tuple[float, float] = (0.3, 0.9),
    value: tuple[float, float] = (0.25, 0.95),
    hue: float | None = None,
) -> Palette:
    """Colours in 0..255; around one hue (0..1) where it is given, else all round the wheel, dark to light."""
    hues = rng.random(count) if hue is None else (hue + rng.normal(0, 0.04, count)) % 1.0
    hsv = np.stack([hues * 360, rng.uniform(*saturation, count), np.linspace(*value, count)], -1)
    return cv2.cvtColor(hsv[None].astype(np.float32), cv2.COLOR_HSV2RGB)[0].astype(float) * 255


def few_inks(rng: np.random.Generator) -> Palette:
    """The inks of one print: two hues, dark to light, black and white; so prints differ from each other."""
    first, second = rng.random(), rng.random()
    plain = np.array([[18.0, 18, 22], [240, 238, 230]])
    return np.concatenate(
        [palette(rng, 3, (0.5, 1.0), (0.3, 0.9), first), palette(rng, 3, (0.5, 1.0), (0.4, 1.0), second), plain]
    )


def noise(
    height: int,
    width: int,
    rng: np.random.Generator,
    coarsest: float = 0.5,
    finest: float = 2.0,
    falloff: float = 0.8,
) -> Float[np.ndarray, "height width"]:
    """Value noise in 0..1, octaves from `coarsest` (a share of the shorter side) down to `finest` pixels."""
    total = np.zeros((height, width), np.float32)
    cell, weight = max(coarsest * min(height, width), finest), 1.0
    while cell >= finest:
        rows, columns = int(np.ceil(height / cell)) + 3, int(np.ceil(width / cell)) + 3
        grid = rng.random((rows, columns), dtype=np.float32) - 0.5
        size = (int(columns * cell), int(rows * cell))
        total += (
            weight
            * cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)[
                int(cell) : int(cell) + height, int(cell) : int(cell) + width
            ]
        )
        cell, weight = cell / 2, weight * falloff
    spread = 2.2 * float(total.std()) + 1e-6
    return np.clip(0.5 + 0.5 * (total - total.mean()) / spread, 0, 1)


def through(values: Float[np.ndarray, "height width"], colours: Palette) -> Image:
    """Values in 0..1 as colours along the palette, linearly between its entries."""
    table = np.stack(
        [np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(colours)), colours[:, c]) for c in range(3)], -1
    ).astype(np.uint8)
    return table[(values * 255).astype(np.uint8)]


def add_shapes(
    image: Image, rng: np.random.Generator, count: int, sizes: tuple[float, float], inks: Palette
) -> None:
    """Draw discs, rings, polygons, stars and strokes of `sizes` pixels (small ones more often) into the image."""
    height, width = image.shape[:2]
    for _ in range(count):
        centre = rng.random(2) * [width, height]
        size = float(np.exp(rng.uniform(*np.log(sizes))))
        ink = _ink(rng, inks)
        kind = rng.integers(5)
        if kind == 0:
            cv2.circle(image, _pixel(centre), max(1, int(size / 2)), ink, -1, cv2.LINE_AA)
        elif kind == 1:
            cv2.circle(image, _pixel(centre), max(2, int(size / 2)), ink, max(1, int(size / 7)), cv2.LINE_AA)
        elif kind == 2:
            end = centre + rng.normal(size=2) * size
            cv2.line(image, _pixel(centre), _pixel(end), ink, max(1, int(size / 9)), cv2.LINE_AA)
        else:
            corners = int(rng.integers(3, 9))
            angles = np.sort(rng.random(corners)) * 2 * np.pi
            radii = size / 2 * rng.uniform(0.4, 1.0, corners)
            outline = centre + np.stack([np.cos(angles), np.sin(angles)], -1) * radii[:, None]
            cv2.fillPoly(image, [outline.round().astype(np.int32)], ink, cv2.LINE_AA)


def add_words(
    image: Image, rng: np.random.Generator, count: int, sizes: tuple[float, float], inks: Palette
) -> None:
    """Write random words, `sizes` pixels high, nearly level."""
    height, width = image.shape[:2]
    for _ in range(count):
        word = "".join(rng.choice(list(LETTERS), int(rng.integers(2, 9))))
        size = float(np.exp(rng.uniform(*np.log(sizes))))
        origin = rng.random(2) * [width, height] - [width * 0.1, 0]
        font, scale = FONTS[int(rng.integers(len(FONTS)))], size / 22
        cv2.putText(image, word, _pixel(origin), font, scale, _ink(rng, inks), max(1, int(size / 9)), cv2.LINE_AA)


def printed(inks: Palette, ground: Palette, scale: float = 1.0) -> Pattern:
    """A printed label: coloured fields, shapes and words over a mottled ground; `scale`: pixels per 0.5 mm."""

    def make(height: int, width: int, rng: np.random.Generator) -> Image:
        image = through(noise(height, width, rng, 0.6, 2.0 * scale), ground)
        area = height * width / scale**2
        for _ in range(max(2, int(area / 12000))):
            corner, size = rng.random(2) * [width, height], rng.uniform(20, 90, 2) * scale
            cv2.rectangle(image, _pixel(corner), _pixel(corner + size), _ink(rng, inks), -1)
        add_shapes(image, rng, int(area / 500), (5 * scale, 50 * scale), inks)
        add_words(image, rng, int(area / 2500), (9 * scale, 40 * scale), inks)
        return _grain(image, rng, 0.18)

    return make


def mottled(colours: Palette, marks: Palette | None = None, size: float = 6.0) -> Pattern:
    """Noise through a palette with small marks of about `size` pixels: clay, stone, cloth, carpet."""

    def make(height: int, width: int, rng: np.random.Generator) -> Image:
        image = through(noise(height, width, rng, 0.3, 2.0, 0.85), colours)
        if marks is not None:
            add_shapes(image, rng, int(height * width / (12 * size**2)), (0.5 * size, 3 * size), marks)
        return _grain(image, rng, 0.2)

    return make


def wooden(colours: Palette, marks: Palette) -> Pattern:
    """Boards along the rows: noise stretched along the grain, knots and scratches."""

    def make(height: int, width: int, rng: np.random.Generator) -> Image:
        short = cv2.resize(noise(height, max(8, width // 8), rng, 0.4, 2.0, 0.9), (width, height))
        image = through(np.clip(0.65 * short + 0.35 * noise(height, width, rng, 0.1), 0, 1), colours)
        add_shapes(image, rng, int(height * width / 2500), (2.0, 14.0), marks)
        for y in np.cumsum(rng.uniform(60, 120, 1 + height // 60)):
            cv2.line(image, (0, int(y)), (width, int(y + rng.normal() * 2)), _ink(rng, marks * 0.5), 2, cv2.LINE_AA)
        return _grain(image, rng, 0.2)

    return make


def poster(inks: Palette, ground: Palette) -> Pattern:
    """A picture for a wall: big noise clouds, large shapes, a few words."""

    def make(height: int, width: int, rng: np.random.Generator) -> Image:
        image = through(noise(height, width, rng, 0.9), ground)
        area = height * width
        add_shapes(image, rng, 20 + area // 6000, (12.0, 0.3 * min(height, width)), inks)
        add_words(image, rng, 4 + area // 12000, (12.0, 60.0), inks)
        add_shapes(image, rng, area // 900, (3.0, 12.0), inks)
        return _grain(image, rng, 0.15)

    return make


def spines(shades: Palette) -> Pattern:
    """Shelves of books: rows of upright coloured strips with words."""

    def make(height: int, width: int, rng: np.random.Generator) -> Image:
        image = np.full((height, width, 3), 40, np.uint8)
        shelf = 90
        for bottom in range(shelf, height + shelf, shelf):
            x = 0
            while x < width:
                thick, tall = int(rng.integers(8, 26)), int(rng.uniform(0.65, 0.93) * shelf)
                cv2.rectangle(image, (x, bottom - tall), (x + thick - 2, bottom - 6), _ink(rng, shades), -1)
                x += thick
        add_shapes(image, rng, height * width // 400, (2.0, 9.0), shades)
        return _grain(image, rng, 0.2)

    return make


def bands(colours: Palette) -> Pattern:
    """Level bands: the same all the way round, so a turned body of revolution looks the same."""

    def make(height: int, width: int, rng: np.random.Generator) -> Image:
        column = through(noise(height, height, rng, 0.5, 8.0)[:, :1].copy(), colours)
        return np.repeat(column, width, axis=1)

    return make


def rings(colours: Palette) -> Pattern:
    """Rings round the middle: the same however the disc is turned."""

    def make(height: int, width: int, rng: np.random.Generator) -> Image:
        y, x = np.mgrid[:height, :width] + 0.5
        radius = np.hypot(x - width / 2, y - height / 2) / (0.5 * max(height, width))
        profile = rng.random(12)
        return through(np.interp(radius, np.linspace(0, 1, 12), profile), colours)

    return make


def _grain(image: Image, rng: np.random.Generator, amount: float) -> Image:
    """Brightness noise at all scales on top, then the blur that keeps the pattern from aliasing."""
    gain = 1 + amount * 2 * (noise(image.shape[0], image.shape[1], rng, 0.2, 2.0, 1.0) - 0.5)
    shaded = np.clip(image.astype(np.float32) * gain[..., None], 0, 255).astype(np.uint8)
    return cv2.GaussianBlur(shaded, (0, 0), 0.6)


def _ink(rng: np.random.Generator, inks: Palette) -> tuple[int, int, int]:
    r, g, b = inks[int(rng.integers(len(inks)))]
    return int(r), int(g), int(b)


def _pixel(point: Float[np.ndarray, "2"]) -> tuple[int, int]:
    return int(point[0]), int(point[1])
