// Included inside fill_masks: the plan of part t % parts of sample t / parts. A part that reaches nothing has an empty
// box.
    const int b = t / parts, part = t % parts;
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
