"""C++ of the warping kernels, in pieces that both ways over the target share.

Every piece expects the names of the kernels' parameters, and defines what its first comment says. Rows of the volume
are voxels, their columns channels.
"""

__all__ = [
    "ADJOINT_ROW",
    "ADJOINT_SLAB",
    "ADJOINT_VOXEL",
    "CORNERS",
    "GREATEST",
    "PLAN_PART",
    "PLAN_SIZE",
    "READ",
    "SAMPLE",
    "SIZES",
    "SLAB",
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
            p[12 + i] = wp::min(p[12 + i], first[i] - 1.0f);
            p[15 + i] = wp::max(p[15 + i], last[i] + 1.0f);
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

# The first and last voxel of a row from which a part may be reached, or an empty span.
SPAN = """
    auto span_of = [&](const float* p, float y, float z, float z_low, float z_high, int& first, int& last) {
        float from = 0.0f, to = (float)(width - 1);
        for (int i = 0; i < 3; ++i) {
            const float step = p[4 * i];
            const float start = p[4 * i + 1] * y + p[4 * i + 2] * z + p[4 * i + 3];  // where x + 0.5 is 0.5
            const float low = i == 2 ? wp::max(p[14], z_low) : p[12 + i];
            const float high = i == 2 ? wp::min(p[17], z_high) : p[15 + i];
            if (wp::abs(step) < 1.0e-3f) {  // a row then hardly moves along this axis
                const float room = 2.0e-3f * (float)(width + 2);
                if (!(start + room > low + 0.5f) || !(start - room < high + 0.5f))
                    from = 1.0f, to = 0.0f;
                continue;
            }
            const float a = (low + 0.5f - start) / step - 0.5f, b = (high + 0.5f - start) / step - 0.5f;
            // Rounding never takes more than the one voxel by which a span is grown.
            const float least = wp::min(a, b) - 1.0f, most = wp::max(a, b) + 1.0f;
            from = least > from ? least : from;
            to = most < to ? most : to;
        }
        first = from <= to ? (int)wp::ceil(from) : 1;
        last = from <= to ? (int)wp::floor(to) : 0;
    };
"""

# The greatest of the parts' samples in some channels of one voxel; true if it is to be written.
GREATEST = """
    struct Sixty4 { enum { width = 64 }; };
    struct Sixteen { enum { width = 16 }; };
    struct Four { enum { width = 4 }; };
    struct One { enum { width = 1 }; };
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
                    sum[c] += weight[k] * read(from + c);
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
            write(out.data + to + c, best[c]);
        if (winner.shape[0] > 0) {
            for (int c = 0; c < N; ++c)
                winner.data[to + c] = (unsigned char)won[c];
        }
        return true;
    };
"""


# Which parts may be reached from a slice: their samples' range over it meets their box.
SLAB = """
    auto reach_slab = [&](const float* p, float z, float z_low, float z_high) {
        bool meets = true;
        for (int i = 0; i < 3; ++i) {
            const float x = p[4 * i] * (float)width, y = p[4 * i + 1] * (float)height;
            const float start = p[4 * i + 2] * z + p[4 * i + 3] - 0.5f;
            const float low = i == 2 ? wp::max(p[14], z_low) : p[12 + i];
            const float high = i == 2 ? wp::min(p[17], z_high) : p[15 + i];
            meets = meets && start + wp::max(x, 0.0f) + wp::max(y, 0.0f) > low
                && start + wp::min(x, 0.0f) + wp::min(y, 0.0f) < high;
        }
        return meets;
    };
"""

WARP_SLAB = """
    const int slice = (int)((long long)t * stride % ((long long)batch * depth));
    const int b = slice / depth, z = slice % depth;
    const float* own = plans.data + (long long)b * parts * PLAN_SIZE;
    int active[255], spanned[255], first[255], last[255], candidates[255];
    int actives = 0;
    for (int part = 0; part < parts; ++part)
        if (reach_slab(own + part * PLAN_SIZE, (float)z + 0.5f, -2.0f, 1.0e9f))
            active[actives++] = part;
    for (int y = 0; y < height; ++y) {
        int spans = 0, begin = width, end = -1;
        for (int i = 0; i < actives; ++i) {
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

WARP_VOXEL = """
    const int width_of_group = channels % 4 == 0 ? 4 : 1;
    const int groups = channels / width_of_group;
    const int channel = t % groups * width_of_group;
    const int v = t / groups;
    const int x = v % width, y = v / width % height, z = v / width / height % depth, b = v / width / height / depth;
    const bool written = width_of_group == 4 ? greatest(Four(), b, x, y, z, channel, (const int*)0, parts)
                                             : greatest(One(), b, x, y, z, channel, (const int*)0, parts);
    if (!written)
        for (int c = 0; c < width_of_group; ++c) {
            write(out.data + (long long)v * channels + channel + c, 0.0f);
            if (winner.shape[0] > 0)
                winner.data[(long long)v * channels + channel + c] = 0;
        }
"""

ADJOINT_SLAB = """
    const int slabs = (depth + slab - 1) / slab;
    const int task = (int)((long long)t * stride % ((long long)batch * slabs));
    const int b = task / slabs, z_begin = task % slabs * slab, z_end = wp::min(z_begin + slab, depth);
    const float z_low = (float)(z_begin - 1), z_high = (float)z_end;
    const int whole = channels / 16 * 16;
    for (int z = 0; z < depth; ++z)
        for (int part = 0; part < parts; ++part) {
            const float* p = plans.data + ((long long)b * parts + part) * PLAN_SIZE;
            if (!reach_slab(p, (float)z + 0.5f, z_low, z_high))
                continue;
            for (int y = 0; y < height; ++y) {
                int first, last;
                span_of(p, (float)y + 0.5f, (float)z + 0.5f, z_low, z_high, first, last);
                for (int x = first; x <= last; ++x) {
                    const long long v = ((long long)b * depth + z) * slice_size + (long long)y * width + x;
                    const unsigned char* won = winner.data + v * channels;
                    unsigned char any = 0;
                    for (int c = 0; c < channels; ++c)
                        any |= won[c] == (unsigned char)(part + 1);
                    float s[3], weight[8];
                    long long row[8];
                    if (!any || !sampled(p, (float)x + 0.5f, (float)y + 0.5f, (float)z + 0.5f, s))
                        continue;
                    const int n = corners_at(b, part, s[0], s[1], s[2], z_begin, z_end, row, weight);
                    const float* from = upstream.data + v * channels;
                    for (int c = 0; c < whole; c += 16) {
                        float own[16];
                        for (int i = 0; i < 16; ++i)
                            own[i] = won[c + i] == (unsigned char)(part + 1) ? from[c + i] : 0.0f;
                        for (int k = 0; k < n; ++k) {
                            float* to = out.data + row[k] * channels + c;
                            for (int i = 0; i < 16; ++i)
                                to[i] += weight[k] * own[i];
                        }
                    }
                    for (int c = whole; c < channels; ++c)
                        if (won[c] == (unsigned char)(part + 1))
                            for (int k = 0; k < n; ++k)
                                out.data[row[k] * channels + c] += weight[k] * from[c];
                }
            }
        }
"""

ADJOINT_VOXEL = """
    const int width_of_group = channels % 4 == 0 ? 4 : 1;
    const int groups = channels / width_of_group;
    const int channel = t % groups * width_of_group;
    const int v = t / groups;
    const int x = v % width, y = v / width % height, z = v / width / height % depth, b = v / width / height / depth;
    const long long start = (long long)v * channels + channel;
    for (int i = 0; i < width_of_group; ++i) {
        const int won = winner.data[start + i];
        bool done = won == 0;
        for (int c = 0; c < i; ++c)
            done = done || winner.data[start + c] == won;
        if (done)
            continue;
        float s[3], weight[8];
        long long row[8];
        const float* p = plans.data + ((long long)b * parts + won - 1) * PLAN_SIZE;
        sampled(p, (float)x + 0.5f, (float)y + 0.5f, (float)z + 0.5f, s);
        const int n = corners_at(b, won - 1, s[0], s[1], s[2], 0, depth, row, weight);
        for (int c = i; c < width_of_group; ++c)
            if (winner.data[start + c] == won) {
                const float own = read(upstream.data + start + c);
                for (int k = 0; k < n; ++k)
                    wp::atomic_add(out.data + row[k] * channels + channel + c, weight[k] * own);
            }
    }
"""

# A corner's weight is f(x) f(y) f(z) M; what counts is its slope, so corners of weight zero take part.
ADJOINT_ROW = """
    const int part = t % parts, y = t / parts % height, z = t / parts / height % depth, b = t / parts / height / depth;
    const float* p = plans.data + ((long long)b * parts + part) * PLAN_SIZE;
    const float* mask = masks.data + (long long)(b * parts + part) * slices * slice_size;
    float total[12] = {};
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
            const long long place = (long long)(y0 + dy) * width + x0 + dx;
            const float covered = mask[(flat ? 0 : (z0 + dz) * slice_size) + place];
            if (covered == 0.0f)
                continue;
            const float wx = dx ? fx : 1.0f - fx, wy = dy ? fy : 1.0f - fy, wz = dz ? fz : 1.0f - fz;
            const bool unread = wx * wy * wz == 0.0f;
            const auto* from = volume.data + (((long long)b * depth + z0 + dz) * slice_size + place) * channels;
            const auto* own = upstream.data + v * channels;
            float lanes[16] = {};
            for (int c = 0; c < channels; c += 16)
                for (int i = 0; i < 16 && c + i < channels; ++i) {
                    const float value = read(from + c + i);
                    const bool counts = won[c + i] == (unsigned char)(part + 1) && !(unread && !wp::isfinite(value));
                    lanes[i] += counts ? read(own + c + i) * value : 0.0f;
                }
            float product = 0.0f;
            for (int i = 0; i < 16; ++i)
                product += lanes[i];
            product *= covered;
            slope[0] += (dx ? product : -product) * wy * wz;
            slope[1] += (dy ? product : -product) * wx * wz;
            slope[2] += (dz ? product : -product) * wx * wy;
        }
        for (int i = 0; i < 3; ++i) {
            total[4 * i] += slope[i] * ((float)x + 0.5f);
            total[4 * i + 1] += slope[i] * ((float)y + 0.5f);
            total[4 * i + 2] += slope[i] * ((float)z + 0.5f);
            total[4 * i + 3] += slope[i];
        }
    }
    for (int i = 0; i < 12; ++i)
        out.data[(long long)t * 12 + i] = total[i];
"""
