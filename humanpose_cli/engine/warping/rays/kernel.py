"""Warp kernel of first surfaces; `op.py` says what it computes.

One thread follows the rays of a row of pixels on the CPU, of a pixel on CUDA, capsule after capsule and plate after
plate. Of a row only the pixels are looked at whose rays come near enough: where they do is known in closed form, for
the distance of a ray to a ball's centre is a quadratic in the pixel's column, and to a cylinder's axis, or to a
plate's edges, linear.
"""

import warp as wp

__all__ = ["MODULE", "follow_rays"]

wp.set_module_options({"enable_backward": False})
MODULE = wp.get_module(__name__)


@wp.func_native(
    """
    const int blocks_per_row = (width + columns - 1) / columns;
    const int x_begin = t % blocks_per_row * columns;
    const int y = t / blocks_per_row % height;
    const int b = t / blocks_per_row / height;
    const int x_end = wp::min(x_begin + columns, width);
    const int count = capsules.shape[1];
    const long long row = ((long long)b * height + y) * width;
    const float tiny = 1.0e-12f, infinite = order.data[row + x_begin];
    auto finite = [](const float* values, int number) {
        for (int i = 0; i < number; ++i)
            if (!wp::isfinite(values[i]))
                return false;
        return true;
    };

    for (int k = 0; k < count; ++k) {
        const float* c = capsules.data + ((long long)b * count + k) * 7;
        const float* m = maps.data + ((long long)b * parts + part_of_capsule.data[k]) * 12;
        if (!(c[6] >= 0.0f && finite(c, 7) && finite(m, 12)))
            continue;
        const float reach = c[6] + 0.5f * softness, reach2 = reach * reach;
        const float v = (float)y + 0.5f;
        // A ray's origin is o + x e, its direction d.
        float o[3], e[3], d[3], u[3], n[3];
        float length2 = 0.0f, dd = 0.0f;
        for (int i = 0; i < 3; ++i) {
            e[i] = m[4 * i];
            d[i] = m[4 * i + 2];
            o[i] = m[4 * i + 1] * v + m[4 * i + 3] - c[i];
            u[i] = c[3 + i] - c[i];
            length2 += u[i] * u[i];
            dd += d[i] * d[i];
        }
        if (!(dd > tiny))
            continue;
        const float length = wp::sqrt(wp::max(length2, tiny)), cone = 1.0f / wp::max(wp::sqrt(dd), 1.0e-6f);
        for (int i = 0; i < 3; ++i)
            u[i] /= length;
        // The columns from `low` to `high` whose rays come near enough.
        float low = (float)x_end, high = (float)x_begin - 1.0f;
        auto widen = [&](float a, float h, float rest) {  // where a x² + 2 h x + rest <= 0
            float from = (float)x_begin, to = (float)x_end;
            if (a > 1.0e-9f * dd) {
                const float root = h * h - a * rest;
                if (root < 0.0f)
                    return;
                const float half = wp::sqrt(root) / a;
                from = -h / a - half;
                to = -h / a + half;
            } else if (rest > 0.0f && wp::abs(h) < tiny) {
                return;
            }
            low = wp::min(low, from - 0.51f);
            high = wp::max(high, to - 0.49f);
        };
        for (int end = 0; end < 2; ++end) {
            float od = 0.0f, ed = 0.0f, oo = 0.0f, oe = 0.0f, ee = 0.0f;
            for (int i = 0; i < 3; ++i) {
                const float p = o[i] - (end ? u[i] * length : 0.0f);
                od += p * d[i];
                ed += e[i] * d[i];
                oo += p * p;
                oe += p * e[i];
                ee += e[i] * e[i];
            }
            widen(ee - ed * ed / dd, oe - od * ed / dd, (oo - od * od / dd) - 1.001f * reach2 - 1.0e-4f);
        }
        n[0] = d[1] * u[2] - d[2] * u[1];
        n[1] = d[2] * u[0] - d[0] * u[2];
        n[2] = d[0] * u[1] - d[1] * u[0];
        const float nn = n[0] * n[0] + n[1] * n[1] + n[2] * n[2];
        if (length2 > tiny && nn > 1.0e-9f * dd) {
            const float on = o[0] * n[0] + o[1] * n[1] + o[2] * n[2], en = e[0] * n[0] + e[1] * n[1] + e[2] * n[2];
            // Only between the balls: their hull is wide enough but for rays that pass the cylinder's middle.
            widen(en * en, on * en, on * on - (1.001f * reach2 + 1.0e-4f) * nn);
        }
        const int first = low > (float)x_begin ? (int)wp::ceil(low) : x_begin;
        const int last = high < (float)(x_end - 1) ? (int)wp::floor(high) : x_end - 1;
        for (int x = first; x <= last; ++x) {
            const float w = (float)x + 0.5f;
            const float px = o[0] + w * e[0], py = o[1] + w * e[1], pz = o[2] + w * e[2];
            float best = infinite, rank = infinite, within = 0.0f;
            const float forward = d[0] * u[0] + d[1] * u[1] + d[2] * u[2];
            const float across = px * u[0] + py * u[1] + pz * u[2];
            const float od = px * d[0] + py * d[1] + pz * d[2], oo = px * px + py * py + pz * pz;
            const float speed = dd - forward * forward;
            if (length2 > tiny && speed > tiny) {
                const float closing = od - across * forward;
                const float inside = reach2 - (oo - across * across) + closing * closing / speed;
                if (inside > 0.0f) {
                    const float along = (-closing - wp::sqrt(inside * speed)) / speed;
                    const float place = across + along * forward, nearest = across - closing / speed * forward;
                    if (place >= 0.0f && place * place <= length2)
                        best = along;
                    if (nearest >= 0.0f && nearest * nearest <= length2) {
                        within = reach - wp::sqrt(wp::max(reach2 - inside, 0.0f));
                        rank = (reach - 2.0f * within) * cone - closing / speed;
                    }
                }
            }
            for (int end = 0; end < 2; ++end) {
                const float shift = end ? length : 0.0f;
                const float closing = od - shift * forward;
                const float apart = oo - 2.0f * shift * across + shift * shift;
                const float inside = reach2 - apart + closing * closing / dd;
                if (inside > 0.0f) {
                    const float along = (-closing - wp::sqrt(inside * dd)) / dd;
                    best = along < best ? along : best;
                    const float own = reach - wp::sqrt(wp::max(reach2 - inside, 0.0f));
                    within = wp::max(within, own);
                    rank = wp::min(rank, (reach - 2.0f * own) * cone - closing / dd);
                }
            }
            if (!(best < infinite))
                continue;
            float share = softness > 0.0f ? within / softness : 1.0f;
            share = share < 1.0f ? share : 1.0f;
            if (share > covered.data[row + x])
                covered.data[row + x] = share;
            const float so_far = order.data[row + x];
            order.data[row + x] = wp::min(so_far, rank);
            if (rank < so_far - alike || (rank < so_far + alike && best < depth.data[row + x])) {
                depth.data[row + x] = best;
                float* q = points.data + 3 * (row + x);
                q[0] = px + best * d[0] + c[0];
                q[1] = py + best * d[1] + c[1];
                q[2] = pz + best * d[2] + c[2];
            }
        }
    }

    const int plate_count = plates.shape[1];
    for (int k = 0; k < plate_count; ++k) {
        const float* c = plates.data + ((long long)b * plate_count + k) * 10;
        const float* m = maps.data + ((long long)b * parts + part_of_plate.data[k]) * 12;
        if (!(c[9] >= 0.0f && finite(c, 10) && finite(m, 12)))
            continue;
        const float reach = c[9] + 0.5f * softness, v = (float)y + 0.5f;
        float o[3], e[3], d[3], p[3], q[3], n[3], dd = 0.0f;
        for (int i = 0; i < 3; ++i) {
            e[i] = m[4 * i];
            d[i] = m[4 * i + 2];
            o[i] = m[4 * i + 1] * v + m[4 * i + 3] - c[i];
            dd += d[i] * d[i];
            p[i] = c[3 + i] - c[i];
            q[i] = c[6 + i] - c[i];
        }
        n[0] = p[1] * q[2] - p[2] * q[1];
        n[1] = p[2] * q[0] - p[0] * q[2];
        n[2] = p[0] * q[1] - p[1] * q[0];
        const float area = wp::sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]);
        if (!(area > tiny))
            continue;
        for (int i = 0; i < 3; ++i)
            n[i] /= area;
        const float slope = d[0] * n[0] + d[1] * n[1] + d[2] * n[2];
        if (!(wp::abs(slope) > 1.0e-6f))
            continue;
        const float on = o[0] * n[0] + o[1] * n[1] + o[2] * n[2], en = e[0] * n[0] + e[1] * n[1] + e[2] * n[2];
        // First where the rays' lines pass through the triangle itself, then where they meet the nearer face.
        for (int face = 0; face < 2; ++face) {
            const float start = -on / slope - (face ? reach / wp::abs(slope) : 0.0f), step = -en / slope;
            float low = (float)x_begin, high = (float)x_end;
            bool empty = false;
            for (int edge = 0; edge < 3; ++edge) {
                float a[3], s[3];
                for (int i = 0; i < 3; ++i) {
                    a[i] = edge == 0 ? 0.0f : edge == 1 ? p[i] : q[i];
                    s[i] = edge == 0 ? p[i] : edge == 1 ? q[i] - p[i] : -q[i];
                }
                const float in[3] = {n[1] * s[2] - n[2] * s[1], n[2] * s[0] - n[0] * s[2], n[0] * s[1] - n[1] * s[0]};
                float rest = 0.0f, rate = 0.0f;
                for (int i = 0; i < 3; ++i) {
                    rest += (o[i] + start * d[i] - a[i]) * in[i];
                    rate += (e[i] + step * d[i]) * in[i];
                }
                // rest + rate w >= 0 for a column's centre w
                if (rate > 0.0f)
                    low = wp::max(low, -rest / rate);
                else if (rate < 0.0f)
                    high = wp::min(high, -rest / rate);
                else
                    empty = empty || rest < 0.0f;
            }
            if (empty || !(low <= high))
                continue;
            const int first = wp::max(x_begin, (int)wp::ceil(low - 0.5f));
            const int last = wp::min(x_end - 1, (int)wp::floor(high - 0.5f));
            for (int x = first; x <= last; ++x) {
                const float w = (float)x + 0.5f, along = start + step * w;
                if (face == 0) {
                    float share = softness > 0.0f ? reach / softness : 0.0f;
                    share = share < 1.0f ? share : 1.0f;
                    if (share > covered.data[row + x])
                        covered.data[row + x] = share;
                    continue;
                }
                if (!(softness > 0.0f))
                    covered.data[row + x] = 1.0f;
                const float rank = along + reach / wp::abs(slope) - reach / wp::max(wp::sqrt(dd), 1.0e-6f);
                const float so_far = order.data[row + x];
                order.data[row + x] = wp::min(so_far, rank);
                if (rank < so_far - alike || (rank < so_far + alike && along < depth.data[row + x])) {
                    depth.data[row + x] = along;
                    for (int i = 0; i < 3; ++i)
                        points.data[3 * (row + x) + i] = o[i] + w * e[i] + along * d[i] + c[i];
                }
            }
        }
    }
"""
)
def follow_block(
    t: int,
    columns: int,
    parts: int,
    height: int,
    width: int,
    capsules: wp.array3d(dtype=wp.float32),
    part_of_capsule: wp.array1d(dtype=wp.int32),
    plates: wp.array3d(dtype=wp.float32),
    part_of_plate: wp.array1d(dtype=wp.int32),
    maps: wp.array1d(dtype=wp.float32),
    softness: float,
    alike: float,
    order: wp.array1d(dtype=wp.float32),
    depth: wp.array1d(dtype=wp.float32),
    points: wp.array1d(dtype=wp.float32),
    covered: wp.array1d(dtype=wp.float32),
):
    """Follows the rays of block t, of `columns` pixels of one row."""


@wp.kernel
def follow_rays(
    first: int,
    columns: int,
    parts: int,
    height: int,
    width: int,
    capsules: wp.array3d(dtype=wp.float32),
    part_of_capsule: wp.array1d(dtype=wp.int32),
    plates: wp.array3d(dtype=wp.float32),
    part_of_plate: wp.array1d(dtype=wp.int32),
    maps: wp.array1d(dtype=wp.float32),
    softness: float,
    alike: float,
    order: wp.array1d(dtype=wp.float32),
    depth: wp.array1d(dtype=wp.float32),
    points: wp.array1d(dtype=wp.float32),
    covered: wp.array1d(dtype=wp.float32),
):
    t = first + wp.tid()
    follow_block(
        t, columns, parts, height, width,
        capsules, part_of_capsule, plates, part_of_plate, maps, softness, alike, order, depth, points, covered,
    )  # fmt: skip
