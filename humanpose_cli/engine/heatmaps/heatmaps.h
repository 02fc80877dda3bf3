// The loops over voxels of heatmaps: native code of kernel.py.
#pragma once
#include "builtin.h"  // of Warp, for editors

// Visit what the Gaussians reach in a line of the volume, a slice with all joints for one lane, a row with one joint for
// as many lanes as joints, and either draw them into zeros, (B·D, H, W, J), or sum gradient · value · offset from the
// joint over the line, into (B, lines, J).
inline void visit_line(int t, int lanes, float sigma_x, float sigma_y, float sigma_z, wp::array_t<wp::vec3> joints,
                       wp::array_t<float> volume, wp::array_t<wp::vec3> sums) {
    const int line = t / lanes, run = joints.shape[1] / lanes, joint = t % lanes * run;
    const int rows = lanes == 1 ? volume.shape[1] : 1;
    const float sigma[3] = {sigma_x, sigma_y, sigma_z};
#if defined(__CUDA_ARCH__)
    constexpr int chunk = 1;  // in a register
#else
    constexpr int chunk = 64;
#endif
    auto profile = [](float offset, float s) {
        const float value = wp::exp(-0.5f * (offset / s) * (offset / s));
        return value < 1e-12f ? 0.0f : value;
    };
    const int height = volume.shape[1], width = volume.shape[2], lines = height / rows;
    const int step = volume.strides[2] / (int)sizeof(float);
    const int depth = volume.shape[0] / joints.shape[0], draws = !sums.shape[0];
    const int slice = line / lines, b = slice / depth, top = (line - slice * lines) * rows;
    for (int j = joint; j < joint + run; ++j) {
        const wp::vec3 p = *wp::address(joints, b, j);
        wp::vec3 total(0.0f, 0.0f, 0.0f);
        const float dz = (float)(slice - b * depth) + 0.5f - p[2];
        const float z = wp::isfinite(p) ? profile(dz, sigma[2]) : 0.0f;
        if (z > 0.0f) {
            // 7.44 sigmas hold all values from 1e-12 on; clamped before they become integers.
            const float ry = 7.44f * sigma[1], rx = 7.44f * sigma[0];
            const int y0 = (int)wp::clamp(p[1] - ry, (float)top, (float)(top + rows));
            const int y1 = (int)wp::clamp(p[1] + ry + 1.0f, (float)top, (float)(top + rows));
            const int x0 = (int)wp::clamp(p[0] - rx, 0.0f, (float)width);
            const int x1 = (int)wp::clamp(p[0] + rx + 1.0f, 0.0f, (float)width);
            for (int begin = x0; begin < x1; begin += chunk) {
                const int end = wp::min(begin + chunk, x1);
                float x[chunk];
                for (int w = begin; w < end; ++w)
                    x[chunk == 1 ? 0 : w - begin] = profile((float)w + 0.5f - p[0], sigma[0]);
                for (int h = y0; h < y1; ++h) {
                    const float dy = (float)h + 0.5f - p[1], yz = profile(dy, sigma[1]) * z;
                    float* voxel = wp::address(volume, slice, h, begin, j);
                    float sum = 0.0f, moment = 0.0f;
                    for (int w = begin; w < end; ++w, voxel += step) {
                        if (draws)
                            *voxel = x[chunk == 1 ? 0 : w - begin] * yz;
                        else {
                            const float product = *voxel * x[chunk == 1 ? 0 : w - begin];
                            sum += product;
                            moment += product * ((float)w + 0.5f - p[0]);
                        }
                    }
                    total += wp::vec3(moment, sum * dy, sum * dz) * yz;
                }
            }
        }
        if (!draws)
            *wp::address(sums, b, line - b * depth * lines, j) =
                wp::vec3(total[0] / (sigma[0] * sigma[0]), total[1] / (sigma[1] * sigma[1]), total[2] / (sigma[2] * sigma[2]));
    }
}
