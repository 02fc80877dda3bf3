// A row's points, terms and joint angles with their derivatives: native code of kernel.py. Arrays are contiguous.
#pragma once
#include "builtin.h"  // of Warp, for editors
#ifndef MAX_SHAPE
#define MAX_SHAPE 48  // for editors; the values that count are those of op.py
#define MAX_PARAMETERS 128
#define MIN_DEPTH 0.05
#endif

// Pose the points of row n, p = sum over parts k of w_k (L_k t + o_k) with o_k = q_k - L_k j_k, and write their Jacobian.
// `rest` and `slopes`, by the shape, are those of the points (M), then of the joints (J).
inline void pose_points(int n, wp::array_t<int> parents, wp::array_t<double> rest_rotations, wp::array_t<double> rest,
                        wp::array_t<double> slopes, wp::array_t<double> weights, wp::array_t<double> rotations,
                        wp::array_t<double> root, wp::array_t<double> betas, wp::array_t<double> scales,
                        wp::array_t<double> absolute, wp::array_t<double> joints, wp::array_t<double> points,
                        wp::array_t<double> jacobian) {
    typedef wp::vec_t<3, double> vec;
    typedef wp::mat_t<3, 3, double> mat;
    const int J = parents.shape[0], M = weights.shape[0], S = betas.shape[1], P = jacobian.shape[3];
    const mat *Q = (const mat*)rest_rotations.data, *R = (const mat*)rotations.data + n * J;
    const vec *rest_points = (const vec*)rest.data, *shape = (const vec*)slopes.data;
    mat *A = (mat*)absolute.data + n * J, L[24];
    vec *q = (vec*)joints.data + n * J, *p = (vec*)points.data + n * M, j[24], o[24], dq[24][MAX_SHAPE], d_o[24][MAX_SHAPE];
    auto shaped = [&](int point) {
        vec x = rest_points[point];
        for (int s = 0; s < S; ++s)
            x += shape[point * S + s] * betas.data[n * S + s];
        return x;
    };
    for (int k = 0; k < J; ++k) {
        const int above = parents.data[k];
        const vec *dj = shape + (M + k) * S, *dj_above = shape + (M + above) * S;
        A[k] = above < 0 ? R[k] : wp::mul(A[above], R[k]);
        L[k] = wp::mul(wp::mul(A[k], Q[k]), scales.data[n * J + k]);
        j[k] = shaped(M + k);
        q[k] = above < 0 ? ((const vec*)root.data)[n] : q[above] + wp::mul(L[above], j[k] - j[above]);
        o[k] = q[k] - wp::mul(L[k], j[k]);
        for (int s = 0; s < S; ++s) {
            dq[k][s] = above < 0 ? vec() : dq[above][s] + wp::mul(L[above], dj[s] - dj_above[s]);
            d_o[k][s] = dq[k][s] - wp::mul(L[k], dj[s]);
        }
    }
    for (int m = 0; m < M; ++m) {
        // The parts of the point that each joint carries, and the sum of their weights.
        vec below[24] = {}, by_shape[MAX_SHAPE] = {};
        double reach[24] = {};
        const vec t = shaped(m);
        for (int k = 0; k < J; ++k) {
            const double w = weights.data[m * J + k];
            if (w == 0.0)
                continue;
            for (int above = k; above >= 0; above = parents.data[above]) {
                below[above] += (wp::mul(L[k], t) + o[k]) * w;
                reach[above] += w;
            }
            for (int s = 0; s < S && jacobian.shape[0]; ++s)
                by_shape[s] += (wp::mul(L[k], shape[m * S + s]) + d_o[k][s]) * w;
        }
        p[m] = below[0];
        auto put = [&](int column, vec slope) {
            for (int r = 0; r < 3; ++r)
                jacobian.data[((3LL * n + r) * M + m) * P + column] = slope[r];
        };
        for (int k = 0; k < J && jacobian.shape[0]; ++k)  // turns about the joint's axes, the columns of its rotation
            for (int c = 0; c < 3; ++c)
                put(3 * k + c, wp::cross(vec(A[k].data[0][c], A[k].data[1][c], A[k].data[2][c]), below[k] - q[k] * reach[k]));
        for (int c = 3 * J; c < P && jacobian.shape[0]; ++c) {
            const int s = c - 3 * J - 3;
            const vec unit(c == 3 * J, c == 3 * J + 1, c == 3 * J + 2);
            put(c, s < 0 ? unit * reach[0] : s < S ? by_shape[s] : vec());
        }
    }
}

// Add a term of row n to its normal equations, see op.Term: robust differences of vectors (D = 3), of their projections
// (D = 2), or sines of their leans (D = 1). Targets of vectors grow with the exponential of `logs`, the last parameter.
inline void add_term(int n, wp::array_t<int> ends, wp::array_t<double> shares, wp::array_t<double> rotation,
                     wp::array_t<double> translation, wp::array_t<double> target, wp::array_t<double> weights,
                     wp::array_t<double> counts, wp::array_t<double> robust, wp::array_t<double> logs,
                     wp::array_t<double> points, wp::array_t<double> jacobian, wp::array_t<double> cost,
                     wp::array_t<double> gradient, wp::array_t<double> hessian) {
    typedef wp::vec_t<3, double> vec;
    typedef wp::mat_t<3, 3, double> mat;
    const int B = weights.shape[1], D = weights.shape[2], E = ends.shape[1], M = points.shape[1], P = jacobian.shape[3];
    const mat R = ((const mat*)rotation.data)[n];
    const double growth = logs.shape[0] ? wp::exp(logs.data[n]) : 1.0;
    for (int b = 0; b < B; ++b) {
        const double *w = weights.data + (n * B + b) * D, *t = target.data + (n * B + b) * D;
        if (w[0] == 0.0 && (D < 2 || w[1] == 0.0) && (D < 3 || w[2] == 0.0))
            continue;
        vec v = ((const vec*)translation.data)[n], e;
        for (int k = b * E; k < b * E + E; ++k)
            v += wp::mul(R, ((const vec*)points.data)[n * M + ends.data[k]]) * shares.data[k];
        mat G;  // the slopes of the errors e by the vector v
        if (D == 3) {
            e = vec(v[0] - t[0] * growth, v[1] - t[1] * growth, v[2] - t[2] * growth);
            G = mat(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0);
        } else if (D == 2) {
            const double depth = wp::max(v[2], MIN_DEPTH), x = v[0] / depth, y = v[1] / depth;
            e = vec(x - t[0], y - t[1], 0.0);
            G = mat(1 / depth, 0.0, -x / depth, 0.0, 1 / depth, -y / depth, 0.0, 0.0, 0.0);
        } else {
            const double length = wp::max(wp::length(v), 1e-3), sine = v[2] / length, s = -sine / length / length;
            e = vec(sine, 0.0, 0.0);
            G = mat(s * v[0], s * v[1], s * v[2] + 1 / length, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
        }
        double rows[3][MAX_PARAMETERS] = {}, square = 0.0;
        for (int d = 0; d < D; ++d) {
            for (int k = b * E; k < b * E + E; ++k)
                for (int c = 0; c < 3; ++c) {
                    const double* slopes = jacobian.data + ((3LL * n + c) * M + ends.data[k]) * P;
                    const double GR = G.data[d][0] * R.data[0][c] + G.data[d][1] * R.data[1][c] + G.data[d][2] * R.data[2][c];
                    const double share = w[d] * shares.data[k] * GR;
                    for (int p = 0; p < P && share != 0.0; ++p)
                        rows[d][p] += share * slopes[p];
                }
            if (logs.shape[0])
                rows[d][P - 1] = -w[d] * t[d] * growth;
            e[d] *= w[d];
            square += e[d] * e[d];
        }
        // Geman and McClure's function, whose slope is the square of this ratio.
        const double c2 = robust.data[b] * robust.data[b], ratio = c2 / (c2 + square), count = counts.data[n * B + b];
        cost.data[n] += 0.5 * ratio * square * count;
        const double weight = ratio * ratio * count;
        for (int a = 0; a < P; ++a) {
            const double x = weight * rows[0][a], y = weight * rows[1][a], z = weight * rows[2][a];
            double* H = hessian.data + ((long long)n * P + a) * P;
            gradient.data[n * P + a] += x * e[0] + y * e[1] + z * e[2];
            for (int p = 0; p < P && (x != 0.0 || y != 0.0 || z != 0.0); ++p)
                H[p] += x * rows[0][p] + y * rows[1][p] + z * rows[2][p];
        }
    }
}

// Add the energy of the anatomical angles of row n to its normal equations: see op.AngleEnergy.
inline void add_angles(int n, double limit, double strength, double bend, wp::array_t<double> axes,
                       wp::array_t<double> handedness, wp::array_t<double> low, wp::array_t<double> high,
                       wp::array_t<double> fallback, wp::array_t<double> fallback_weights, wp::array_t<int> columns,
                       wp::array_t<double> means, wp::array_t<double> whitening, wp::array_t<double> offsets,
                       wp::array_t<double> rotations, wp::array_t<double> cost, wp::array_t<double> gradient,
                       wp::array_t<double> hessian) {
    typedef wp::vec_t<3, double> vec;
    typedef wp::mat_t<3, 3, double> mat;
    const int joints = axes.shape[0], P = gradient.shape[1];
    double angles[72], row[32];
    vec slopes[72];  // of each angle by the increments of its joint
    // Add an error, whose slopes by some angles are given, as one by their joints' increments.
    auto add = [&](double weight, double error, const int* column, const double* slope, int size) {
        for (int k = 0; k < size; ++k) {
            row[k] = 0.0;
            for (int i = k - k % 3; i < size && i < k - k % 3 + 3; ++i)
                row[k] += slope[i] * slopes[column[i]][k % 3];
        }
        for (int k = 0; k < size; ++k) {
            gradient.data[n * P + column[k]] += weight * error * row[k];
            for (int l = 0; l < size; ++l)
                hessian.data[((long long)n * P + column[k]) * P + column[l]] += weight * row[k] * row[l];
        }
    };
    for (int j = 0; j < joints; ++j) {
        // Swing and twist, as `body.joint_angles` splits them, and their slopes: the quaternion q becomes q (1, d / 2).
        const vec *axis = (const vec*)axes.data + 3 * j, f = axis[0], s = axis[1], t = axis[2];
        const wp::quat_t<double> q = wp::quat_from_matrix(((const mat*)rotations.data)[n * joints + j]);
        for (int k = 0; k < 9; ++k)  // the quaternion forgets what is not a number
            cost.data[n] += 0.0 * rotations.data[(n * joints + j) * 9 + k];
        const double sign = q.w < 0.0 ? -1.0 : 1.0, w = sign * q.w, h = handedness.data[j], floor = 2.220446049250313e-16;
        const vec v = wp::mul(mat(f[0], f[1], f[2], s[0], s[1], s[2], t[0], t[1], t[2]), vec(q.x, q.y, q.z) * sign);
        const double hypotenuse = w * w + v[2] * v[2], cosine = wp::sqrt(wp::max(hypotenuse, floor));
        const double a = (w * v[0] - h * v[2] * v[1]) / cosine, b = (w * v[1] + h * v[2] * v[0]) / cosine;
        const double square = a * a + b * b, sine = wp::sqrt(square);
        const double factor = square < floor ? 2.0 / cosine : 2.0 * wp::atan2(sine, cosine) / sine;
        const double bent = square < 1e-6 ? 2.0 / 3.0 : (2.0 / cosine - factor) / square;
        const vec dw = (f * v[0] + s * v[1] + t * v[2]) * -0.5, df = (f * w + (t * v[1] - s * v[2]) * h) * 0.5;
        const vec ds = (s * w + (f * v[2] - t * v[0]) * h) * 0.5, dt = (t * w + (s * v[0] - f * v[1]) * h) * 0.5;
        const vec half_twist = (dt * w - dw * v[2]) / (cosine * cosine);
        const vec da = (df * w - ds * (h * v[2])) / cosine - half_twist * (h * b);
        const vec db = (ds * w + df * (h * v[2])) / cosine + half_twist * (h * a);
        slopes[3 * j] = da * factor + (da * a + db * b) * (a * bent);
        slopes[3 * j + 1] = db * factor + (da * a + db * b) * (b * bent);
        slopes[3 * j + 2] = half_twist * 2.0;
        angles[3 * j] = factor * a;
        angles[3 * j + 1] = factor * b;
        angles[3 * j + 2] = hypotenuse < floor ? 0.0 : 2.0 * wp::atan2(v[2], w);
        const double weight = fallback_weights.data[n * joints + j];
        const int column[3] = {3 * j, 3 * j + 1, 3 * j + 2};
        for (int i = 0; i < 3; ++i) {
            const double unit[3] = {double(i == 0), double(i == 1), double(i == 2)}, angle = angles[3 * j + i];
            const double excess = wp::max(angle - high.data[3 * j + i], 0.0) - wp::max(low.data[3 * j + i] - angle, 0.0);
            const double difference = angle - fallback.data[3 * (n * joints + j) + i];
            cost.data[n] += 0.5 * (limit * excess * excess + weight * weight * difference * difference);
            add(excess == 0.0 ? 0.0 : limit, excess, column, unit, 3);
            add(weight * weight, difference, column, unit, 3);
        }
    }
    // The nearest component of each limb's mixture: half the square of U (x - mean), U upper triangular, and an offset.
    for (int limb = 0; limb < columns.shape[0]; ++limb) {
        const int C = means.shape[1], D = means.shape[2], *column = columns.data + limb * D;
        const double *nearest = nullptr, *U = whitening.data + limb * C * D * D;
        double distance = INFINITY, white[32], candidate[32];
        int size = 0;
        while (size < D && column[size] < 3 * joints)
            ++size;
        for (int c = 0; c < C; ++c, U += D * D) {
            double sum = offsets.data[limb * C + c];
            for (int r = 0; r < size && sum < distance; ++r) {
                candidate[r] = 0.0;
                for (int k = r; k < size; ++k)
                    candidate[r] += U[r * D + k] * (angles[column[k]] - means.data[(limb * C + c) * D + k]);
                sum += 0.5 * candidate[r] * candidate[r];
            }
            if (sum < distance) {
                distance = sum;
                nearest = U;
                memcpy(white, candidate, sizeof(white));
            }
        }
        if (!nearest) {  // not a number
            cost.data[n] = NAN;
            return;
        }
        cost.data[n] += strength * bend * wp::log(1.0 + distance / bend);
        for (int r = 0; r < size; ++r)
            add(strength / (1.0 + distance / bend), white[r], column, nearest + r * D, size);
    }
}
