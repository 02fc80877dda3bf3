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

// Average attributes over the samples of each pixel in a row of a region, behind the share of samples that show one of
// the faces. The region, whose values lie together in `out`, begins at row `top` and column `left` of the image.
inline void average_row(int t, int samples, int first_face, int end_face, int first_vertex, int top, int left,
                        wp::array_t<wp::vec3> vertices, wp::array_t<wp::vec3i> faces, wp::array_t<float> focals,
                        wp::array_t<float> points_x, wp::array_t<float> points_y, wp::array_t<wp::int64> keys,
                        wp::array_t<float> attributes, wp::array_t<float> out) {
#include "vectors.h"

    const int image = t / out.shape[1], row = t % out.shape[1], y = row + top;
    const float focal = focals.data[image];
    const int channels = attributes.shape[2], stride = channels + 1, values = out.shape[2] * stride;
    const int first = left * samples, end = first + out.shape[2] * samples;
    float* sums = wp::address(out, image, row, 0, 0);
    for (int i = 0; i < values; ++i)
        sums[i] = 0.0f;
    int face[width], vertex[3][width] = {};
    float corner[9][width] = {};  // x, y and z of the first corner, of the second and the third
    // Take the corners of a point's face for that point, and for the following ones that show the same face.
    auto take = [&](int begin, int count) {
        const wp::vec3i corners = *wp::address(faces, face[begin]);
        for (int j = 0; j < 3; ++j) {
            const wp::vec3 position = *wp::address(vertices, image, corners[j]);
            for (int k = begin; k < begin + count; ++k) {
                vertex[j][k] = corners[j] - first_vertex;
                corner[3 * j][k] = position[0];
                corner[3 * j + 1][k] = position[1];
                corner[3 * j + 2][k] = position[2];
            }
        }
    };
    auto read = [](const float* numbers) {
        floats vector;
        memcpy(&vector, numbers, sizeof(vector));
        return vector;
    };
    for (int i = first; i < end; i += width) {
        const wp::int64* key = wp::address(keys, image, y, i);
        bool visible[width], some = false, alike = true;
        for (int k = 0; k < width; ++k) {
            face[k] = (int)key[k];  // -1: none
            visible[k] = face[k] >= first_face && face[k] < end_face && i + k < end;
            some |= visible[k];
            alike &= face[k] == face[0];
        }
        if (!some)
            continue;
        // 1. The corners: once where all points show one face, as most do.
        if (alike)
            take(0, width);
        else
            for (int k = 0; k < width; ++k)
                if (visible[k])
                    take(k, 1);
        // 2. The weights of the corners, as `edges_of` has them.
        const floats cx = read(wp::address(points_x, image, i));
        const floats cy = (float)y + 0.5f - read(wp::address(points_y, image, i));
        floats dx[3], dy[3];
        for (int j = 0; j < 3; ++j) {
            const floats depth = read(corner[3 * j + 2]);
            dx[j] = focal * read(corner[3 * j]) - depth * cx;
            dy[j] = focal * read(corner[3 * j + 1]) - depth * cy;
        }
        const floats e0 = dy[1] * dx[2] - dx[1] * dy[2];
        const floats e1 = dy[2] * dx[0] - dx[2] * dy[0];
        const floats e2 = dy[0] * dx[1] - dx[0] * dy[1];
        const floats scale = 1.0f / (e0 + e1 + e2);
        const floats w[3] = {e0 * scale, e1 * scale, e2 * scale};
        // 3. The sums of each point's pixel, point by point: their order decides the last bits.
        float* sum[width];
        for (int k = 0; k < width; ++k)
            sum[k] = sums + (i - first + k) / samples * stride;
        for (int k = 0; k < width; ++k)
            if (visible[k])
                sum[k][0] += 1.0f;
        for (int c = 0; c < channels; ++c) {
            float value[3][width], mean[width];
            for (int j = 0; j < 3; ++j)
                for (int k = 0; k < width; ++k)
                    value[j][k] = *wp::address(attributes, image, vertex[j][k], c);
            const floats of_points = w[0] * read(value[0]) + w[1] * read(value[1]) + w[2] * read(value[2]);
            memcpy(mean, &of_points, sizeof(mean));
            for (int k = 0; k < width; ++k)
                if (visible[k])
                    sum[k][c + 1] += mean[k];
        }
    }
    for (int i = 0; i < values; ++i)
        sums[i] = sums[i] / (float)samples;
}
