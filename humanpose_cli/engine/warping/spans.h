// Included inside functions. Rows of a slice, and voxels of a row, from which a part may be reached: first and last, or
// an empty span. A sample's position is step · i + start along every axis, with start somewhere between two bounds.
auto narrow = [](float step, float min_start, float max_start, float low, float high, float end, float& from,
                 float& to) {
    if (wp::abs(step) < 1.0e-3f) {  // the position then hardly changes
        const float room = 2.0e-3f * end;
        if (!(max_start + room > low) || !(min_start - room < high))
            from = 1.0f, to = 0.0f;
        return;
    }
    // Grown by one voxel, which is more than rounding errors.
    const float a = (low - max_start) / step, b = (high - min_start) / step;
    from = wp::min(a, b) - 1.0f > from ? wp::min(a, b) - 1.0f : from;
    to = wp::max(a, b) + 1.0f < to ? wp::max(a, b) + 1.0f : to;
};
auto rows_of = [&](const float* p, float z, float z_low, float z_high, int& first, int& last) {
    float from = 0.0f, to = p[12] < p[15] ? (float)(height - 1) : -1.0f;  // an empty box has no rows
    for (int i = 0; i < 3; ++i) {
        const float start = 0.5f * p[4 * i + 1] + p[4 * i + 2] * z + p[4 * i + 3] - 0.5f;
        const float across = p[4 * i] * (float)width;
        const float low = i == 2 ? wp::max(p[14], z_low) : p[12 + i];
        const float high = i == 2 ? wp::min(p[17], z_high) : p[15 + i];
        narrow(p[4 * i + 1], start + wp::min(across, 0.0f), start + wp::max(across, 0.0f), low, high, (float)height,
               from, to);
    }
    first = from <= to ? (int)wp::ceil(from) : 1;
    last = from <= to ? (int)wp::floor(to) : 0;
};
auto span_of = [&](const float* p, float y, float z, float z_low, float z_high, int& first, int& last) {
    float from = 0.0f, to = p[12] < p[15] ? (float)(width - 1) : -1.0f;
    for (int i = 0; i < 3; ++i) {
        const float start = 0.5f * p[4 * i] + p[4 * i + 1] * y + p[4 * i + 2] * z + p[4 * i + 3] - 0.5f;
        const float low = i == 2 ? wp::max(p[14], z_low) : p[12 + i];
        const float high = i == 2 ? wp::min(p[17], z_high) : p[15 + i];
        narrow(p[4 * i], start, start, low, high, (float)width, from, to);
    }
    first = from <= to ? (int)wp::ceil(from) : 1;
    last = from <= to ? (int)wp::floor(to) : 0;
};
