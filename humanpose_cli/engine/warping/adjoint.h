// The part warp's adjoints: native code of kernel.py, which says what the parameters are.
#pragma once
#include "warp.h"

// The gradient to some slices of the source: every target voxel and part that reaches them, always in the same order.
template <typename Number, typename Written>
void adjoint_slab(int t, int stride, int batch, int slab, int depth, int height, int width, int slices,
                  wp::array_t<float> plans, wp::array_t<float> masks, wp::array_t<Number> volume,
                  wp::array_t<Number> upstream, wp::array_t<unsigned char> winner, wp::array_t<Written> out) {
#include "samples.h"
#include "spans.h"

    // This task's slab of the source. It visits all target voxels that may read from it, so no two tasks write to one
    // voxel of the source.
    const int slabs = (depth + slab - 1) / slab;
    const int task = (int)((long long)t * stride % ((long long)batch * slabs));
    const int b = task / slabs, z_begin = task % slabs * slab, z_end = wp::min(z_begin + slab, depth);
    const float z_low = (float)(z_begin - 1), z_high = (float)z_end;
    const int vector_channels = channels / 16 * 16;
    for (int z = 0; z < depth; ++z)
        for (int part = 0; part < parts; ++part) {
            const float* p = plans.data + ((long long)b * parts + part) * PLAN_SIZE;
            int top, bottom, first, last;
            rows_of(p, (float)z + 0.5f, z_low, z_high, top, bottom);
            for (int y = top; y <= bottom; ++y) {
                span_of(p, (float)y + 0.5f, (float)z + 0.5f, z_low, z_high, first, last);
                for (int x = first; x <= last; ++x) {
                    const long long v = ((long long)b * depth + z) * slice_size + (long long)y * width + x;
                    const unsigned char* won = winner.data + v * channels;
                    // The part gets a gradient only where it won a channel: most voxels are skipped here.
                    unsigned char any = 0;
                    for (int c = 0; c < channels; ++c)
                        any |= won[c] == (unsigned char)(part + 1);
                    float s[3], weight[8];
                    long long row[8];
                    if (!any || !sampled(p, (float)x + 0.5f, (float)y + 0.5f, (float)z + 0.5f, s))
                        continue;
                    // The corners inside the slab, with the weights of the forward pass.
                    int n = 0;
                    each_corner(b, part, s, z_begin, z_end, [&](long long from, float w) {
                        row[n] = from;
                        weight[n++] = w;
                    });
                    const float* from = upstream.data + v * channels;
                    for (int c = 0; c < vector_channels; c += 16) {
                        float from_part[16];
                        for (int i = 0; i < 16; ++i)
                            from_part[i] = won[c + i] == (unsigned char)(part + 1) ? from[c + i] : 0.0f;
                        for (int k = 0; k < n; ++k) {
                            float* to = out.data + row[k] * channels + c;
                            for (int i = 0; i < 16; ++i)
                                to[i] += weight[k] * from_part[i];
                        }
                    }
                    for (int c = vector_channels; c < channels; ++c)
                        if (won[c] == (unsigned char)(part + 1))
                            for (int k = 0; k < n; ++k)
                                out.data[row[k] * channels + c] += weight[k] * from[c];
                }
            }
        }
}

// What four channels of one target voxel add to the gradient, part by part, by atomics.
template <typename Number, typename Written>
void adjoint_voxel(int t, int stride, int batch, int slab, int depth, int height, int width, int slices,
                   wp::array_t<float> plans, wp::array_t<float> masks, wp::array_t<Number> volume,
                   wp::array_t<Number> upstream, wp::array_t<unsigned char> winner, wp::array_t<Written> out) {
#include "samples.h"

    const int per_thread = channels % 4 == 0 ? 4 : 1;
    const int threads = channels / per_thread;
    const int channel = t % threads, v = t / threads;
    const int x = v % width, y = v / width % height, z = v / width / height % depth, b = v / width / height / depth;
    const long long start = (long long)v * channels + channel;
    int won[4] = {};
    float upper[4] = {};
    // Loops of a fixed length: an array at a running index would lie in memory, not in registers.
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (i < per_thread) {
            won[i] = winner.data[start + i * threads];
            upper[i] = read(upstream.data + start + i * threads);
        }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int part = won[i] - 1;
        // Channels with the same winner share its corners.
        bool done = part < 0;
        for (int c = 0; c < i; ++c)
            done = done || won[c] == won[i];
        if (done)
            continue;
        float s[3];
        sampled(plans.data + ((long long)b * parts + part) * PLAN_SIZE, (float)x + 0.5f, (float)y + 0.5f,
                (float)z + 0.5f, s);
        each_corner(b, part, s, 0, depth, [&](long long row, float weight) {
            for (int c = i; c < 4; ++c)
                if (won[c] == won[i])
                    wp::atomic_add(out.data + row * channels + channel + c * threads, weight * upper[c]);
        });
    }
}

// A corner's weight is f(x) f(y) f(z) M; what counts is its slope, so corners of weight zero take part.
template <typename Number, typename Written>
void adjoint_row(int t, int stride, int batch, int slab, int depth, int height, int width, int slices,
                 wp::array_t<float> plans, wp::array_t<float> masks, wp::array_t<Number> volume,
                 wp::array_t<Number> upstream, wp::array_t<unsigned char> winner, wp::array_t<Written> out) {
#include "samples.h"
#include "spans.h"

    const int part = t % parts, y = t / parts % height, z = t / parts / height % depth, b = t / parts / height / depth;
    const float* p = plans.data + ((long long)b * parts + part) * PLAN_SIZE;
    const float* mask = masks.data + (long long)(b * parts + part) * slices * slice_size;
    const int vector_channels = channels / 16 * 16;
    float total[12] = {};
    // One part and one row of the target; the rows are added up in a fixed order afterwards.
    int first, last;
    span_of(p, (float)y + 0.5f, (float)z + 0.5f, -2.0f, 1.0e9f, first, last);
    for (int x = first; x <= last; ++x) {
        const long long v = ((long long)b * depth + z) * slice_size + (long long)y * width + x;
        const unsigned char* won = winner.data + v * channels;
        unsigned char any = 0;
        for (int c = 0; c < channels; ++c)
            any |= won[c] == (unsigned char)(part + 1);
        float s[3], slope[3] = {};
        if (!any || !sampled(p, (float)x + 0.5f, (float)y + 0.5f, (float)z + 0.5f, s))
            continue;
        const int x0 = (int)wp::floor(s[0]), y0 = (int)wp::floor(s[1]), z0 = (int)wp::floor(s[2]);
        const float fx = s[0] - (float)x0, fy = s[1] - (float)y0, fz = s[2] - (float)z0;
        for (int corner = 0; corner < 8; ++corner) {
            const int dx = corner & 1, dy = corner >> 1 & 1, dz = corner >> 2;
            if (x0 + dx < 0 || x0 + dx >= width || y0 + dy < 0 || y0 + dy >= height || z0 + dz < 0 || z0 + dz >= depth)
                continue;
            const long long pixel = (long long)(y0 + dy) * width + x0 + dx;
            const float covered = mask[(flat ? 0 : (z0 + dz) * slice_size) + pixel];
            if (covered == 0.0f)
                continue;
            const float wx = dx ? fx : 1.0f - fx, wy = dy ? fy : 1.0f - fy, wz = dz ? fz : 1.0f - fz;
            const bool unread = wx * wy * wz == 0.0f;
            const auto* from = volume.data + (((long long)b * depth + z0 + dz) * slice_size + pixel) * channels;
            const auto* gradient = upstream.data + v * channels;
            // The gradient to the corner's weight: the sum over channels of upstream times value. A value that was not
            // read and is not finite does not count.
            auto term = [&](int c) {
                const float value = read(from + c);
                const bool counts = won[c] == (unsigned char)(part + 1) && !(unread && value - value != 0.0f);
                return counts ? read(gradient + c) * value : 0.0f;
            };
            float lanes[16] = {}, product = 0.0f;
            for (int c = 0; c < vector_channels; c += 16)
                for (int i = 0; i < 16; ++i)
                    lanes[i] += term(c + i);
            for (int c = vector_channels; c < channels; ++c)
                product += term(c);
            for (int i = 0; i < 16; ++i)
                product += lanes[i];
            product *= covered;
            // The weight's derivatives to the sample position.
            slope[0] += (dx ? product : -product) * wy * wz;
            slope[1] += (dy ? product : -product) * wx * wz;
            slope[2] += (dz ? product : -product) * wx * wy;
        }
        // The position is the transform times the voxel's centre and 1.
        for (int i = 0; i < 3; ++i) {
            total[4 * i] += slope[i] * ((float)x + 0.5f);
            total[4 * i + 1] += slope[i] * ((float)y + 0.5f);
            total[4 * i + 2] += slope[i] * ((float)z + 0.5f);
            total[4 * i + 3] += slope[i];
        }
    }
    for (int i = 0; i < 12; ++i)
        out.data[(long long)t * 12 + i] = total[i];
}
