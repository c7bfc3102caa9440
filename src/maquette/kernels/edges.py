# pyright: reportArgumentType=false, reportOperatorIssue=false
"""Where along rays to ask the fields, from two coarse grids: one kernel, a ray a thread, for CPUs.

The twin, which says what is done and why, is `draw_edges` in `fields/sampling.py`: bins through the unit sphere and
beyond it, an opacity for each from a grid of distances over [-1, 1]^3 and one of densities over contracted space,
weights, and places drawn from those. Symbols: t distance along the ray, i a bin, c the cumulated share of its mass.
"""

import torch
import warp as wp
from jaxtyping import Float
from torch import Tensor

from maquette.kernels.launch import launch_in_slices, start

INSIDE, BEYOND = 64, 40
"""Bins of a ray: evenly through the sphere, then evenly in inverse distance."""
FAREST = 200.0

# Casts are written `(float)x`: Warp's generated code defines `float(` as a macro.
_BINS = f"""
    constexpr int INSIDE = {INSIDE}, ALL = {INSIDE + BEYOND};
    constexpr float FAREST = {FAREST}f;
"""

_DRAW = (
    _BINS
    + """
    const int count = edges.shape[1];
    const float* o = origins.data + 3 * ray;
    const float* d = directions.data + 3 * ray;
    auto lookup = [](const auto& grid, float x, float y, float z) {
        const int side = grid.shape[0];
        const float last = (float)(side - 1), half = 0.5f * last;
        const float p[3] = { (x + 1) * half, (y + 1) * half, (z + 1) * half };
        int low[3];
        float f[3];
        for (int k = 0; k < 3; ++k) {
            const float at = p[k] < 0 ? 0 : (p[k] > last ? last : p[k]);
            low[k] = at < last ? (int)at : side - 2;
            f[k] = at - low[k];
        }
        const float* g = grid.data + ((size_t)low[0] * side + low[1]) * side + low[2];
        const int over = side * side;
        const float a = g[0] + f[2] * (g[1] - g[0]), b = g[side] + f[2] * (g[side + 1] - g[side]);
        const float c = g[over] + f[2] * (g[over + 1] - g[over]);
        const float e = g[over + side] + f[2] * (g[over + side + 1] - g[over + side]);
        const float near = a + f[1] * (b - a), far = c + f[1] * (e - c);
        return near + f[0] * (far - near);
    };

    // exp(x) = 2^k e^f: k whole, f within half of log 2.
    auto exponential = [](float x) {
        x = x < -87 ? -87 : (x > 87 ? 87 : x);
        const float shifted = x * 1.44269504f + 127.5f;
        const int power = (int)shifted;
        const float f = x - (power - 127) * 0.693359375f + (power - 127) * 2.12194440e-4f;
        float p = 1.9875691e-4f;
        p = p * f + 1.3981999e-3f;
        p = p * f + 8.3334519e-3f;
        p = p * f + 4.1665795e-2f;
        p = p * f + 1.6666665e-1f;
        p = p * f + 0.5f;
        union { int bits; float number; } two;
        two.bits = power << 23;
        return (p * f * f + f + 1) * two.number;
    };

    const float along = o[0] * d[0] + o[1] * d[1] + o[2] * d[2];
    const float apart = o[0] * o[0] + o[1] * o[1] + o[2] * o[2];
    const float under = along * along - apart + 1;
    const float root = under > 0 ? sqrtf(under) : 0;
    const bool hit = under > 1e-6f && root - along > 1e-3f;
    const float away = sqrtf(apart);
    const float leave = hit ? root - along : 0.3f * (away > 0.5f ? away : 0.5f);
    const float enter = hit ? (-along - root > 1e-3f ? -along - root : 1e-3f) : leave;
    const float farest = 4 * leave > FAREST ? 4 * leave : FAREST;
    float t[ALL + 1], w[ALL];
    for (int i = 0; i <= INSIDE; ++i) t[i] = enter + (leave - enter) * ((float)i / INSIDE);
    for (int i = 1; i <= ALL - INSIDE; ++i)
        t[INSIDE + i] = 1 / (1 / leave + (1 / farest - 1 / leave) * ((float)i / (ALL - INSIDE)));

    // One thing at a time for all bins: so the compiler's vector instructions do it.
    float x[ALL], y[ALL], z[ALL], delta[ALL], thin[ALL], logistic[INSIDE + 1];
    for (int i = 0; i < ALL; ++i) {
        delta[i] = t[i + 1] - t[i];
        const float m = 0.5f * (t[i] + t[i + 1]);
        x[i] = o[0] + m * d[0];
        y[i] = o[1] + m * d[1];
        z[i] = o[2] + m * d[2];
        const float r = sqrtf(x[i] * x[i] + y[i] * y[i] + z[i] * z[i]), far = r > 1 ? r : 1;
        const float c = 0.5f * (2 - 1 / far) / far;
        x[i] *= c;
        y[i] *= c;
        z[i] *= c;
    }
    const int first = hit ? 0 : INSIDE;
    for (int i = first; i < ALL; ++i) thin[i] = -delta[i] * lookup(density, x[i], y[i], z[i]);
    for (int i = first; i < ALL; ++i) thin[i] = exponential(thin[i]);
    for (int i = 0; hit && i <= INSIDE; ++i)
        logistic[i] = lookup(sdf, o[0] + t[i] * d[0], o[1] + t[i] * d[1], o[2] + t[i] * d[2]);
    for (int i = 0; hit && i <= INSIDE; ++i) logistic[i] = 1 / (1 + exponential(-inv_s * logistic[i]));

    float light = 1, longs = 0;
    for (int i = 0; i < ALL; ++i) {
        longs += delta[i] > 0;
        float alpha = i < first ? 0 : 1 - thin[i];
        if (hit && i < INSIDE) {
            const float own = (logistic[i] - logistic[i + 1]) / (logistic[i] + 1e-5f);
            alpha = own > alpha ? own : alpha;
        }
        w[i] = light * alpha;
        light *= 1 - alpha + 1e-7f;
    }

    float mass[ALL], total = 0;
    for (int i = 0; i < ALL; ++i) {
        float most = w[i];
        if (i > 0 && w[i - 1] > most) most = w[i - 1];
        if (i < ALL - 1 && w[i + 1] > most) most = w[i + 1];
        mass[i] = 0.5f * (w[i] + most) + (t[i + 1] > t[i] ? 0.1f / longs : 0);
        total += mass[i];
    }
    int i = 0;
    float c0 = 0, c1 = mass[0] / total;
    for (int k = 0; k < count; ++k) {
        const float u = (k + (jitter.shape[0] ? jitter.data[(size_t)ray * count + k] : 0.5f)) / count;
        while (c1 <= u && i < ALL - 1) {
            c0 = c1;
            c1 += mass[++i] / total;
        }
        const float wide = c1 - c0 > 1e-9f ? c1 - c0 : 1e-9f, part = (u - c0) / wide;
        edges.data[(size_t)ray * count + k] = t[i] + (part < 0 ? 0 : (part > 1 ? 1 : part)) * (t[i + 1] - t[i]);
    }
"""
)


@wp.func_native(_DRAW)
def _draw(
    ray: int,
    inv_s: float,
    origins: wp.array2d(dtype=float),  # type: ignore[valid-type]
    directions: wp.array2d(dtype=float),  # type: ignore[valid-type]
    sdf: wp.array3d(dtype=float),  # type: ignore[valid-type]
    density: wp.array3d(dtype=float),  # type: ignore[valid-type]
    jitter: wp.array2d(dtype=float),  # type: ignore[valid-type]
    edges: wp.array2d(dtype=float),  # type: ignore[valid-type]
): ...


@wp.kernel(enable_backward=False)
def _edges(
    first: int,
    inv_s: float,
    origins: wp.array2d(dtype=float),  # type: ignore[valid-type]
    directions: wp.array2d(dtype=float),  # type: ignore[valid-type]
    sdf: wp.array3d(dtype=float),  # type: ignore[valid-type]
    density: wp.array3d(dtype=float),  # type: ignore[valid-type]
    jitter: wp.array2d(dtype=float),  # type: ignore[valid-type]
    edges: wp.array2d(dtype=float),  # type: ignore[valid-type]
):
    _draw(first + wp.tid(), inv_s, origins, directions, sdf, density, jitter, edges)


def edges_from_grids(
    origins: Float[Tensor, "ray 3"],
    directions: Float[Tensor, "ray 3"],
    sdf: Float[Tensor, "side side side"],
    density: Float[Tensor, "side2 side2 side2"],
    inv_s: float,
    count: int,
    jitter: Float[Tensor, "ray count"] | None = None,
) -> Float[Tensor, "ray count"]:
    """Distances along rays (unit directions) between which to ask the fields; without a jitter, mid-quantiles."""
    start(__name__)
    edges = torch.empty(len(origins), count)
    drawn = edges[:0] if jitter is None else jitter
    arrays = [wp.from_torch(one.contiguous()) for one in (origins, directions, sdf, density, drawn, edges)]
    launch_in_slices(_edges, len(origins), lambda first: [first, inv_s, *arrays], least=128)
    return edges
