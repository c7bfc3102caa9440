# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOperatorIssue=false
"""The hash grid's kernels for CPUs: level by level, so that a level's table stays in the cache, and in blocks of 64
points, so that the compiler's vector instructions do the arithmetic.

Symbols as in `hashgrid`: N points, L levels, F = 2 L features. Within a block: row[corner], the table's row of each
of a cell's 8 corners (corner = x + 2 y + 4 z); f, where in its cell a point lies; a, b, a corner's two features.
Outputs of the same numbers as `hashgrid._forward` and `_backward`, which do a point per thread and are for GPUs.
An item is one level, or one level of one part of the points; a launch takes every `stride`-th of them.
"""

import warp as wp

# Casts are written `(float)x`: Warp's generated code defines `float(` as a macro.
_CELLS = """
    constexpr int B = 64;
    const float scale = (float)resolution;
    const unsigned side = resolution + 1, mask = rows - 1;
    const bool dense = (size_t)side * side * side <= (size_t)rows;
    const unsigned py = dense ? side : 2654435761u, pz = dense ? side * side : 805459861u;
    const int last = resolution - 1;
    float fx[B], fy[B], fz[B], a[8][B], b[8][B];
    unsigned row[8][B];
    auto locate = [&](int start, int count) {
        for (int i = 0; i < B; ++i) {
            const int n = start + (i < count ? i : count - 1);
            const float gx = points.data[3 * n] * scale;
            const float gy = points.data[3 * n + 1] * scale;
            const float gz = points.data[3 * n + 2] * scale;
            int ix = (int)gx, iy = (int)gy, iz = (int)gz;
            ix = ix < 0 ? 0 : (ix > last ? last : ix);
            iy = iy < 0 ? 0 : (iy > last ? last : iy);
            iz = iz < 0 ? 0 : (iz > last ? last : iz);
            fx[i] = gx - ix; fy[i] = gy - iy; fz[i] = gz - iz;
            const unsigned x = ix, y0 = iy * py, z0 = iz * pz, y1 = y0 + py, z1 = z0 + pz;
            const unsigned h[4] = {
                dense ? y0 + z0 : y0 ^ z0, dense ? y1 + z0 : y1 ^ z0,
                dense ? y0 + z1 : y0 ^ z1, dense ? y1 + z1 : y1 ^ z1 };
            for (int c = 0; c < 4; ++c) {
                row[2 * c][i] = dense ? x + h[c] : (x ^ h[c]) & mask;
                row[2 * c + 1][i] = dense ? x + 1 + h[c] : ((x + 1) ^ h[c]) & mask;
            }
        }
    };
"""

_FORWARD = (
    _CELLS
    + """
    const float* table = tables.data + (size_t)level * rows * 2;
    const size_t points_all = points.shape[0] / 3;
    for (int start = first; start < stop; start += B) {
        const int count = stop - start < B ? stop - start : B;
        locate(start, count);
        for (int i = 0; i < B; ++i)
            for (int c = 0; c < 8; ++c) {
                a[c][i] = table[2 * row[c][i]];
                b[c][i] = table[2 * row[c][i] + 1];
            }
        float out[8][B];
        for (int f = 0; f < 2; ++f) {
            auto q = f ? b : a;
            for (int i = 0; i < B; ++i) {
                const float e00 = q[1][i] - q[0][i], e10 = q[3][i] - q[2][i];
                const float e01 = q[5][i] - q[4][i], e11 = q[7][i] - q[6][i];
                const float x00 = q[0][i] + fx[i] * e00, x10 = q[2][i] + fx[i] * e10;
                const float x01 = q[4][i] + fx[i] * e01, x11 = q[6][i] + fx[i] * e11;
                const float d0 = x10 - x00, d1 = x11 - x01;
                const float y0 = x00 + fy[i] * d0, y1 = x01 + fy[i] * d1;
                const float g0 = e00 + fy[i] * (e10 - e00), g1 = e01 + fy[i] * (e11 - e01);
                out[f][i] = y0 + fz[i] * (y1 - y0);
                out[2 + f][i] = scale * (g0 + fz[i] * (g1 - g0));
                out[4 + f][i] = scale * (d0 + fz[i] * (d1 - d0));
                out[6 + f][i] = scale * (y1 - y0);
            }
        }
        for (int f = 0; f < 2; ++f) {
            const size_t to = (2 * level + f) * points_all + start;
            for (int i = 0; i < count; ++i) value.data[to + i] = out[f][i];
            if (with_jacobian)
                for (int axis = 0; axis < 3; ++axis) {
                    float* j = jacobian.data + 3 * (to - start) + axis * points_all + start;
                    for (int i = 0; i < count; ++i) j[i] = out[2 + 2 * axis + f][i];
                }
        }
    }
"""
)

_BACKWARD = (
    _CELLS
    + """
    float* __restrict__ table = grad_tables.data + (size_t)level * rows * 2;
    float g[8][B] = {};
    size_t grad_value_strides[2], grad_jacobian_strides[3];
    for (int k = 0; k < 2; ++k) grad_value_strides[k] = grad_value.strides[k];
    for (int k = 0; k < 3; ++k) grad_jacobian_strides[k] = grad_jacobian.strides[k];
    // Gradients may be views of something else, or one number expanded: strides are in bytes.
    auto read = [&](const char* data, size_t by_point, float times, int count, float* to) {
        if (by_point == sizeof(float))
            for (int i = 0; i < count; ++i) to[i] = times * ((const float*)data)[i];
        else
            for (int i = 0; i < count; ++i) to[i] = times * *(const float*)(data + i * by_point);
    };
    for (int start = first; start < stop; start += B) {
        const int count = stop - start < B ? stop - start : B;
        locate(start, count);
        for (int f = 0; f < 2; ++f) {
            const size_t* s = grad_value_strides;
            read((const char*)grad_value.data + start * s[0] + (2 * level + f) * s[1], s[0], 1.0f, count, g[f]);
            s = grad_jacobian_strides;
            for (int axis = 0; with_jacobian && axis < 3; ++axis) {
                const char* data = (const char*)grad_jacobian.data + axis * s[1] + (2 * level + f) * s[2];
                read(data + start * s[0], s[0], scale, count, g[2 + 2 * axis + f]);
            }
        }
        for (int f = 0; f < 2; ++f) {
            auto q = f ? b : a;
            for (int i = 0; i < B; ++i) {
                const float x1 = fx[i], y1 = fy[i], z1 = fz[i], x0 = 1 - x1, y0 = 1 - y1, z0 = 1 - z1;
                const float v = g[f][i];
                const float jx = g[2 + f][i], jy = g[4 + f][i], jz = g[6 + f][i];
                // Along x: what the corners at x = 0 and x = 1 get of v, jy and jz, and of jx.
                const float v0 = x0 * v - jx, v1 = x1 * v + jx;
                const float k0 = x0 * jy, k1 = x1 * jy, l0 = x0 * jz, l1 = x1 * jz;
                const float p00 = y0 * v0 - k0, p10 = y0 * v1 - k1, p01 = y1 * v0 + k0, p11 = y1 * v1 + k1;
                q[0][i] = z0 * p00 - y0 * l0; q[4][i] = z1 * p00 + y0 * l0;
                q[1][i] = z0 * p10 - y0 * l1; q[5][i] = z1 * p10 + y0 * l1;
                q[2][i] = z0 * p01 - y1 * l0; q[6][i] = z1 * p01 + y1 * l0;
                q[3][i] = z0 * p11 - y1 * l1; q[7][i] = z1 * p11 + y1 * l1;
            }
        }
        for (int i = 0; i < count; ++i)
            for (int c = 0; c < 8; ++c) {
                table[2 * row[c][i]] += a[c][i];
                table[2 * row[c][i] + 1] += b[c][i];
            }
    }
"""
)


@wp.func_native(_FORWARD)
def _forward_points(
    first: int,
    stop: int,
    level: int,
    resolution: int,
    rows: int,
    points: wp.array(dtype=float),  # type: ignore[valid-type]
    tables: wp.array(dtype=float),  # type: ignore[valid-type]
    value: wp.array(dtype=float),  # type: ignore[valid-type]
    jacobian: wp.array(dtype=float),  # type: ignore[valid-type]
    with_jacobian: int,
): ...


@wp.func_native(_BACKWARD)
def _backward_points(
    first: int,
    stop: int,
    level: int,
    resolution: int,
    rows: int,
    points: wp.array(dtype=float),  # type: ignore[valid-type]
    grad_value: wp.array2d(dtype=float),  # type: ignore[valid-type]
    grad_jacobian: wp.array3d(dtype=float),  # type: ignore[valid-type]
    with_jacobian: int,
    grad_tables: wp.array(dtype=float),  # type: ignore[valid-type]
): ...


@wp.kernel(enable_backward=False)
def forward(
    offset: int,
    stride: int,
    levels: int,
    parts: int,
    count: int,
    rows: int,
    resolutions: wp.array(dtype=int),  # type: ignore[valid-type]
    points: wp.array(dtype=float),  # type: ignore[valid-type]
    tables: wp.array(dtype=float),  # type: ignore[valid-type]
    value: wp.array(dtype=float),  # type: ignore[valid-type]
    jacobian: wp.array(dtype=float),  # type: ignore[valid-type]
    with_jacobian: int,
):
    item = offset + stride * wp.tid()
    level = item % levels
    part = item // levels
    _forward_points(
        count * part // parts,
        count * (part + 1) // parts,
        level,
        resolutions[level],
        rows,
        points,
        tables,
        value,
        jacobian,
        with_jacobian,
    )


@wp.kernel(enable_backward=False)
def backward(
    offset: int,
    stride: int,
    count: int,
    rows: int,
    resolutions: wp.array(dtype=int),  # type: ignore[valid-type]
    points: wp.array(dtype=float),  # type: ignore[valid-type]
    grad_value: wp.array2d(dtype=float),  # type: ignore[valid-type]
    grad_jacobian: wp.array3d(dtype=float),  # type: ignore[valid-type]
    with_jacobian: int,
    grad_tables: wp.array(dtype=float),  # type: ignore[valid-type]
):
    level = offset + stride * wp.tid()
    _backward_points(
        0, count, level, resolutions[level], rows, points, grad_value, grad_jacobian, with_jacobian, grad_tables
    )
