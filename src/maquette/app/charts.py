"""Charts as inline SVG: lines, a bar of seconds, cameras around points. Colours come from the page's CSS."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float, UInt8


def line_chart(
    x: Sequence[float | int], y: Sequence[float | int], title: str, width: int = 300, height: int = 150
) -> str:
    """One curve with its own axis: raw values faint, their running median on top, first and last value named."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    keep = np.isfinite(ys) & np.isfinite(xs)
    xs, ys = xs[keep], ys[keep]
    if len(xs) < 2:
        return ""
    low, high = (float(v) for v in np.quantile(ys, [0.005, 0.995]))
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    left, right, top, bottom = 44, 8, 24, 20

    def place(px: np.ndarray, py: np.ndarray) -> str:
        u = left + (px - xs[0]) / max(xs[-1] - xs[0], 1e-12) * (width - left - right)
        v = height - bottom - (np.clip(py, low, high) - low) / (high - low) * (height - top - bottom)
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(u, v, strict=True))

    thin = np.unique(np.linspace(0, len(xs) - 1, 400).astype(int))
    smooth = _running_median(ys, max(3, len(ys) // 40))
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">',
        f'<text x="{left}" y="14" class="name">{escape(title)}</text>',
        f'<text x="{width - right}" y="14" class="value" text-anchor="end">{_short(float(smooth[-1]))}</text>',
    ]
    for value in (low, (low + high) / 2, high):
        v = height - bottom - (value - low) / (high - low) * (height - top - bottom)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{v:.1f}" y2="{v:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 6}" y="{v + 3:.1f}" text-anchor="end">{_short(value)}</text>')
    parts += [
        f'<text class="tick" x="{left}" y="{height - 5}">{_short(float(xs[0]))}</text>',
        f'<text class="tick" x="{width - right}" y="{height - 5}" text-anchor="end">{_short(float(xs[-1]))}</text>',
        f'<polyline class="raw" points="{place(xs[thin], ys[thin])}"/>',
        f'<polyline class="curve" points="{place(xs[thin], smooth[thin])}"/>',
        "</svg>",
    ]
    return "".join(parts)


def seconds_bar(seconds: Sequence[tuple[str, float]], width: int = 900) -> str:
    """Where the time went: one bar, a part for each stage, named below where there is room."""
    total = sum(value for _, value in seconds)
    if total <= 0:
        return ""
    parts = [f'<svg class="bar" viewBox="0 0 {width} 58" role="img" aria-label="seconds per stage">']
    x = 0.0
    for idx, (name, value) in enumerate(seconds):
        wide = value / total * width
        parts.append(
            f'<rect class="part p{idx % 6}" x="{x:.1f}" y="0" width="{max(wide - 2, 0.5):.1f}" height="26" rx="3">'
            f"<title>{escape(name)}: {in_words(value)}</title></rect>"
        )
        if wide > 62:
            parts.append(f'<text class="name" x="{x:.1f}" y="42">{escape(name)}</text>')
            parts.append(f'<text class="tick" x="{x:.1f}" y="55">{in_words(value)}</text>')
        x += wide
    return "".join(parts) + "</svg>"


@dataclass(frozen=True)
class Scene:
    """What the camera plot shows, in one world: an eye and the four corners of its picture for each photo."""

    eyes: Float[np.ndarray, "camera 3"]
    corners: Float[np.ndarray, "camera 4 3"]
    held_out: tuple[bool, ...]
    points: Float[np.ndarray, "point 3"]
    colours: UInt8[np.ndarray, "point 3"]
    centre: Float[np.ndarray, "3"]
    radius: float
    up: Float[np.ndarray, "3"]


def camera_plot(scene: Scene, width: int = 460, height: int = 360, azimuth: float = 0.7, tilt: float = 0.5) -> str:
    """Cameras, points and the object sphere in orthographic projection, seen from `tilt` above."""
    turn = _turntable(scene.up, azimuth, tilt)
    flat_eyes = (scene.eyes - scene.centre) @ turn.T
    reach = float(np.quantile(np.linalg.norm(scene.eyes - scene.centre, axis=-1), 0.95)) * 1.25
    near = np.linalg.norm(scene.points - scene.centre, axis=-1) < reach * 1.1
    every = max(1, int(near.sum()) // 1500)
    points, colours = scene.points[near][::every], scene.colours[near][::every]
    flat = (points - scene.centre) @ turn.T
    ball = scene.radius * np.array([[1.0, 1.0], [-1.0, -1.0]])
    shown = np.concatenate(
        [flat_eyes[:, :2], ((scene.corners - scene.centre) @ turn.T)[..., :2].reshape(-1, 2), ball]
    )
    low, high = shown.min(0), shown.max(0)
    middle = (low + high) / 2
    scale = 0.94 * float(min(np.array([width, height]) / np.maximum(high - low, 1e-9)))

    def at(p: np.ndarray) -> tuple[float, float]:
        u, v = scale * (p[:2] - middle)
        return width / 2 + float(u), height / 2 + float(v)

    parts = [f'<svg class="scene" viewBox="0 0 {width} {height}" role="img" aria-label="cameras and points">']
    for idx in np.argsort(-flat[:, 2]):
        u, v = at(flat[idx])
        if not (0 < u < width and 0 < v < height):
            continue
        r, g, b = (int(c) for c in colours[idx])
        parts.append(f'<circle cx="{u:.1f}" cy="{v:.1f}" r="1.3" fill="rgb({r},{g},{b})"/>')
    u, v = at(np.zeros(2))
    parts.append(f'<circle class="sphere" cx="{u:.1f}" cy="{v:.1f}" r="{scale * scene.radius:.1f}"/>')
    for idx in np.argsort(-flat_eyes[:, 2]):
        kind = "held" if scene.held_out[idx] else "learnt"
        eye = at(flat_eyes[idx])
        frame = [at(p) for p in (scene.corners[idx] - scene.centre) @ turn.T]
        ring = " ".join(f"{a:.1f},{b:.1f}" for a, b in frame)
        rays = "".join(f"M{eye[0]:.1f} {eye[1]:.1f}L{a:.1f} {b:.1f}" for a, b in frame)
        parts.append(f'<path class="{kind}" d="{rays}"/><polygon class="{kind}" points="{ring}"/>')
    return "".join(parts) + "</svg>"


def _turntable(up: Float[np.ndarray, "3"], azimuth: float, tilt: float) -> Float[np.ndarray, "3 3"]:
    """Rows: right, down, away of a viewer who looks at the table from above it."""
    up = up / np.linalg.norm(up)
    first = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    first /= np.linalg.norm(first)
    right = np.cos(azimuth) * first + np.sin(azimuth) * np.cross(up, first)
    level = np.cross(up, right)
    away = np.cos(tilt) * level - np.sin(tilt) * up
    return np.stack([right, np.cross(away, right), away])


def in_words(seconds: float) -> str:
    """4.2 s, 3 min 20 s."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _running_median(values: np.ndarray, window: int) -> np.ndarray:
    half = window // 2
    padded = np.concatenate([np.full(half, values[0]), values, np.full(half, values[-1])])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    return np.median(windows, axis=-1)


def _short(value: float) -> str:
    """At most five characters for most numbers."""
    size = abs(value)
    if size >= 10_000:
        return f"{value / 1000:.0f}k"
    if size >= 100 or value == int(value):
        return f"{value:.0f}"
    if size < 0.01:
        return f"{value:.1e}".replace("e-0", "e-")
    return f"{value:.3g}"
