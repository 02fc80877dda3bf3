// The pixels of one face: native code of kernel.py.
//
// On the CPU eight neighbouring points are one vector of the processor. Points and keys must be contiguous.
#pragma once
#include "builtin.h"  // of Warp, for editors

#ifndef FAR
#define FAR 0x7fffffffffffffff  // the largest int64
#endif

// Lower the keys of the points in columns x0 to x1 - 1 of every `lanes`-th row from y0 to y1 - 1. Points whose keys are
// below `min_key` may be left out. `alone`: no other thread writes to these rows.
inline void draw_pixels(wp::vec3 a, wp::vec3 b, wp::vec3 c, float focal, int x0, int y0, int x1, int y1, int lanes,
                        float near, int cull_back_faces, wp::int64 min_key, int face, int alone, int image,
                        wp::array_t<float> points_x, wp::array_t<float> points_y, wp::array_t<wp::int64> keys) {
#if defined(__clang__) && !defined(__CUDA__)
    const int width = 8;
    typedef float floats __attribute__((vector_size(4 * width)));
    typedef int ints __attribute__((vector_size(4 * width)));
#else
    const int width = 1;
    typedef float floats;
    typedef int ints;
#endif
    const int none = 0x7fffffff;  // above the bits of all depths
    auto smaller = [](floats p, floats q) { return p < q ? p : q; };
    for (int y = y0; y < y1; y += lanes) {
        wp::int64* row = wp::address(keys, image, y, 0);
        for (int x = x0; x < x1; x += width) {
            const int count = x1 - x < width ? x1 - x : width;
            bool visible = false;
            for (int i = 0; i < count; ++i)
                visible |= row[x + i] >= min_key;
            if (!visible)
                continue;
            // The offsets of the corners from each point, times the corner's depth.
            floats cx, cy;
            memcpy(&cx, wp::address(points_x, image, x), sizeof(cx));
            memcpy(&cy, wp::address(points_y, image, x), sizeof(cy));
            cy = (float)y + 0.5f - cy;
            const floats ax = focal * a[0] - a[2] * cx, ay = focal * a[1] - a[2] * cy;
            const floats bx = focal * b[0] - b[2] * cx, by = focal * b[1] - b[2] * cy;
            const floats ox = focal * c[0] - c[2] * cx, oy = focal * c[1] - c[2] * cy;
            // All edge values have one sign inside: positive for a front face, negative for a back face.
            const floats e0 = by * ox - bx * oy, e1 = oy * ax - ox * ay, e2 = ay * bx - ax * by;
            ints hit = smaller(smaller(e0, e1), e2) >= 0.0f;
            if (!cull_back_faces)
                hit |= smaller(smaller(-e0, -e1), -e2) >= 0.0f;
            // NaN if the face is edge-on, whose edge values sum to 0: the comparisons then are false.
            const floats scale = 1.0f / (e0 + e1 + e2);
            const floats depth = e0 * scale * a[2] + e1 * scale * b[2] + e2 * scale * c[2];
            hit &= (depth >= near) & (depth < (float)INFINITY);
            // Positive floats are ordered as their bits are, so the smaller key is the nearer face.
            ints bits;
            memcpy(&bits, &depth, sizeof(bits));
            bits = hit ? bits : none | hit;
            int depths[width];
            memcpy(depths, &bits, sizeof(depths));
            // A body's faces cover few pixels: on a CPU, needless writes are cheaper than mispredicted branches, and a
            // row has one thread. On CUDA, several threads share a row.
            for (int i = 0; i < count; ++i) {
                const wp::int64 key = depths[i] == none ? FAR : (wp::int64)depths[i] << 32 | face;
                if (alone)
                    row[x + i] = key < row[x + i] ? key : row[x + i];
                else if (key < row[x + i])
                    wp::atomic_min(keys, image, y, x + i, key);
            }
        }
    }
}
