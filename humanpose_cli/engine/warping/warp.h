// The part warp: native code of kernel.py, which says what the parameters are.
#pragma once
#include "builtin.h"  // of Warp, for editors

#ifndef PLAN_SIZE
#define PLAN_SIZE 20  // kernel.py says what a plan holds
#endif

// The plan of part t % parts of sample t / parts: a part that reaches nothing has an empty box.
inline void plan_part(int t, int parts, int depth, int height, int width, int planar, float softness,
                      float size_x, float size_y, float size_z, wp::array_t<float> capsules,
                      wp::array_t<int> part_of_capsule,
                      wp::array_t<float> transforms, wp::array_t<float> plans) {
    const int b = t / parts, part = t % parts, count = capsules.shape[1];
    float* p = plans.data + (long long)t * PLAN_SIZE;
    const float* transform = transforms.data + (long long)t * 12;
    bool finite = true;
    // 1. The transform; a planar one keeps only what acts in the image plane.
    for (int i = 0; i < 12; ++i) {
        const int row = i / 4, column = i % 4;
        const bool kept = !planar || (row != 2 && column != 2);
        p[i] = kept ? transform[i] : row == 2 && column == 2 ? 1.0f : 0.0f;
        finite = finite && wp::isfinite(p[i]);
    }
    const float big = 3.0e38f, size[3] = {size_x, size_y, size_z};
    const float max_index[3] = {(float)width - 1.0f, (float)height - 1.0f, (float)depth - 1.0f};
    // 2. The box of sample positions that reach a voxel of the mask, empty at first; every capsule enlarges it. A
    //    transform that is not finite reaches nothing.
    for (int i = 0; i < 3; ++i)
        p[12 + i] = big, p[15 + i] = -big;
    for (int k = 0; k < count && finite; ++k) {
        const float* c = capsules.data + ((long long)b * count + k) * 9;
        bool meets = part_of_capsule.data[k] == part;
        for (int i = 0; i < 9; ++i)
            meets = meets && wp::isfinite(c[i]);
        float first[3], last[3];
        for (int i = 0; i < 3 && meets; ++i) {
            // The edge is as wide in proportion to each half-width as it is along x.
            const float ratio = c[6 + i] == c[6] ? 1.0f : c[6 + i] / c[6];
            const float reach = ratio * (wp::max(c[6], 0.0f) + 0.5f * softness);
            float low = (wp::min(c[i], c[3 + i]) - reach) / size[i] - 0.5f;
            float high = (wp::max(c[i], c[3 + i]) + reach) / size[i] - 0.5f;
            // Rounding must not cut off a voxel that the mask covers.
            const float slack = 1.0e-2f + 1.0e-5f * (wp::abs(low) + wp::abs(high));
            low = wp::ceil(low - slack);
            high = wp::floor(high + slack);
            const bool all = planar && i == 2;
            first[i] = all || !(low > 0.0f) ? 0.0f : low;
            last[i] = all || !(high < max_index[i]) ? max_index[i] : high;
            meets = first[i] <= last[i];
        }
        // A sample reads the voxels around it: it reaches a voxel from less than 1 away.
        for (int i = 0; i < 3 && meets; ++i) {
            p[12 + i] = wp::min(p[12 + i], wp::max(first[i], 0.0f) - 1.0f);
            p[15 + i] = wp::max(p[15 + i], wp::min(last[i], max_index[i]) + 1.0f);
        }
    }
    p[18] = p[19] = 0.0f;
}

// One slice of the target; 64 channels at a time, as long as a part reaches the voxel.
template <typename Number, typename Written>
void warp_slab(int t, int stride, int batch, int slab, int depth, int height, int width, int slices,
               wp::array_t<float> plans, wp::array_t<float> masks, wp::array_t<Number> volume,
               wp::array_t<Number> upstream, wp::array_t<unsigned char> winner, wp::array_t<Written> out) {
#include "samples.h"
#include "spans.h"
#include "greatest.h"

    const int slice = (int)((long long)t * stride % ((long long)batch * depth));
    const int b = slice / depth, z = slice % depth;
    const float* body_plans = plans.data + (long long)b * parts * PLAN_SIZE;
    // 1. The parts that may reach this slice, and their rows: most slices have few.
    int active[255], top[255], bottom[255], spanned[255], first[255], last[255], candidates[255];
    int actives = 0, y_begin = height, y_end = -1;
    for (int part = 0; part < parts; ++part) {
        rows_of(body_plans + part * PLAN_SIZE, (float)z + 0.5f, -2.0f, 1.0e9f, top[actives], bottom[actives]);
        if (top[actives] <= bottom[actives]) {
            y_begin = wp::min(y_begin, top[actives]);
            y_end = wp::max(y_end, bottom[actives]);
            active[actives++] = part;
        }
    }
    for (int y = y_begin; y <= y_end; ++y) {
        // 2. The parts that may reach this row, and their voxels.
        int spans = 0, begin = width, end = -1;
        for (int i = 0; i < actives; ++i) {
            if (y < top[i] || y > bottom[i])
                continue;
            const float* p = body_plans + active[i] * PLAN_SIZE;
            span_of(p, (float)y + 0.5f, (float)z + 0.5f, -2.0f, 1.0e9f, first[spans], last[spans]);
            if (first[spans] <= last[spans]) {
                begin = wp::min(begin, first[spans]);
                end = wp::max(end, last[spans]);
                spanned[spans++] = active[i];
            }
        }
        for (int x = begin; x <= end; ++x) {
            // 3. The parts that may reach this voxel. The first block of channels finds out whether one does.
            int count = 0, c = 0;
            for (int i = 0; i < spans; ++i)
                if (x >= first[i] && x <= last[i])
                    candidates[count++] = spanned[i];
            bool more = count > 0;
            for (; more && c + 64 <= channels; c += 64)
                more = greatest(Sixty4(), b, x, y, z, c, candidates, count);
            for (; more && c + 16 <= channels; c += 16)
                more = greatest(Sixteen(), b, x, y, z, c, candidates, count);
            for (; more && c + 4 <= channels; c += 4)
                more = greatest(Four(), b, x, y, z, c, candidates, count);
            for (; more && c < channels; c += 1)
                more = greatest(One(), b, x, y, z, c, candidates, count);
        }
    }
}

// Four channels a thread, as far apart as there are threads to a voxel: neighbouring threads read neighbouring numbers.
template <typename Number, typename Written>
void warp_voxel(int t, int stride, int batch, int slab, int depth, int height, int width, int slices,
                wp::array_t<float> plans, wp::array_t<float> masks, wp::array_t<Number> volume,
                wp::array_t<Number> upstream, wp::array_t<unsigned char> winner, wp::array_t<Written> out) {
#include "samples.h"
#include "greatest.h"

    const int per_thread = channels % 4 == 0 ? 4 : 1;
    const int threads = channels / per_thread;
    const int channel = t % threads, v = t / threads;
    const int x = v % width, y = v / width % height, z = v / width / height % depth, b = v / width / height / depth;
    const bool written = per_thread == 4 ? greatest(Four_apart{threads}, b, x, y, z, channel, (const int*)0, parts)
                                         : greatest(One(), b, x, y, z, channel, (const int*)0, parts);
    // The CPU's volumes are zero before; here every number is written once.
    for (int c = 0; c < per_thread && !written; ++c) {
        const long long to = (long long)v * channels + channel + c * threads;
        write(out.data + to, 0.0f);
        if (winner.shape[0] > 0)
            winner.data[to] = 0;
    }
}
