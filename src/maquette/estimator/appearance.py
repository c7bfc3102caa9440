"""How one thing looks under random light, through a random camera."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from maquette.data.images import as_bytes


@dataclass(frozen=True)
class Appearance:
    """Ranges of light and camera; wide enough that a real photo is one of them."""

    relit: float = 1.0
    """Share of the views in which the object is lit anew; in the others its colours are as the model has them."""
    ambient: tuple[float, float] = (0.35, 0.9)
    diffuse: tuple[float, float] = (0.0, 0.9)
    specular: tuple[float, float] = (0.0, 0.35)
    """Strength of a highlight, in half of the views."""
    shadow: float = 0.35
    """Share of the views in which an edge of shadow falls across the object."""
    ground_shadow: float = 0.4
    """Share of the views in which the object's own soft shadow lies on what is behind it."""
    exposure: float = 0.5
    """Stops, one standard deviation."""
    white_balance: float = 0.07
    """Gain per channel, one standard deviation of its logarithm."""
    curve: float = 1.0
    """How far gamma (0.8 to 1.25), contrast (0.75 to 1.25) and black level may go; 0: none of them changes."""
    saturation: float = 0.3
    """Share of the views whose colours are stronger or paler."""
    blur: float = 1.0
    """Largest standard deviation, as a share of the crop's side in percent; 0: neither shake nor coarser pixels."""
    noise: float = 0.04
    """Largest standard deviation, of white."""
    jpeg: float = 0.3
    """Share of the views that are compressed."""


def shade(
    colour: Float[np.ndarray, "height width 3"],
    normal_obj: Float[np.ndarray, "height width 3"],
    toward_eye_obj: Float[np.ndarray, "3"],
    look: Appearance,
    rng: np.random.Generator,
) -> UInt8[np.ndarray, "height width 3"]:
    """The object's colours (sRGB 0..1) lit by an ambient light, one lamp, perhaps a highlight and a shadow.

    The lamp stands above the object's horizon (obj z up). Light adds up in linear light, taken as sRGB squared.
    """
    if look.relit < 1 and rng.random() >= look.relit:
        return as_bytes(colour)
    lamp = rng.normal(size=3)
    lamp[2] = abs(lamp[2]) if rng.random() < 0.9 else lamp[2]
    lamp = lamp / np.linalg.norm(lamp)
    facing = np.maximum(normal_obj @ lamp.astype(np.float32), 0)
    light = np.float32(rng.uniform(*look.ambient)) + np.float32(rng.uniform(*look.diffuse)) * facing
    light *= _uneven(colour.shape[0], colour.shape[1], look, rng)
    tint = np.exp(rng.normal(0, look.white_balance / 2, 3)).astype(np.float32)
    linear = colour * colour * (light[..., None] * tint)
    if rng.random() < 0.5:
        half = lamp + toward_eye_obj
        half = (half / np.linalg.norm(half)).astype(np.float32)
        shine = np.maximum(normal_obj @ half, 0) ** np.float32(rng.uniform(8, 60))
        linear += (np.float32(rng.uniform(*look.specular)) * shine)[..., None]
    return as_bytes(np.sqrt(np.maximum(linear, 0)))


def photograph(
    image: UInt8[np.ndarray, "size size 3"], look: Appearance, rng: np.random.Generator
) -> UInt8[np.ndarray, "size size 3"]:
    """The scene as a camera would record it: blur, exposure, white balance, contrast, noise, compression."""
    image = _blurred(image, look, rng)
    image = cv2.LUT(image, _response(look, rng))
    if rng.random() < look.saturation:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        share = float(rng.uniform(-0.3, 0.6))
        image = cv2.addWeighted(image, 1 - share, grey, share, 0)
    if rng.random() < 0.7:
        sigma = 255 * look.noise * float(rng.random() ** 2)
        noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sigma)
        image = np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), dtype=np.uint8)
    if rng.random() < look.jpeg:
        quality = int(rng.integers(35, 95))
        packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)
    return image


def _uneven(
    height: int, width: int, look: Appearance, rng: np.random.Generator
) -> Float[np.ndarray, "height width"]:
    """Light that differs over the object: a smooth field, and sometimes a shadow's edge."""
    knots = np.exp(rng.normal(0, 0.15, (3, 3))).astype(np.float32)
    field = cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC)
    if rng.random() < look.shadow:
        angle, soft = rng.uniform(0, 2 * np.pi), rng.uniform(1, 25)
        x, y = (np.arange(n, dtype=np.float32) - n * np.float32(rng.uniform(0.3, 0.7)) for n in (width, height))
        across = x[None] * np.float32(np.cos(angle)) + y[:, None] * np.float32(np.sin(angle))
        field *= 1 - np.float32(rng.uniform(0.2, 0.6)) * np.clip(across / np.float32(soft), 0, 1)
    return field


def _response(look: Appearance, rng: np.random.Generator) -> UInt8[np.ndarray, "256 1 3"]:
    """A camera's curve per channel: exposure and white balance in linear light, then contrast about the middle."""
    gain = 2.0 ** rng.normal(0, look.exposure) * np.exp(rng.normal(0, look.white_balance, 3))
    level = np.linspace(0, 1, 256)[:, None] * np.sqrt(gain)
    level = np.clip(level, 0, None) ** rng.uniform(0.8, 1.25) ** look.curve
    contrast, black = 1 + look.curve * rng.uniform(-0.25, 0.25), look.curve * rng.uniform(-0.06, 0.06)
    return as_bytes(0.5 + (level - 0.5) * contrast + black)[:, None]


def _blurred(
    image: UInt8[np.ndarray, "size size 3"], look: Appearance, rng: np.random.Generator
) -> UInt8[np.ndarray, "size size 3"]:
    if look.blur == 0:
        return image
    kind = rng.random()
    if kind < 0.15:
        length = max(1, int(len(image) * rng.uniform(0.015, 0.045)))
        kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
        reach = rng.uniform(-1, 1, 2)
        reach = reach / max(abs(reach)) * length * 0.6
        ends = [tuple(round(length + sign * v) for v in reach) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        return cv2.filter2D(image, -1, kernel / kernel.sum())
    if kind < 0.8:
        return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.2, max(0.3, look.blur / 100 * len(image)))))
    if kind < 0.9:
        small = max(8, int(len(image) * rng.uniform(0.4, 0.8)))
        less = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        return cv2.resize(less, (len(image), len(image)), interpolation=cv2.INTER_LINEAR)
    return image
