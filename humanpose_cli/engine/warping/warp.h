// The part warp: native code of kernel.py, which says what the parameters are.
#pragma once
#include "builtin.h"  // of Warp, for editors

#ifndef PLAN_SIZE
#define PLAN_SIZE 20  // kernel.py says what a plan holds
#endif

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
