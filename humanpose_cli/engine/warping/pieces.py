"""C++ of the warping kernels, in pieces that both ways over the target share.

Every piece expects the names of the kernels' parameters, and defines what its first comment says. Rows of the volume
are voxels, their columns channels.
"""

__all__ = [
    "CORNERS",
    "GREATEST",
    "PLAN_PART",
    "PLAN_SIZE",
    "READ",
    "SAMPLE",
    "SIZES",
    "SPAN",
    "WARP_SLAB",
    "WARP_VOXEL",
    "WRITE",
]

# Numbers a part in a plan: the transform's three rows (12), the bounds of the sample positions, in voxel indices, from
# which its voxels are reached (3 lower, 3 upper, none of them included), and two unused.
PLAN_SIZE = 20

# A volume's numbers are read and written as float32; 16-bit ones travel as int16.
READ = {
    "float32": "auto read = [](const float* p) { return *p; };",
    "bfloat16": """auto read = [](const short* p) {
        union { unsigned bits; float value; } number;
        number.bits = (unsigned)(unsigned short)*p << 16;
        return number.value;
    };""",
    "float16": """auto read = [](const short* p) {
        return wp::half_to_float(*(const wp::half*)p);
    };""",
}
WRITE = {
    "float32": "auto write = [](float* p, float value) { *p = value; };",
    # To the nearest, ties to even; a number that is not one stays so.
    "bfloat16": """auto write = [](short* p, float value) {
        union { float value; unsigned bits; } number;
        number.value = value;
        const unsigned rounded = number.bits + 0x7FFF + (number.bits >> 16 & 1);
        *p = value != value ? 0x7FC0 : (short)(rounded >> 16);
    };""",
    "float16": """auto write = [](short* p, float value) {
        *(wp::half*)p = wp::float_to_half(value);
    };""",
}

# The plan of part t % parts of sample t / parts: a part that reaches nothing has an empty box.
PLAN_PART = """
    const int b = t / parts, part = t % parts, count = capsules.shape[1];
    float* p = plans.data + (long long)t * PLAN_SIZE;
    const float* given = transforms.data + (long long)t * 12;
    bool known = true;
    for (int i = 0; i < 12; ++i) {
        const int row = i / 4, column = i % 4;
        const bool kept = !planar || (row != 2 && column != 2);
        p[i] = kept ? given[i] : row == 2 && column == 2 ? 1.0f : 0.0f;
        known = known && wp::isfinite(p[i]);
    }
    const float big = 3.0e38f, size[3] = {size_x, size_y, size_z};
    const float most[3] = {(float)width - 1.0f, (float)height - 1.0f, (float)depth - 1.0f};
    for (int i = 0; i < 3; ++i)
        p[12 + i] = big, p[15 + i] = -big;
    for (int k = 0; k < count && known; ++k) {
        const float* c = capsules.data + ((long long)b * count + k) * 7;
        bool meets = part_of_capsule.data[k] == part;
        for (int i = 0; i < 7; ++i)
            meets = meets && wp::isfinite(c[i]);
        float first[3], last[3];
        const float reach = wp::max(c[6], 0.0f) + 0.5f * softness;
        for (int i = 0; i < 3 && meets; ++i) {
            float low = (wp::min(c[i], c[3 + i]) - reach) / size[i] - 0.5f;
            float high = (wp::max(c[i], c[3 + i]) + reach) / size[i] - 0.5f;
            const float slack = 1.0e-2f + 1.0e-5f * (wp::abs(low) + wp::abs(high));
            low = wp::ceil(low - slack);
            high = wp::floor(high + slack);
            const bool all = planar && i == 2;
            first[i] = all || !(low > 0.0f) ? 0.0f : low;
            last[i] = all || !(high < most[i]) ? most[i] : high;
            meets = first[i] <= last[i];
        }
        for (int i = 0; i < 3 && meets; ++i) {
            p[12 + i] = wp::min(p[12 + i], wp::max(first[i] - (float)widened, 0.0f) - 1.0f);
            p[15 + i] = wp::max(p[15 + i], wp::min(last[i] + (float)widened, most[i]) + 1.0f);
        }
    }
    p[18] = p[19] = 0.0f;
"""

SIZES = """
    const int parts = plans.shape[1];
    const int channels = winner.shape[1];
    const int flat = slices == 1;  // a planar mask serves every slice
    const long long slice_size = (long long)height * width;
"""

# The corners of a sample that count: their rows of the volume and their weights.
CORNERS = """
    auto corners_at = [&](int b, int part, float sx, float sy, float sz, int z_begin, int z_end,
                          long long* row, float* weight) {
        const int x = (int)wp::floor(sx), y = (int)wp::floor(sy), z = (int)wp::floor(sz);
        const float fx = sx - (float)x, fy = sy - (float)y, fz = sz - (float)z;
        const float* mask = masks.data + (long long)(b * parts + part) * slices * slice_size;
        int n = 0;
        for (int dz = 0; dz < 2; ++dz) {
            if (z + dz < z_begin || z + dz >= z_end)
                continue;
            const float wz = dz ? fz : 1.0f - fz;
            for (int dy = 0; dy < 2; ++dy) {
                if (y + dy < 0 || y + dy >= height)
                    continue;
                const float wyz = wz * (dy ? fy : 1.0f - fy);
                const long long line = (long long)(y + dy) * width;
                const float* covered = mask + (flat ? 0 : (z + dz) * slice_size) + line;
                for (int dx = 0; dx < 2; ++dx) {
                    if (x + dx < 0 || x + dx >= width)
                        continue;
                    const float w = wyz * (dx ? fx : 1.0f - fx) * covered[x + dx];
                    if (w != 0.0f) {
                        row[n] = ((long long)b * depth + z + dz) * slice_size + line + x + dx;
                        weight[n++] = w;
                    }
                }
            }
        }
        return n;
    };
"""

# A sample position, and whether anything of the part can be reached from it.
SAMPLE = """
    auto sampled = [](const float* p, float x, float y, float z, float* s) {
        for (int i = 0; i < 3; ++i)
            s[i] = p[4 * i] * x + p[4 * i + 1] * y + p[4 * i + 2] * z + p[4 * i + 3] - 0.5f;
        return s[0] > p[12] && s[0] < p[15] && s[1] > p[13] && s[1] < p[16] && s[2] > p[14] && s[2] < p[17];
    };
"""

# Rows of a slice, and voxels of a row, from which a part may be reached: first and last, or an empty span. A sample's
# position is step · i + start along every axis, with start somewhere between two bounds.
SPAN = """
    auto narrow = [](float step, float least, float most, float low, float high, float end, float& from, float& to) {
        if (wp::abs(step) < 1.0e-3f) {  // the position then hardly changes
            const float room = 2.0e-3f * end;
            if (!(most + room > low) || !(least - room < high))
                from = 1.0f, to = 0.0f;
            return;
        }
        // Grown by one, which is more than rounding takes.
        const float a = (low - most) / step, b = (high - least) / step;
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
            narrow(p[4 * i + 1], start + wp::min(across, 0.0f), start + wp::max(across, 0.0f), low, high,
                   (float)height, from, to);
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
"""

# The greatest of the parts' samples in some channels of one voxel; true if it is to be written.
GREATEST = """
    struct Sixty4 { enum { width = 64 }; int at(int c) const { return c; } };
    struct Sixteen { enum { width = 16 }; int at(int c) const { return c; } };
    struct Four { enum { width = 4 }; int at(int c) const { return c; } };
    struct One { enum { width = 1 }; int at(int c) const { return c; } };
    struct Four_apart { enum { width = 4 }; int step; int at(int c) const { return c * step; } };
    auto greatest = [&](auto size, int b, int x, int y, int z, int channel, const int* candidates, int count) {
        const int N = decltype(size)::width;
        float best[N];
        int won[N];
        int reached = 0;
        for (int i = 0; i < count; ++i) {
            const int part = candidates ? candidates[i] : i;
            const float* p = plans.data + ((long long)b * parts + part) * PLAN_SIZE;
            float s[3], weight[8];
            long long row[8];
            if (!sampled(p, (float)x + 0.5f, (float)y + 0.5f, (float)z + 0.5f, s))
                continue;
            const int n = corners_at(b, part, s[0], s[1], s[2], 0, depth, row, weight);
            if (n == 0)
                continue;
            float sum[N];
            for (int c = 0; c < N; ++c)
                sum[c] = 0.0f;
            for (int k = 0; k < n; ++k) {
                const auto* from = volume.data + row[k] * channels + channel;
                for (int c = 0; c < N; ++c)
                    sum[c] += weight[k] * read(from + size.at(c));
            }
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
"""

# One slice of the target; 64 channels at a time, as long as a part reaches the voxel.
WARP_SLAB = """
    const int slice = (int)((long long)t * stride % ((long long)batch * depth));
    const int b = slice / depth, z = slice % depth;
    const float* own = plans.data + (long long)b * parts * PLAN_SIZE;
    int active[255], top[255], bottom[255], spanned[255], first[255], last[255], candidates[255];
    int actives = 0, y_begin = height, y_end = -1;
    for (int part = 0; part < parts; ++part) {
        rows_of(own + part * PLAN_SIZE, (float)z + 0.5f, -2.0f, 1.0e9f, top[actives], bottom[actives]);
        if (top[actives] <= bottom[actives]) {
            y_begin = wp::min(y_begin, top[actives]);
            y_end = wp::max(y_end, bottom[actives]);
            active[actives++] = part;
        }
    }
    for (int y = y_begin; y <= y_end; ++y) {
        int spans = 0, begin = width, end = -1;
        for (int i = 0; i < actives; ++i) {
            if (y < top[i] || y > bottom[i])
                continue;
            const float* p = own + active[i] * PLAN_SIZE;
            span_of(p, (float)y + 0.5f, (float)z + 0.5f, -2.0f, 1.0e9f, first[spans], last[spans]);
            if (first[spans] <= last[spans]) {
                begin = wp::min(begin, first[spans]);
                end = wp::max(end, last[spans]);
                spanned[spans++] = active[i];
            }
        }
        for (int x = begin; x <= end; ++x) {
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
"""

# Four channels a thread, as far apart as there are threads to a voxel: neighbouring threads read neighbouring numbers.
WARP_VOXEL = """
    const int own = channels % 4 == 0 ? 4 : 1;
    const int threads = channels / own;
    const int channel = t % threads, v = t / threads;
    const int x = v % width, y = v / width % height, z = v / width / height % depth, b = v / width / height / depth;
    const bool written = own == 4 ? greatest(Four_apart{threads}, b, x, y, z, channel, (const int*)0, parts)
                                  : greatest(One(), b, x, y, z, channel, (const int*)0, parts);
    for (int c = 0; c < own && !written; ++c) {
        const long long to = (long long)v * channels + channel + c * threads;
        write(out.data + to, 0.0f);
        if (winner.shape[0] > 0)
            winner.data[to] = 0;
    }
"""
