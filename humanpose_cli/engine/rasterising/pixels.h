// Pixels: native code of kernel.py.
//
// On the CPU eight neighbouring points are one vector of the processor. Rows of points and keys must be contiguous.
#pragma once
#include "builtin.h"  // of Warp, for editors

// Lower the keys of the points in columns x0 to x1 - 1 of every `lanes`-th row from y0 to y1 - 1. Points whose keys are
// below `min_key` may be left out. On a CPU no other thread may write to these rows, which must be seven keys longer
// than the image: a vector may begin at its last point.
inline void draw_pixels(wp::vec3 a, wp::vec3 b, wp::vec3 c, float focal, int x0, int y0, int x1, int y1, int lanes,
                        float near, int cull_back_faces, wp::int64 min_key, int face, int image,
                        wp::array_t<float> points_x, wp::array_t<float> points_y, wp::array_t<wp::int64> keys) {
#include "vectors.h"

    auto smaller = [](floats p, floats q) { return p < q ? p : q; };
    auto larger = [](floats p, floats q) { return p > q ? p : q; };
    const ints back_faces = ints{} - !cull_back_faces;
    const float* columns = wp::address(points_x, image, 0);
    const float* offsets = wp::address(points_y, image, 0);
    for (int y = y0; y < y1; y += lanes) {
        wp::int64* row = wp::address(keys, image, y, 0);
        for (int x = x0; x < x1; x += width) {
            longs before;
            memcpy(&before, row + x, sizeof(before));
            if (!any(before >= min_key))
                continue;
            // The offsets of the corners from each point, times the corner's depth.
            floats cx, cy;
            memcpy(&cx, columns + x, sizeof(cx));
            memcpy(&cy, offsets + x, sizeof(cy));
            cy = (float)y + 0.5f - cy;
            const floats ax = focal * a[0] - a[2] * cx, ay = focal * a[1] - a[2] * cy;
            const floats bx = focal * b[0] - b[2] * cx, by = focal * b[1] - b[2] * cy;
            const floats ox = focal * c[0] - c[2] * cx, oy = focal * c[1] - c[2] * cy;
            // All edge values have one sign inside: positive for a front face, negative for a back face.
            const floats e0 = by * ox - bx * oy, e1 = oy * ax - ox * ay, e2 = ay * bx - ax * by;
            ints hit = smaller(smaller(e0, e1), e2) >= 0.0f;
            hit |= (ints)(larger(larger(e0, e1), e2) <= 0.0f) & back_faces;
            if (!any(wide(hit)))
                continue;
            // NaN if the face is edge-on, whose edge values sum to 0: the comparisons then are false.
            const floats scale = 1.0f / (e0 + e1 + e2);
            const floats depth = e0 * scale * a[2] + e1 * scale * b[2] + e2 * scale * c[2];
            hit &= (depth >= near) & (depth < (float)INFINITY);
            // Positive floats are ordered as their bits are, so the smaller key is the nearer face.
            ints bits;
            memcpy(&bits, &depth, sizeof(bits));
            const longs key = wide(bits) << 32 | (wp::int64)face;
            const longs lower = wide(hit) & (longs)(key < before);
#if defined(__clang__) && !defined(__CUDA__)
            // A body's faces cover few pixels: needless writes are cheaper than mispredicted branches.
            const longs after = lower ? key : before;
            memcpy(row + x, &after, sizeof(after));
#else
            if (lower)
                wp::atomic_min(keys, image, y, x, key);
#endif
        }
    }
}
