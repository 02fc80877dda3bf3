// Capsule masks: native code of mask_kernel.py.
#pragma once
#include "builtin.h"  // of Warp, for editors

#ifndef PLAN_SIZE
#define PLAN_SIZE 20  // kernel.py says what a plan holds
#endif

// Raises the masks in block t, of `rows` × `columns` voxels of one slice; the threads after the blocks write plans.
inline void fill_masks(int t, int blocks, int rows, int columns, int parts, int slices, int depth, int height, int width,
                       int planar, float softness, float sharpness, float size_x, float size_y, float size_z,
                       wp::array_t<float> capsules, wp::array_t<int> part_of_capsule, wp::array_t<float> transforms,
                       wp::array_t<float> plans, wp::array_t<float> masks) {
    const int count = capsules.shape[1];
    if (t >= blocks) {
        t -= blocks;
#include "plan.h"
        return;
    }
    // Which block of which slice of which part's mask thread t fills.
    const int columns_per_row = (width + columns - 1) / columns;
    const int rows_per_slice = (height + rows - 1) / rows;
    const int x_begin = t % columns_per_row * columns;
    const int y_begin = t / columns_per_row % rows_per_slice * rows;
    const int slice = t / columns_per_row / rows_per_slice;
    const int z = slice % slices;
    const int part = slice / slices % parts;
    const int b = slice / slices / parts;
    const int x_end = wp::min(x_begin + columns, width), y_end = wp::min(y_begin + rows, height);
    float* out = masks.data + (long long)slice * height * width;

    // First and last index along an axis whose centre may be within reach; clamped before they become integers.
    auto bounds = [&](float a, float b, float reach, float step, int begin, int end, int& first, int& last) {
        const float low = (wp::min(a, b) - reach) / step - 0.5f, high = (wp::max(a, b) + reach) / step - 0.5f;
        const float slack = 1.0e-2f + 1.0e-5f * (wp::abs(low) + wp::abs(high));
        const float from = low - slack, to = high + slack, last_index = (float)(end - 1);
        first = !(from > (float)begin) ? begin : from > last_index ? end : (int)wp::ceil(from);
        last = !(to < last_index) ? end - 1 : to < (float)begin ? begin - 1 : (int)wp::floor(to);
    };

    for (int k = 0; k < count; ++k) {
        if (part_of_capsule.data[k] != part)
            continue;
        const float* c = capsules.data + ((long long)b * count + k) * 9;
        const float r = c[6];
        // Factors that make its ellipsoids spheres of radius r.
        const float by_y = c[7] == r ? 1.0f : r / wp::max(c[7], 0.0f), by_z = c[8] == r ? 1.0f : r / wp::max(c[8], 0.0f);
        bool valid = by_y > 0.0f && by_z > 0.0f && wp::isfinite(by_y) && wp::isfinite(by_z);
        for (int i = 0; i < 9; ++i)
            valid = valid && wp::isfinite(c[i]);
        int x0, x1, y0, y1, z0, z1;
        const float reach = wp::max(r, 0.0f) + 0.5f * softness;
        if (!valid)
            continue;
        // Voxels in the capsule's box: usually a small part of the block.
        bounds(c[2], c[5], reach / by_z, size_z, z, z + 1, z0, z1);
        bounds(c[1], c[4], reach / by_y, size_y, y_begin, y_end, y0, y1);
        bounds(c[0], c[3], reach, size_x, x_begin, x_end, x0, x1);
        if (z0 > z1)
            continue;
        const float sx = c[3] - c[0], sy = (c[4] - c[1]) * by_y, sz = (c[5] - c[2]) * by_z;
        // A capsule of length 0 is a sphere: the division below then gives 0.
        const float squared = sx * sx + sy * sy + sz * sz;
        const float length = squared > 0.0f ? squared : 1.0f;
        const float pz = (((float)z + 0.5f) * size_z - c[2]) * by_z;
        for (int y = y0; y <= y1; ++y) {
            const float py = (((float)y + 0.5f) * size_y - c[1]) * by_y;
            float* row = out + (long long)y * width;
            for (int x = x0; x <= x1; ++x) {
                const float px = ((float)x + 0.5f) * size_x - c[0];
                // The nearest point of the capsule's segment, and the squared distance to it.
                float along = (px * sx + py * sy + pz * sz) / length;
                along = along < 0.0f ? 0.0f : along;
                along = along > 1.0f ? 1.0f : along;
                const float dx = px - along * sx, dy = py - along * sy, dz = pz - along * sz;
                const float d = dx * dx + dy * dy + dz * dz;
                float cover = r >= 0.0f && d <= r * r ? 1.0f : 0.0f;
                if (softness > 0.0f) {
                    cover = (r - wp::sqrt(d)) * sharpness + 0.5f;
                    cover = cover > 0.0f ? cover : 0.0f;  // also where it is not a number
                    cover = cover < 1.0f ? cover : 1.0f;
                }
                // A part is the union of its capsules.
                row[x] = cover > row[x] ? cover : row[x];
            }
        }
    }
}
