"""Warp kernels of forward kinematics and skinning with hand-written adjoints; `op.py` says what they compute.

A bone's map x ↦ L x + o is stored as 16 numbers, the columns of [L | o] padded to four, so that blending
bones is a sum of vectors. One thread handles a run of vertices: long runs on the CPU, where a thread costs
more than a vertex, one vertex on CUDA. Sums over vertices have a fixed order on both devices.

Kinematics process the tree of joints level by level. Each body has `lanes` threads, which share the joints of a
level: one on the CPU, a warp on CUDA. A joint is written by one lane and read by others only in later levels. `order`
lists the joints sorted by level, `starts` the start of each level in it and, last, their number; `children` lists the
children of each joint from `child_starts` on.
"""

from pathlib import Path

import warp as wp

from humanpose_cli.engine.native import native_code

wp.set_module_options({"enable_backward": False})
MODULE = wp.get_module(__name__)

_VERTEX_RUNS = Path(__file__).with_name("vertex_runs.h")

columns = wp.types.vector(length=16, dtype=wp.float32)


@wp.func
def turn_coefficients(square: float):
    """Compute a = sin θ / θ, b = (1 − cos θ) / θ², and both derivatives with respect to θ divided by θ, all from θ²."""
    # Taylor series about 0, where the closed forms divide by 0.
    a = 1.0 - square / 6.0
    b = 0.5 - square / 24.0
    da = square / 30.0 - 1.0 / 3.0
    db = square / 180.0 - 1.0 / 12.0
    if not square < 1e-3:  # also for NaN
        angle = wp.sqrt(square)
        # 1 − cos θ = 2 sin²(θ / 2), without the cancellation of 1 − cos θ for small angles.
        half = wp.sin(0.5 * angle) / angle
        a = wp.sin(angle) / angle
        b = 2.0 * half * half
        da = (1.0 - b * square - a) / square
        db = (a - 2.0 * b) / square
    return wp.vec4(a, b, da, db)


@wp.kernel
def turn(first: int, axis_angles: wp.array1d(dtype=wp.vec3), out: wp.array1d(dtype=wp.mat33)):
    # Rodrigues' formula: R = cos θ I + a K + b v vᵀ, with K the cross product matrix of v.
    i = first + wp.tid()
    v = axis_angles[i]
    square = wp.dot(v, v)
    n = turn_coefficients(square)
    bv = n[1] * v
    c = 1.0 - n[1] * square
    out[i] = wp.mat33(
        c + bv[0] * v[0], bv[0] * v[1] - n[0] * v[2], bv[0] * v[2] + n[0] * v[1],
        bv[1] * v[0] + n[0] * v[2], c + bv[1] * v[1], bv[1] * v[2] - n[0] * v[0],
        bv[2] * v[0] - n[0] * v[1], bv[2] * v[1] + n[0] * v[0], c + bv[2] * v[2],
    )  # fmt: skip


@wp.kernel
def turn_adjoint(
    first: int, axis_angles: wp.array1d(dtype=wp.vec3), grad: wp.array1d(dtype=wp.mat33), out: wp.array1d(dtype=wp.vec3)
):
    i = first + wp.tid()
    v = axis_angles[i]
    G = grad[i]
    n = turn_coefficients(wp.dot(v, v))
    # R = (1 − b θ²) I + a K + b v vᵀ, and the derivative of 1 − b θ² = cos θ to θ is −a θ
    to_K = wp.vec3(G[2, 1] - G[1, 2], G[0, 2] - G[2, 0], G[1, 0] - G[0, 1])
    to_outer = G * v + wp.transpose(G) * v
    along = n[2] * wp.dot(v, to_K) + 0.5 * n[3] * wp.dot(v, to_outer) - n[0] * wp.trace(G)
    out[i] = n[0] * to_K + n[1] * to_outer + along * v


@wp.func
def bone_map(L: wp.mat33, j: wp.vec3, q: wp.vec3):
    """Write x ↦ q + L (x − j) as columns."""
    o = q - L * j
    return columns(
        L[0, 0], L[1, 0], L[2, 0], 0.0,
        L[0, 1], L[1, 1], L[2, 1], 0.0,
        L[0, 2], L[1, 2], L[2, 2], 0.0,
        o[0], o[1], o[2], 0.0,
    )  # fmt: skip


@wp.func
def sum_of_parts(grad_maps: wp.array3d(dtype=columns), b: int, j: int):
    total = columns()
    for part in range(grad_maps.shape[1]):
        total += grad_maps[b, part, j]
    return total


@wp.func
def map_to_linear(m: columns, do: wp.vec3, j: wp.vec3):
    """Compute the gradient to L from the gradient to the columns of x ↦ L x + o, o = q − L j."""
    return wp.mat33(m[0], m[4], m[8], m[1], m[5], m[9], m[2], m[6], m[10]) - wp.outer(do, j)


@wp.func_native("""
#if defined(__CUDA_ARCH__)
    __syncwarp();
#endif
""")
def end_level():
    """Wait for a body's other lanes and make what they wrote visible; the lanes of a body fill a warp."""


@wp.kernel
def pose_joints(
    first: int,
    lanes: int,
    rotations: wp.array2d(dtype=wp.mat33),
    joints: wp.array2d(dtype=wp.vec3),
    scales: wp.array2d(dtype=wp.float32),
    rest_rotations: wp.array1d(dtype=wp.mat33),
    order: wp.array1d(dtype=wp.int32),
    starts: wp.array1d(dtype=wp.int32),
    parents: wp.array1d(dtype=wp.int32),
    child_starts: wp.array1d(dtype=wp.int32),
    children: wp.array1d(dtype=wp.int32),
    translation: wp.array1d(dtype=wp.vec3),
    absolute: int,
    has_scales: int,
    has_rest: int,
    has_translation: int,
    to_maps: int,
    out_rotations: wp.array2d(dtype=wp.mat33),
    out_linear: wp.array2d(dtype=wp.mat33),
    out_positions: wp.array2d(dtype=wp.vec3),
    out_maps: wp.array2d(dtype=columns),
):
    t = first + wp.tid()
    b = t // lanes
    lane = t - b * lanes
    # From the root to the leaves: a joint's parent is complete when its level begins.
    for level in range(starts.shape[0] - 1):
        for n in range(starts[level] + lane, starts[level + 1], lanes):
            c = order[n]
            p = parents[c]
            R = rotations[b, c]
            q = joints[b, c]
            # The parent turns and moves the joint; its bone acts on the joint's rest offset.
            if p >= 0:
                if absolute == 0:
                    R = out_rotations[b, p] * R
                q = out_positions[b, p] + out_linear[b, p] * (q - joints[b, p])
            elif has_translation == 1:
                q = q + translation[b]
            # L = s R Q acts on the bone's vertices; scales do not accumulate along the chain.
            L = R
            if has_rest == 1:
                L = R * rest_rotations[c]
            if has_scales == 1:
                L = scales[b, c] * L
            out_rotations[b, c] = R
            out_linear[b, c] = L
            out_positions[b, c] = q
            if to_maps == 1:
                out_maps[b, c] = bone_map(L, joints[b, c], q)
        end_level()


@wp.kernel
def pose_joints_adjoint(
    first: int,
    lanes: int,
    rotations: wp.array2d(dtype=wp.mat33),
    joints: wp.array2d(dtype=wp.vec3),
    scales: wp.array2d(dtype=wp.float32),
    rest_rotations: wp.array1d(dtype=wp.mat33),
    order: wp.array1d(dtype=wp.int32),
    starts: wp.array1d(dtype=wp.int32),
    parents: wp.array1d(dtype=wp.int32),
    child_starts: wp.array1d(dtype=wp.int32),
    children: wp.array1d(dtype=wp.int32),
    translation: wp.array1d(dtype=wp.vec3),
    absolute: int,
    has_scales: int,
    has_rest: int,
    has_translation: int,
    posed_rotations: wp.array2d(dtype=wp.mat33),
    linear: wp.array2d(dtype=wp.mat33),
    grad_rotations: wp.array2d(dtype=wp.mat33),
    grad_linear: wp.array2d(dtype=wp.mat33),
    grad_positions: wp.array2d(dtype=wp.vec3),
    grad_maps: wp.array3d(dtype=columns),
    from_rotations: int,
    from_linear: int,
    from_positions: int,
    from_maps: int,
    sum_positions: wp.array2d(dtype=wp.vec3),
    out_rotations: wp.array2d(dtype=wp.mat33),
    out_joints: wp.array2d(dtype=wp.vec3),
    out_scales: wp.array2d(dtype=wp.float32),
    out_translation: wp.array1d(dtype=wp.vec3),
):
    t = first + wp.tid()
    b = t // lanes
    lane = t - b * lanes
    levels = starts.shape[0] - 1
    for above in range(levels):
        level = levels - 1 - above  # children before their parents
        for n in range(starts[level] + lane, starts[level + 1], lanes):
            c = order[n]
            p = parents[c]
            R = posed_rotations[b, c]
            L = linear[b, c]
            j = joints[b, c]
            dR = wp.mat33()
            dL = wp.mat33()
            dq = wp.vec3()
            dj = wp.vec3()
            # 1. Gradients that arrive at this joint's outputs.
            if from_rotations == 1:
                dR = grad_rotations[b, c]
            if from_linear == 1:
                dL = grad_linear[b, c]
            if from_positions == 1:
                dq = grad_positions[b, c]
            if from_maps == 1:
                m = sum_of_parts(grad_maps, b, c)
                do = wp.vec3(m[12], m[13], m[14])
                dL += map_to_linear(m, do, j)
                dq += do
                dj = -(wp.transpose(L) * do)
            # 2. Gradients that arrive through the children, which are complete: `sum_positions` and `out_rotations`
            #    hold those to their positions and rotations.
            child_sum = wp.vec3()
            for i in range(child_starts[c], child_starts[c + 1]):
                k = children[i]
                # q_k = q_c + L_c (j_k - j_c)
                dq_k = sum_positions[b, k]
                child_sum += dq_k
                dL += wp.outer(dq_k, joints[b, k] - j)
                if absolute == 0:
                    # R_k = R_c A_k; the child itself has left the gradient to R_k
                    dR_k = out_rotations[b, k]
                    dR += dR_k * wp.transpose(rotations[b, k])
                    out_rotations[b, k] = wp.transpose(R) * dR_k
            # 3. To the rest joint: through the children's offsets, and through the joint's own offset from its parent.
            dq += child_sum
            dj -= wp.transpose(L) * child_sum
            if p >= 0:
                dj += wp.transpose(linear[b, p]) * dq
            else:
                dj += dq
            # 4. L = s R Q: to the scale and to the rotation.
            gradient = dL
            if has_rest == 1:
                gradient = dL * wp.transpose(rest_rotations[c])
            if has_scales == 1:
                out_scales[b, c] = wp.ddot(gradient, R)
                gradient = scales[b, c] * gradient
            out_rotations[b, c] = dR + gradient
            out_joints[b, c] = dj
            sum_positions[b, c] = dq
        end_level()
    # The translation moves the roots.
    if has_translation == 1 and lane == 0:
        total = wp.vec3()
        for n in range(starts[0], starts[1]):
            total += sum_positions[b, order[n]]
        out_translation[b] = total


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
    maps[b, j] = bone_map(linear[b, j], joints[b, j], positions[b, j])


@wp.func_native(native_code(_VERTEX_RUNS, "move_points"))
def move_points(
    maps: wp.array2d(dtype=columns),
    b: int,
    bone_indices: wp.array2d(dtype=wp.int32),
    bone_weights: wp.array2d(dtype=wp.float32),
    begin: int,
    end: int,
    vertices: wp.array2d(dtype=wp.vec3),
    out: wp.array2d(dtype=wp.vec3),
):
    """Compute Σ_k w_k (L_k x + o_k) over the bones of each vertex in a run of body b."""


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
    end = wp.min(start + run, out.shape[1])
    move_points(maps, b, bone_indices, bone_weights, start, end, vertices, out)


@wp.func
def map_gradient(x: wp.vec3, g: wp.vec3):
    """Compute the gradient of g · (L x + o) to the 16 numbers of a map."""
    return columns(
        g[0] * x[0], g[1] * x[0], g[2] * x[0], 0.0,
        g[0] * x[1], g[1] * x[1], g[2] * x[1], 0.0,
        g[0] * x[2], g[1] * x[2], g[2] * x[2], 0.0,
        g[0], g[1], g[2], 0.0,
    )  # fmt: skip


@wp.func_native(native_code(_VERTEX_RUNS, "point_gradients"))
def point_gradients(
    maps: wp.array2d(dtype=columns),
    b: int,
    part: int,
    bone_indices: wp.array2d(dtype=wp.int32),
    bone_weights: wp.array2d(dtype=wp.float32),
    begin: int,
    end: int,
    vertices: wp.array2d(dtype=wp.vec3),
    grad: wp.array2d(dtype=wp.vec3),
    to_vertices: int,
    to_maps: int,
    out_vertices: wp.array2d(dtype=wp.vec3),
    out_maps: wp.array3d(dtype=columns),
):
    """Compute gradients of g · (moved point) to the points, Σ_k w_k L_kᵀ g; on the CPU also to the bones' maps."""


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
    end = wp.min(r * run + run, grad.shape[1])
    point_gradients(
        maps, b, r, bone_indices, bone_weights, r * run, end,
        vertices, grad, to_vertices, to_maps, out_vertices, out_maps,
    )  # fmt: skip


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
    # Thread t sums every `lanes`-th vertex of one bone of one body: the pairs of vertices and bones are sorted by bone,
    # so that no two threads write to one sum and its order is fixed.
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
    # o = q − L j: the gradient to the offset goes to all three.
    m = sum_of_parts(grad_maps, b, j)
    do = wp.vec3(m[12], m[13], m[14])
    out_linear[b, j] = map_to_linear(m, do, joints[b, j])
    out_positions[b, j] = do
    out_joints[b, j] = -(wp.transpose(linear[b, j]) * do)
