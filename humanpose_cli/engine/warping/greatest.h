// Included inside functions, after samples.h. The largest of the parts' samples in some channels of one voxel; true if
// it is to be written.
struct Sixty4 {
    enum { width = 64 };
    int at(int c) const { return c; }
};
struct Sixteen {
    enum { width = 16 };
    int at(int c) const { return c; }
};
struct Four {
    enum { width = 4 };
    int at(int c) const { return c; }
};
struct One {
    enum { width = 1 };
    int at(int c) const { return c; }
};
struct Four_apart {
    enum { width = 4 };
    int step;
    int at(int c) const { return c * step; }
};
auto greatest = [&](auto size, int b, int x, int y, int z, int channel, const int* candidates, int count) {
    const int N = decltype(size)::width;
    float best[N];
    int won[N];
    int reached = 0;
    // 1. Each part's sample: the weighted sum of the voxels that its mask covers.
    for (int i = 0; i < count; ++i) {
        const int part = candidates ? candidates[i] : i;
        const float* p = plans.data + ((long long)b * parts + part) * PLAN_SIZE;
        float s[3], sum[N];
        if (!sampled(p, (float)x + 0.5f, (float)y + 0.5f, (float)z + 0.5f, s))
            continue;
        for (int c = 0; c < N; ++c)
            sum[c] = 0.0f;
        bool any = false;
        each_corner(b, part, s, 0, depth, [&](long long row, float weight) {
            any = true;
            const auto* from = volume.data + row * channels + channel;
            for (int c = 0; c < N; ++c)
                sum[c] += weight * read(from + size.at(c));
        });
        if (!any)
            continue;
        // 2. The largest wins, among equals the first part; NaN wins over numbers and stays.
        if (reached++ == 0) {
            for (int c = 0; c < N; ++c) {
                best[c] = sum[c];
                won[c] = part + 1;
            }
        } else {
            for (int c = 0; c < N; ++c) {
                const bool better = !(sum[c] <= best[c]) && best[c] == best[c];
                best[c] = better ? sum[c] : best[c];
                won[c] = better ? part + 1 : won[c];
            }
        }
    }
    if (reached == 0)
        return false;
    // 3. A part that does not reach the voxel contributes 0, so a negative number stands only if all parts reach.
    const long long to = (((long long)b * depth + z) * slice_size + (long long)y * width + x) * channels + channel;
    if (reached < parts) {
        for (int c = 0; c < N; ++c) {
            won[c] = best[c] <= 0.0f ? 0 : won[c];
            best[c] = best[c] <= 0.0f ? 0.0f : best[c];
        }
    }
    for (int c = 0; c < N; ++c)
        write(out.data + to + size.at(c), best[c]);
    if (winner.shape[0] > 0) {
        for (int c = 0; c < N; ++c)
            winner.data[to + size.at(c)] = (unsigned char)won[c];
    }
    return true;
};
