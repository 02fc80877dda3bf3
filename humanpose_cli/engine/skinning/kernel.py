"""Warp kernels of forward kinematics and skinning with hand-written adjoints; `op.py` says what they compute.

A bone's map x ↦ L x + o is stored as 16 numbers, the columns of [L | o] padded to four, so that blending
bones is a sum of vectors. One thread handles a run of vertices: long runs on the CPU, where a thread costs
more than a vertex, one vertex on CUDA. Sums over vertices have a fixed order on both devices.

Kinematics process the tree of joints level by level. Each body has `lanes` threads, which share the joints of a
level: one on the CPU, a warp on CUDA. A joint is written by one lane and read by others only in later levels. `tree`
lists the J joints sorted by level, the parent of each joint, where its children start (J + 1), the children (J), and
where each level starts among the first, and last, their number. Empty arrays stand for what is not there.
"""

from pathlib import Path

import warp as wp

from humanpose_cli.engine.native import native_code, native_kernel

wp.set_module_options({"enable_backward": False})
MODULE = wp.get_module(__name__)

_VERTEX_RUNS = Path(__file__).with_name("vertex_runs.h")

columns = wp.types.vector(length=16, dtype=wp.float32)
Vectors, Matrices = wp.array2d(dtype=wp.vec3), wp.array2d(dtype=wp.mat33)
Numbers, Integers = wp.array2d(dtype=wp.float32), wp.array1d(dtype=wp.int32)


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


@wp.func
def rotation_of(v: wp.vec3):
    """Compute Rodrigues' formula: R = cos θ I + a K + b v vᵀ, with K the cross product matrix of v."""
    square = wp.dot(v, v)
    n = turn_coefficients(square)
    bv = n[1] * v
    c = 1.0 - n[1] * square
    return wp.mat33(
        c + bv[0] * v[0], bv[0] * v[1] - n[0] * v[2], bv[0] * v[2] + n[0] * v[1],
        bv[1] * v[0] + n[0] * v[2], c + bv[1] * v[1], bv[1] * v[2] - n[0] * v[0],
        bv[2] * v[0] - n[0] * v[1], bv[2] * v[1] + n[0] * v[0], c + bv[2] * v[2],
    )  # fmt: skip


@wp.func
def rotation_gradient(v: wp.vec3, G: wp.mat33):
    """Compute the gradient to an axis-angle from the gradient to its rotation."""
    n = turn_coefficients(wp.dot(v, v))
    # R = (1 − b θ²) I + a K + b v vᵀ, and the derivative of 1 − b θ² = cos θ to θ is −a θ
    to_K = wp.vec3(G[2, 1] - G[1, 2], G[0, 2] - G[2, 0], G[1, 0] - G[0, 1])
    to_outer = G * v + wp.transpose(G) * v
    along = n[2] * wp.dot(v, to_K) + 0.5 * n[3] * wp.dot(v, to_outer) - n[0] * wp.trace(G)
    return n[0] * to_K + n[1] * to_outer + along * v


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
    absolute: int,
    tree: Integers,
    rotations: Matrices,
    axis_angles: Vectors,
    scales: Numbers,
    rest_rotations: wp.array1d(dtype=wp.mat33),
    translation: wp.array1d(dtype=wp.vec3),
    betas: Numbers,
    joint_template: wp.array1d(dtype=wp.vec3),
    joint_directions: Vectors,
    joints: Vectors,
    out_rotations: Matrices,
    out_linear: Matrices,
    out_positions: Vectors,
    out_maps: wp.array2d(dtype=columns),
    out_weights: Numbers,
    out_features: Matrices,
):
    t = first + wp.tid()
    b = t // lanes
    lane = t - b * lanes
    for n in range(lane, wp.where(out_weights.shape[0] > 0, betas.shape[1], 0), lanes):
        out_weights[b, n] = betas[b, n]
    # From the root to the leaves: a joint's parent is complete when its level begins.
    count = out_rotations.shape[1]
    for level in range(4 * count + 1, tree.shape[0] - 1):
        for n in range(tree[level] + lane, tree[level + 1], lanes):
            c = tree[n]
            p = tree[count + c]
            R = wp.mat33()
            if axis_angles.shape[0] > 0:
                R = rotation_of(axis_angles[b, c])
            else:
                R = rotations[b, c]
            relative = R
            if betas.shape[0] > 0:
                j = joint_template[c]
                for s in range(betas.shape[1]):
                    j += betas[b, s] * joint_directions[s, c]
                joints[b, c] = j
            q = joints[b, c]
            # The parent turns and moves the joint; its bone acts on the joint's rest offset.
            if p >= 0:
                if absolute == 0:
                    R = out_rotations[b, p] * R
                elif out_features.shape[0] > 0:
                    relative = wp.transpose(out_rotations[b, p]) * R
                q = out_positions[b, p] + out_linear[b, p] * (q - joints[b, p])
            elif translation.shape[0] > 0:
                q = q + translation[b]
            # L = s R Q acts on the bone's vertices; scales do not accumulate along the chain.
            L = R
            if rest_rotations.shape[0] > 0:
                L = R * rest_rotations[c]
            if scales.shape[0] > 0:
                L = scales[b, c] * L
            out_rotations[b, c] = R
            out_linear[b, c] = L
            out_positions[b, c] = q
            if out_maps.shape[0] > 0:
                out_maps[b, c] = bone_map(L, joints[b, c], q)
            if out_features.shape[0] > 0 and c > 0:
                out_features[b, c - 1] = relative - wp.identity(n=3, dtype=wp.float32)
        end_level()


@wp.kernel
def pose_joints_adjoint(
    first: int,
    lanes: int,
    absolute: int,
    tree: Integers,
    rotations: Matrices,
    axis_angles: Vectors,
    scales: Numbers,
    rest_rotations: wp.array1d(dtype=wp.mat33),
    posed_rotations: Matrices,
    linear: Matrices,
    joints: Vectors,
    joint_directions: Vectors,
    grad_rotations: Matrices,
    grad_linear: Matrices,
    grad_positions: Vectors,
    grad_joints: Vectors,
    grad_maps: wp.array3d(dtype=columns),
    grad_weights: Numbers,
    grad_features: Matrices,
    sum_positions: Vectors,
    out_rotations: Matrices,
    out_axis_angles: Vectors,
    out_joints: Vectors,
    out_scales: Numbers,
    out_translation: wp.array1d(dtype=wp.vec3),
    out_betas: Numbers,
):
    t = first + wp.tid()
    b = t // lanes
    lane = t - b * lanes
    count = joints.shape[1]
    begin = 4 * count + 1
    levels = tree.shape[0] - 1 - begin
    for above in range(levels):
        level = begin + levels - 1 - above  # children before their parents
        for n in range(tree[level] + lane, tree[level + 1], lanes):
            c = tree[n]
            p = tree[count + c]
            R = posed_rotations[b, c]
            L = linear[b, c]
            j = joints[b, c]
            dR = wp.mat33()
            dL = wp.mat33()
            dq = wp.vec3()
            dj = wp.vec3()
            # 1. Gradients that arrive at this joint's outputs.
            if grad_rotations.shape[0] > 0:
                dR = grad_rotations[b, c]
            if grad_linear.shape[0] > 0:
                dL = grad_linear[b, c]
            if grad_positions.shape[0] > 0:
                dq = grad_positions[b, c]
            if grad_joints.shape[0] > 0:
                dj = grad_joints[b, c]
            if grad_maps.shape[0] > 0:
                m = sum_of_parts(grad_maps, b, c)
                do = wp.vec3(m[12], m[13], m[14])
                dL += map_to_linear(m, do, j)
                dq += do
                dj -= wp.transpose(L) * do
            if grad_features.shape[0] > 0 and c > 0:
                if p < 0:
                    dR += grad_features[b, c - 1]
                elif absolute == 1:
                    dR += posed_rotations[b, p] * grad_features[b, c - 1]
            # 2. Gradients that arrive through the children, which are complete: `sum_positions` and `out_rotations`
            #    hold those to their positions and rotations.
            child_sum = wp.vec3()
            for i in range(tree[2 * count + c], tree[2 * count + c + 1]):
                k = tree[3 * count + 1 + i]
                # q_k = q_c + L_c (j_k - j_c)
                dq_k = sum_positions[b, k]
                child_sum += dq_k
                dL += wp.outer(dq_k, joints[b, k] - j)
                if absolute == 0:
                    # R_k = R_c A_k; the child itself has left the gradient to R_k
                    dR_k = out_rotations[b, k]
                    dA_k = wp.transpose(R) * dR_k
                    if grad_features.shape[0] > 0:
                        dA_k += grad_features[b, k - 1]
                    if axis_angles.shape[0] > 0:
                        dR += dR_k * (wp.transpose(posed_rotations[b, k]) * R)
                        out_axis_angles[b, k] = rotation_gradient(axis_angles[b, k], dA_k)
                    else:
                        dR += dR_k * wp.transpose(rotations[b, k])
                        out_rotations[b, k] = dA_k
                elif grad_features.shape[0] > 0:
                    # A_k = R_cᵀ R_k
                    dR += posed_rotations[b, k] * wp.transpose(grad_features[b, k - 1])
            # 3. To the rest joint: through the children's offsets, and through the joint's own offset from its parent.
            dq += child_sum
            dj -= wp.transpose(L) * child_sum
            if p >= 0:
                dj += wp.transpose(linear[b, p]) * dq
            else:
                dj += dq
            # 4. L = s R Q: to the scale and to the rotation.
            gradient = dL
            if rest_rotations.shape[0] > 0:
                gradient = dL * wp.transpose(rest_rotations[c])
            if scales.shape[0] > 0:
                out_scales[b, c] = wp.ddot(gradient, R)
                gradient = scales[b, c] * gradient
            dR += gradient
            out_rotations[b, c] = dR
            if axis_angles.shape[0] > 0 and (p < 0 or absolute == 1):
                out_axis_angles[b, c] = rotation_gradient(axis_angles[b, c], dR)
            out_joints[b, c] = dj
            sum_positions[b, c] = dq
        end_level()
    # The translation moves the roots.
    if out_translation.shape[0] > 0 and lane == 0:
        total = wp.vec3()
        for n in range(tree[begin], tree[begin + 1]):
            total += sum_positions[b, tree[n]]
        out_translation[b] = total
    # The betas move the joints, too.
    for s in range(lane, out_betas.shape[1], lanes):
        to_beta = float(0.0)
        if grad_weights.shape[0] > 0:
            to_beta = grad_weights[b, s]
        for c in range(count):
            to_beta += wp.dot(out_joints[b, c], joint_directions[s, c])
        out_betas[b, s] = to_beta


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


@native_kernel(_VERTEX_RUNS, "move_points")
def skin(
    t: int,
    runs: int,
    run: int,
    vertices: Vectors,
    maps: wp.array2d(dtype=columns),
    bone_indices: wp.array2d(dtype=wp.int32),
    bone_weights: Numbers,
    out: Vectors,
):
    """Compute Σ_k w_k (L_k x + o_k) over the bones of each vertex in a run of vertices of one body."""


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
    bone_weights: Numbers,
    begin: int,
    end: int,
    vertices: Vectors,
    grad: Vectors,
    to_vertices: int,
    to_maps: int,
    out_vertices: Vectors,
    out_maps: wp.array3d(dtype=columns),
):
    """Compute gradients of g · (moved point) to the points, Σ_k w_k L_kᵀ g; on the CPU also to the bones' maps."""


@wp.func_native("""
#if defined(__CUDA_ARCH__)
    // A warp's lanes in a fixed order, so that runs agree to the bit.
    #pragma unroll
    for (int offset = 16; offset; offset /= 2)
        #pragma unroll
        for (int i = 0; i < 16; ++i)
            part[i] += __shfl_down_sync(0xffffffffu, part[i], offset);
    if (lane == 0)
        *wp::address(out, b, 0, j) = part;
#else
    auto& total = *wp::address(out, b, 0, j);
    total = lane ? wp::add(total, part) : part;
#endif
""")
def add_lanes(part: columns, lane: int, b: int, j: int, out: wp.array3d(dtype=columns)):
    """Write the sum of the parts of 32 consecutive threads; on the CPU, which runs them one after the other, too."""


@wp.kernel
def skin_adjoint(
    first: int,
    runs: int,
    run: int,
    vertex_threads: int,
    lanes: int,
    vertices: Vectors,
    maps: wp.array2d(dtype=columns),
    bone_indices: wp.array2d(dtype=wp.int32),
    bone_weights: Numbers,
    starts: Integers,
    pair_vertices: Integers,
    pair_weights: wp.array1d(dtype=wp.float32),
    grad: Vectors,
    to_vertices: int,
    to_maps: int,
    out_vertices: Vectors,
    out_maps: wp.array3d(dtype=columns),
):
    t = first + wp.tid()
    if t < vertex_threads:
        b = t // runs
        r = t - b * runs
        if b < grad.shape[0]:
            end = wp.min(r * run + run, grad.shape[1])
            point_gradients(
                maps, b, r, bone_indices, bone_weights, r * run, end,
                vertices, grad, to_vertices, to_maps, out_vertices, out_maps,
            )  # fmt: skip
    else:
        # On CUDA, a warp sums the vertices of one bone of one body: the pairs of vertices and bones are sorted by bone.
        t -= vertex_threads
        lane = t % lanes
        j = (t // lanes) % maps.shape[1]
        b = t // (lanes * maps.shape[1])
        total = columns()
        for n in range(starts[j] + lane, starts[j + 1], lanes):
            v = pair_vertices[n]
            total += pair_weights[n] * map_gradient(vertices[b, v], grad[b, v])
        add_lanes(total, lane, b, j, out_maps)


@wp.kernel
def bone_maps_adjoint(
    first: int,
    joints: Vectors,
    linear: Matrices,
    grad_maps: wp.array3d(dtype=columns),
    out_joints: Vectors,
    out_linear: Matrices,
    out_positions: Vectors,
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
