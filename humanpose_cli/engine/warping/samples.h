// Included inside functions: sizes, numbers of volumes, and what one sample of a part is made of.

const int parts = plans.shape[1];
const int channels = winner.shape[1];
const int flat = slices == 1;  // a planar mask serves every slice
const long long slice_size = (long long)height * width;

// A volume's numbers are read and written as float32; 16-bit ones travel as int16.
#if defined(READ_BFLOAT16)
auto read = [](const short* p) {
    union {
        unsigned bits;
        float value;
    } number;
    number.bits = (unsigned)(unsigned short)*p << 16;
    return number.value;
};
#elif defined(READ_FLOAT16)
auto read = [](const short* p) { return wp::half_to_float(*(const wp::half*)p); };
#else
auto read = [](const float* p) { return *p; };
#endif
#if defined(WRITE_BFLOAT16)
// To the nearest, ties to even; a number that is not one stays so.
auto write = [](short* p, float value) {
    union {
        float value;
        unsigned bits;
    } number;
    number.value = value;
    const unsigned rounded = number.bits + 0x7FFF + (number.bits >> 16 & 1);
    *p = value != value ? 0x7FC0 : (short)(rounded >> 16);
};
#elif defined(WRITE_FLOAT16)
auto write = [](short* p, float value) { *(wp::half*)p = wp::float_to_half(value); };
#else
auto write = [](float* p, float value) { *p = value; };
#endif

// Takes the corners of a sample that count, in order: their rows of the volume and their weights.
auto each_corner = [&](int b, int part, const float* s, int z_begin, int z_end, auto take) {
    const int x = (int)wp::floor(s[0]), y = (int)wp::floor(s[1]), z = (int)wp::floor(s[2]);
    const float fx = s[0] - (float)x, fy = s[1] - (float)y, fz = s[2] - (float)z;
    const float* mask = masks.data + (long long)(b * parts + part) * slices * slice_size;
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
                if (w != 0.0f)
                    take(((long long)b * depth + z + dz) * slice_size + line + x + dx, w);
            }
        }
    }
};

// A sample position, and whether anything of the part can be reached from it.
auto sampled = [](const float* p, float x, float y, float z, float* s) {
    for (int i = 0; i < 3; ++i)
        s[i] = p[4 * i] * x + p[4 * i + 1] * y + p[4 * i + 2] * z + p[4 * i + 3] - 0.5f;
    return s[0] > p[12] && s[0] < p[15] && s[1] > p[13] && s[1] < p[16] && s[2] > p[14] && s[2] < p[17];
};
