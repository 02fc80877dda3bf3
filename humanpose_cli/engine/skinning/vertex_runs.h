// The loops over a run of vertices and their bones: native code of kernel.py.
//
// On the CPU a bone's map is one vector of the processor, which is 2.5 times as fast as indexing arrays in Warp's
// Python. Maps, indices and weights must be contiguous.
#pragma once
#include "builtin.h"  // of Warp, for editors

// Σ_k w_k (L_k x + o_k) over the bones of each of a run of vertices of body b.
inline void move_points(int t, int runs, int run, wp::array_t<wp::vec3> vertices,
                        wp::array_t<wp::vec_t<16, float>> maps, wp::array_t<int> bone_indices,
                        wp::array_t<float> bone_weights, wp::array_t<wp::vec3> out) {
    const int b = t / runs, begin = t % runs * run, end = wp::min(begin + run, out.shape[1]);
#include "maps.h"
    for (int v = begin; v < end; ++v) {
        const int* bone = bone_indices.data + (long long)v * slots;
        const float* weight = bone_weights.data + (long long)v * slots;
        const wp::vec3 x = wp::load(wp::address(vertices, b, v));

        // Blending the bones' maps first and applying the result once costs less than moving the point by each bone.
        wp::vec3& y = *wp::address(out, b, v);
#ifdef MAP_VECTORS
        sixteen m = {};
        for (int k = 0; k < slots; ++k)
            m += weight[k] * *(const sixteen*)(body_maps + 16 * bone[k]);
        // o + L x: the map's columns times the point's coordinates.
        four r = __builtin_shufflevector(m, m, 12, 13, 14, 15);
        r += __builtin_shufflevector(m, m, 0, 1, 2, 3) * x[0];
        r += __builtin_shufflevector(m, m, 4, 5, 6, 7) * x[1];
        r += __builtin_shufflevector(m, m, 8, 9, 10, 11) * x[2];
        y = wp::vec3(r[0], r[1], r[2]);
#else
        float m[16] = {};
        for (int k = 0; k < slots; ++k)
            for (int i = 0; i < 16; ++i)
                m[i] += weight[k] * body_maps[16 * bone[k] + i];
        for (int i = 0; i < 3; ++i)
            y[i] = m[i] * x[0] + m[4 + i] * x[1] + m[8 + i] * x[2] + m[12 + i];
#endif
    }
}

// Gradients of g · (moved point) to the points, Σ_k w_k L_kᵀ g; on the CPU also to the bones' maps.
inline void point_gradients(wp::array_t<wp::vec_t<16, float>> maps, int b, int part, wp::array_t<int> bone_indices,
                            wp::array_t<float> bone_weights, int begin, int end, wp::array_t<wp::vec3> vertices,
                            wp::array_t<wp::vec3> grad, int to_vertices, int to_maps,
                            wp::array_t<wp::vec3> out_vertices, wp::array_t<wp::vec_t<16, float>> out_maps) {
#include "maps.h"
#ifdef MAP_VECTORS
    if (to_maps)
        memset(out_maps.data + (b * (long long)out_maps.shape[1] + part) * bones, 0, 64 * bones);
#endif
    for (int v = begin; v < end; ++v) {
        const int* bone = bone_indices.data + (long long)v * slots;
        const float* weight = bone_weights.data + (long long)v * slots;
        const wp::vec3 x = wp::load(wp::address(vertices, b, v));

        const wp::vec3 g = wp::load(wp::address(grad, b, v));
#ifdef MAP_VECTORS
        // Products of gradient and map, summed by column, are Lᵀ g; of gradient and point, the gradient to the map.
        const sixteen g4 = {g[0], g[1], g[2], 0, g[0], g[1], g[2], 0, g[0], g[1], g[2], 0, g[0], g[1], g[2], 0};
        sixteen m = {};
        if (to_maps) {
            const sixteen gx =
                g4 * (sixteen){x[0], x[0], x[0], x[0], x[1], x[1], x[1], x[1], x[2], x[2], x[2], x[2], 1, 1, 1, 1};
            float* sums = (float*)(out_maps.data + (b * (long long)out_maps.shape[1] + part) * bones);
            for (int k = 0; k < slots; ++k) {
                m += weight[k] * *(const sixteen*)(body_maps + 16 * bone[k]);
                *(sixteen*)(sums + 16 * bone[k]) += weight[k] * gx;
            }
        } else {
            for (int k = 0; k < slots; ++k)
                m += weight[k] * *(const sixteen*)(body_maps + 16 * bone[k]);
        }
        m *= g4;
#else
        float m[16] = {};  // the gradient to the maps is summed by bone, in another kernel
        for (int k = 0; k < slots; ++k)
            for (int i = 0; i < 12; ++i)
                m[i] += weight[k] * body_maps[16 * bone[k] + i];
        for (int i = 0; i < 12; ++i)
            m[i] *= i % 4 < 3 ? g[i % 4] : 0.0f;
#endif
        if (to_vertices)
            *wp::address(out_vertices, b, v) = wp::vec3(m[0] + m[1] + m[2], m[4] + m[5] + m[6], m[8] + m[9] + m[10]);
    }
}
