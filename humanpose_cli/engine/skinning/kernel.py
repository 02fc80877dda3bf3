"""Warp kernels of forward kinematics and skinning with hand-written adjoints; `op.py` says what they compute.

Layout: a bone's map x ↦ L x + o is stored as 16 numbers, the columns of [L | o] padded to four, so that blending
bones is a sum of whole vectors. One thread handles a run of vertices: long runs on the CPU, where a thread costs
more than a vertex, one vertex on CUDA. Sums over vertices have a fixed order on either device.
"""

import warp as wp

__all__ = [
    "MODULE",
    "bone_maps",
    "bone_maps_adjoint",
    "columns",
    "map_gradients_by_bone",
    "pose_joints",
    "pose_joints_adjoint",
    "skin",
    "skin_adjoint",
]

wp.set_module_options({"enable_backward": False})
MODULE = wp.get_module(__name__)

columns = wp.types.vector(length=16, dtype=wp.float32)


@wp.kernel
def pose_joints(
    first: int,
    rotations: wp.array2d(dtype=wp.mat33),
    joints: wp.array2d(dtype=wp.vec3),
    scales: wp.array2d(dtype=wp.float32),
    rest_rotations: wp.array1d(dtype=wp.mat33),
    order: wp.array1d(dtype=wp.int32),
    parents: wp.array1d(dtype=wp.int32),
    absolute: int,
    has_scales: int,
    has_rest: int,
    out_rotations: wp.array2d(dtype=wp.mat33),
    out_linear: wp.array2d(dtype=wp.mat33),
    out_positions: wp.array2d(dtype=wp.vec3),
):
    b = first + wp.tid()
    for n in range(order.shape[0]):
        c = order[n]
        p = parents[c]
        R = rotations[b, c]
        q = joints[b, c]
        if p >= 0:
            if absolute == 0:
                R = out_rotations[b, p] * R
            q = out_positions[b, p] + out_linear[b, p] * (q - joints[b, p])
        L = R
        if has_rest == 1:
            L = R * rest_rotations[c]
        if has_scales == 1:
            L = scales[b, c] * L
        out_rotations[b, c] = R
        out_linear[b, c] = L
        out_positions[b, c] = q


@wp.kernel
def pose_joints_adjoint(
    first: int,
    rotations: wp.array2d(dtype=wp.mat33),
    joints: wp.array2d(dtype=wp.vec3),
    scales: wp.array2d(dtype=wp.float32),
    rest_rotations: wp.array1d(dtype=wp.mat33),
    order: wp.array1d(dtype=wp.int32),
    parents: wp.array1d(dtype=wp.int32),
    absolute: int,
    has_scales: int,
    has_rest: int,
    posed_rotations: wp.array2d(dtype=wp.mat33),
    linear: wp.array2d(dtype=wp.mat33),
    grad_rotations: wp.array2d(dtype=wp.mat33),
    grad_linear: wp.array2d(dtype=wp.mat33),
    grad_positions: wp.array2d(dtype=wp.vec3),
    sum_linear: wp.array2d(dtype=wp.mat33),
    sum_positions: wp.array2d(dtype=wp.vec3),
    out_rotations: wp.array2d(dtype=wp.mat33),
    out_joints: wp.array2d(dtype=wp.vec3),
    out_scales: wp.array2d(dtype=wp.float32),
):
    b = first + wp.tid()
    count = order.shape[0]
    for c in range(count):
        out_rotations[b, c] = grad_rotations[b, c]  # gathers dR until c itself is reached
        sum_linear[b, c] = grad_linear[b, c]
        sum_positions[b, c] = grad_positions[b, c]
        out_joints[b, c] = wp.vec3(0.0)
    for n in range(count):
        c = order[count - 1 - n]  # children before their parents
        p = parents[c]
        R = posed_rotations[b, c]
        dL = sum_linear[b, c]
        dq = sum_positions[b, c]
        # L = s R Q
        turned = dL
        if has_rest == 1:
            turned = dL * wp.transpose(rest_rotations[c])
        if has_scales == 1:
            out_scales[b, c] = wp.ddot(turned, R)
            turned = scales[b, c] * turned
        dR = out_rotations[b, c] + turned
        if p < 0:
            out_rotations[b, c] = dR
            out_joints[b, c] = out_joints[b, c] + dq
        else:
            # q_c = q_p + L_p (j_c - j_p)
            sum_positions[b, p] = sum_positions[b, p] + dq
            sum_linear[b, p] = sum_linear[b, p] + wp.outer(dq, joints[b, c] - joints[b, p])
            dj = wp.transpose(linear[b, p]) * dq
            out_joints[b, c] = out_joints[b, c] + dj
            out_joints[b, p] = out_joints[b, p] - dj
            if absolute == 1:
                out_rotations[b, c] = dR
            else:
                # R_c = R_p A_c
                out_rotations[b, p] = out_rotations[b, p] + dR * wp.transpose(rotations[b, c])
                out_rotations[b, c] = wp.transpose(posed_rotations[b, p]) * dR


@wp.kernel
def bone_maps(
    first: int,
    joints: wp.array2d(dtype=wp.vec3),
    linear: wp.array2d(dtype=wp.mat33),
    positions: wp.array2d(dtype=wp.vec3),
    maps: wp.array2d(dtype=columns),
):
    t = first + wp.tid()
    b = t // maps.shape[1]
    j = t - b * maps.shape[1]
    L = linear[b, j]
    o = positions[b, j] - L * joints[b, j]
    maps[b, j] = columns(
        L[0, 0], L[1, 0], L[2, 0], 0.0,
        L[0, 1], L[1, 1], L[2, 1], 0.0,
        L[0, 2], L[1, 2], L[2, 2], 0.0,
        o[0], o[1], o[2], 0.0,
    )  # fmt: skip


# The inner loops over a vertex's bones are written in C++: whole maps then stay in vector registers, which is 1.6
# times as fast forwards and 1.8 times backwards as indexing arrays in Python. They need contiguous arrays.
BLEND = """
    float m[16] = {};
    const wp::vec_t<16, wp::float32>* own = maps.data + (long long)b * maps.shape[1];
    const int slots = bone_indices.shape[1];
    const int* bone = bone_indices.data + (long long)v * slots;
    const float* weight = bone_weights.data + (long long)v * slots;
    for (int k = 0; k < slots; ++k) {
        const float* map = own[bone[k]].c;
        const float w = weight[k];
        for (int i = 0; i < 16; ++i)
            m[i] += w * map[i];
    }
"""


@wp.func_native(
    BLEND
    + """
    return wp::vec3(
        m[0] * x[0] + m[4] * x[1] + m[8] * x[2] + m[12],
        m[1] * x[0] + m[5] * x[1] + m[9] * x[2] + m[13],
        m[2] * x[0] + m[6] * x[1] + m[10] * x[2] + m[14]
    );
"""
)
def moved_point(
    maps: wp.array2d(dtype=columns),
    b: int,
    bone_indices: wp.array2d(dtype=wp.int32),
    bone_weights: wp.array2d(dtype=wp.float32),
    v: int,
    x: wp.vec3,
) -> wp.vec3:
    """Σ_k w_k (L_k x + o_k) over the bones of vertex v in body b."""


@wp.func_native(
    BLEND
    + """
    return wp::vec3(
        m[0] * g[0] + m[1] * g[1] + m[2] * g[2],
        m[4] * g[0] + m[5] * g[1] + m[6] * g[2],
        m[8] * g[0] + m[9] * g[1] + m[10] * g[2]
    );
"""
)
def point_gradient(
    maps: wp.array2d(dtype=columns),
    b: int,
    bone_indices: wp.array2d(dtype=wp.int32),
    bone_weights: wp.array2d(dtype=wp.float32),
    v: int,
    g: wp.vec3,
) -> wp.vec3:
    """Gradient of g · `moved_point` to the point: Σ_k w_k L_kᵀ g."""


@wp.func_native("""
    wp::vec_t<16, wp::float32>* own = sums.data + ((long long)b * sums.shape[1] + part) * sums.shape[2];
    const int slots = bone_indices.shape[1];
    const int* bone = bone_indices.data + (long long)v * slots;
    const float* weight = bone_weights.data + (long long)v * slots;
    for (int k = 0; k < slots; ++k) {
        float* sum = own[bone[k]].c;
        const float w = weight[k];  // not read again after each sum, which might be the same memory
        for (int i = 0; i < 16; ++i)
            sum[i] += w * gradient.c[i];
    }
""")
def add_to_bones(
    sums: wp.array3d(dtype=columns),
    b: int,
    part: int,
    bone_indices: wp.array2d(dtype=wp.int32),
    bone_weights: wp.array2d(dtype=wp.float32),
    v: int,
    gradient: columns,
):
    """Adds w_k times the gradient to the sum of each bone of vertex v."""


@wp.kernel
def skin(
    first: int,
    runs: int,
    run: int,
    vertices: wp.array2d(dtype=wp.vec3),
    maps: wp.array2d(dtype=columns),
    bone_indices: wp.array2d(dtype=wp.int32),
    bone_weights: wp.array2d(dtype=wp.float32),
    out: wp.array2d(dtype=wp.vec3),
):
    t = first + wp.tid()
    b = t // runs
    start = (t - b * runs) * run
    for v in range(start, wp.min(start + run, out.shape[1])):
        out[b, v] = moved_point(maps, b, bone_indices, bone_weights, v, vertices[b, v])


@wp.func
def map_gradient(x: wp.vec3, g: wp.vec3):
    """Gradient of g · (L x + o) to the 16 numbers of a map."""
    return columns(
        g[0] * x[0], g[1] * x[0], g[2] * x[0], 0.0,
        g[0] * x[1], g[1] * x[1], g[2] * x[1], 0.0,
        g[0] * x[2], g[1] * x[2], g[2] * x[2], 0.0,
        g[0], g[1], g[2], 0.0,
    )  # fmt: skip


@wp.kernel
def skin_adjoint(
    first: int,
    runs: int,
    run: int,
    vertices: wp.array2d(dtype=wp.vec3),
    maps: wp.array2d(dtype=columns),
    bone_indices: wp.array2d(dtype=wp.int32),
    bone_weights: wp.array2d(dtype=wp.float32),
    grad: wp.array2d(dtype=wp.vec3),
    to_vertices: int,
    to_maps: int,
    out_vertices: wp.array2d(dtype=wp.vec3),
    out_maps: wp.array3d(dtype=columns),
):
    t = first + wp.tid()
    b = t // runs
    r = t - b * runs
    for v in range(r * run, wp.min(r * run + run, grad.shape[1])):
        g = grad[b, v]
        if to_maps == 1:
            add_to_bones(out_maps, b, r, bone_indices, bone_weights, v, map_gradient(vertices[b, v], g))
        if to_vertices == 1:
            out_vertices[b, v] = point_gradient(maps, b, bone_indices, bone_weights, v, g)


@wp.kernel
def map_gradients_by_bone(
    first: int,
    vertices: wp.array2d(dtype=wp.vec3),
    grad: wp.array2d(dtype=wp.vec3),
    starts: wp.array1d(dtype=wp.int32),
    pair_vertices: wp.array1d(dtype=wp.int32),
    pair_weights: wp.array1d(dtype=wp.float32),
    out_maps: wp.array3d(dtype=columns),
):
    t = first + wp.tid()
    lanes = out_maps.shape[1]
    bones = out_maps.shape[2]
    lane = t % lanes
    j = (t // lanes) % bones
    b = t // (lanes * bones)
    total = columns()
    for n in range(starts[j] + lane, starts[j + 1], lanes):
        v = pair_vertices[n]
        total += pair_weights[n] * map_gradient(vertices[b, v], grad[b, v])
    out_maps[b, lane, j] = total


@wp.kernel
def bone_maps_adjoint(
    first: int,
    joints: wp.array2d(dtype=wp.vec3),
    linear: wp.array2d(dtype=wp.mat33),
    grad_maps: wp.array3d(dtype=columns),
    out_joints: wp.array2d(dtype=wp.vec3),
    out_linear: wp.array2d(dtype=wp.mat33),
    out_positions: wp.array2d(dtype=wp.vec3),
):
    t = first + wp.tid()
    b = t // joints.shape[1]
    j = t - b * joints.shape[1]
    m = columns()
    for part in range(grad_maps.shape[1]):
        m += grad_maps[b, part, j]
    dL = wp.mat33(m[0], m[4], m[8], m[1], m[5], m[9], m[2], m[6], m[10])
    do = wp.vec3(m[12], m[13], m[14])
    # o = q - L j
    out_linear[b, j] = dL - wp.outer(do, joints[b, j])
    out_positions[b, j] = do
    out_joints[b, j] = -(wp.transpose(linear[b, j]) * do)
