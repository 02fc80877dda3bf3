// Light and colours of pixels: native code of kernel.py.
#pragma once
#include "builtin.h"  // of Warp, for editors

// The brightness of a vertex, whose faces are the corners from `starts[v]` on, three of each face. The light is x, y and
// z of its direction, ambient, wrap and rim.
inline void light_vertex(int v, wp::array_t<float> lighting, wp::array_t<int> starts, wp::array_t<wp::int64> corners,
                         wp::array_t<wp::vec3i> faces, wp::array_t<wp::vec3> vertices, wp::array_t<float> out) {
    const float* light = wp::address(lighting, 0);
    const float ambient = light[3], wrap = light[4], rim = light[5];
    wp::vec3 normal(0.0f, 0.0f, 0.0f);
    for (int n = *wp::address(starts, v); n < *wp::address(starts, v + 1); ++n) {
        const wp::vec3i face = *wp::address(faces, (int)(*wp::address(corners, n) / 3));
        const wp::vec3 a = *wp::address(vertices, face[0]);
        normal += wp::cross(*wp::address(vertices, face[1]) - a, *wp::address(vertices, face[2]) - a);
    }
    normal = wp::normalize(normal);
    const float lambert = (wp::dot(normal, wp::vec3(light[0], light[1], light[2])) + wrap) / (1.0f + wrap);
    const float facing = -wp::dot(normal, wp::normalize(*wp::address(vertices, v)));
    const float edge = 1.0f - wp::clamp(facing, 0.0f, 1.0f);
    const float sum = ambient + (1.0f - ambient) * wp::clamp(lambert, 0.0f, 1.0f) + rim * edge * edge * edge;
    *wp::address(out, v) = wp::clamp(sum, 0.0f, 1.0f);
}

// Paint a run of pixels of a row, over an image of three channels, or with straight alpha into one of four.
inline void paint_run(int t, int run, int samples, int stripe, int phase, float opacity,
                      wp::array_t<wp::vec3> vertices, wp::array_t<wp::vec3i> faces, wp::array_t<float> focals,
                      wp::array_t<float> points_x, wp::array_t<float> points_y, wp::array_t<wp::int64> keys,
                      wp::array_t<int> first_faces, wp::array_t<wp::vec4> paints, wp::array_t<wp::vec2> lights,
                      wp::array_t<wp::vec3> texels, wp::array_t<wp::uint8> target) {
    const int width = target.shape[1], runs = (width + run - 1) / run;
    const int y = t / runs, begin = (t - y * runs) * run;
    const wp::int64* row = wp::address(keys, 0, y, 0);
    const float *columns = wp::address(points_x, 0, 0), *offsets = wp::address(points_y, 0, 0);
    const float focal = *wp::address(focals, 0), share = 1.0f / (float)samples;
    const wp::vec3i* const of_faces = wp::address(faces, 0);
    const wp::vec3* const points = wp::address(vertices, 0, 0);
    const wp::vec2* const bright = wp::address(lights, 0);
    int mesh = 0, first = 0, last = 0;  // a mesh and its faces
    auto is_shown = [&](int i, int end) {  // whether one of some points shows the mesh
        for (; i < end; ++i)
            if ((int)row[i] >= first && (int)row[i] < last)
                return true;
        return false;
    };
    for (int x = begin; x < wp::min(begin + run, width); ++x) {
        const int n = x * samples, end = n + samples;
        int none = -1;  // -1 if no point has a face
        for (int i = n; i < end; ++i)
            none &= (int)row[i];
        if (none < 0)
            continue;
        wp::vec4 sum(0.0f, 0.0f, 0.0f, 0.0f);
        for (int i = n; i < end; ++i) {
            const int shown = (int)row[i];  // the face of a point, -1 for none
            if (shown < 0)
                continue;
            if (shown < first || shown >= last) {
                for (mesh = 0; *wp::address(first_faces, mesh + 1) <= shown;)
                    ++mesh;
                first = *wp::address(first_faces, mesh), last = *wp::address(first_faces, mesh + 1);
            }
            if (is_shown(n, i))
                continue;
            // 1. The sums over the mesh's samples.
            const wp::vec4 base = *wp::address(paints, mesh);
            const bool of_samples = base[3] == 0.0f;
            wp::vec3 colour(0.0f, 0.0f, 0.0f);
            float light = 0.0f, hatched = 0.0f, total = 0.0f;
            for (int k = i, same; k < end; k += same) {
                const int face = (int)row[k];
                same = 1;
                if (face < first || face >= last)
                    continue;
                // Neighbouring samples of one face count as one in their middle; most pixels show one face alone.
                float column = columns[k], offset = offsets[k];
                for (; !of_samples && k + same < end && (int)row[k + same] == face; ++same)
                    column += columns[k + same], offset += offsets[k + same];
                const float weight = (float)same, cx = column / weight, cy = (float)y + 0.5f - offset / weight;
                const int i0 = of_faces[face][0], i1 = of_faces[face][1], i2 = of_faces[face][2];
                const wp::vec3 &a = points[i0], &b = points[i1], &c = points[i2];
                const float ax = focal * a[0] - a[2] * cx, ay = focal * a[1] - a[2] * cy;
                const float bx = focal * b[0] - b[2] * cx, by = focal * b[1] - b[2] * cy;
                const float ox = focal * c[0] - c[2] * cx, oy = focal * c[1] - c[2] * cy;
                const float e0 = by * ox - bx * oy, e1 = oy * ax - ox * ay, e2 = ay * bx - ax * by;
                const float scale = weight / (e0 + e1 + e2);
                const float here = scale * (e0 * bright[i0][0] + e1 * bright[i1][0] + e2 * bright[i2][0]);
                if (of_samples)
                    colour += here * *wp::address(texels, k - n, y, x);
                light += here;
                hatched += scale * (e0 * bright[i0][1] + e1 * bright[i1][1] + e2 * bright[i2][1]);
                total += weight;
            }
            // 2. One colour turns from shadow to highlight, and gaps are cut where most of the mesh is hatched.
            if (!of_samples) {
                const float brightness = wp::min(light / total, 1.0f);
                const float part = wp::clamp((brightness - 0.801f) / 0.2f, 0.0f, 1.0f), white = 0.35f * part * part;
                const float shade = (0.119f + 0.98f * brightness) * (1.0f - white);
                for (int k = 0; k < 3; ++k)
                    colour[k] = total * wp::clamp(base[k] * shade + white, 0.0f, 1.0f);
            }
            const bool is_gap = 2.0f * hatched > total && (phase + x + y) / stripe % 2 == 1;
            sum += wp::vec4(colour[0], colour[1], colour[2], total) * (is_gap ? 0.2f * share : share);
        }
        const bool over = target.shape[2] == 3;
        const float left = over ? 1.0f - sum[3] * opacity : 0.0f, gain = 255.0f * (over ? opacity : 1.0f / sum[3]);
        for (int k = 0; k < 3; ++k) {
            wp::uint8* value = wp::address(target, y, x, k);
            *value = (wp::uint8)wp::min((float)*value * left + sum[k] * gain + 0.5f, 255.0f);
        }
        if (!over)
            *wp::address(target, y, x, 3) = (wp::uint8)(255.0f * sum[3] + 0.5f);
    }
}

// Convert the rows 2t and 2t + 1 of an image to two rows of Y, and half a row of U and of V.
inline void yuv_rows(int t, wp::array_t<int> weights, wp::array_t<wp::uint8> image, wp::array_t<wp::uint8> planes) {
    const int height = image.shape[0], width = image.shape[1], half = width / 2;
    int of[9];  // a copy: the compiler knows that writing pixels does not change it
    memcpy(of, wp::address(weights, 0, 0), sizeof(of));
    const wp::uint8 *above = wp::address(image, 2 * t, 0, 0), *below = above + 3 * width;
    wp::uint8 *luma = wp::address(planes, 2 * t, 0), *us = wp::address(planes, height, 0) + t * half;
    wp::uint8* vs = us + height / 2 * half;
    for (int x = 0; x < 2 * width; ++x) {
        const wp::uint8* a = above + 3 * x;
        luma[x] = (wp::uint8)((of[0] * a[0] + of[1] * a[1] + of[2] * a[2] + (33 << 14)) >> 15);
    }
    for (int x = 0; x < half; ++x) {
        const wp::uint8 *a = above + 6 * x, *b = below + 6 * x;
        const int red = a[0] + a[3] + b[0] + b[3], green = a[1] + a[4] + b[1] + b[4], blue = a[2] + a[5] + b[2] + b[5];
        us[x] = (wp::uint8)((of[3] * red + of[4] * green + of[5] * blue + (257 << 16)) >> 17);
        vs[x] = (wp::uint8)((of[6] * red + of[7] * green + of[8] * blue + (257 << 16)) >> 17);
    }
}
