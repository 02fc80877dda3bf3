"""Warp kernels of the z-buffer and of interpolation; `reference.py` says how a pixel is decided.

The z-buffer holds one integer a pixel, the bits of the depth above the face index. The minimum is the nearest face and,
at equal depths, the lowest index, in any order of faces. Products and sums are not fused: the value of an edge is then
exactly the negative of the value of the same edge in the neighbouring face, and equals the reference's.
"""

from pathlib import Path

import warp as wp

from humanpose_cli.engine.native import native_code

wp.set_module_options({"enable_backward": False, "fuse_fp": False})
MODULE = wp.get_module(__name__)

PIXELS = Path(__file__).with_name("pixels.h")
# The z-buffer's value if there is no face: the largest int64.
FAR = (1 << 63) - 1
FAR_KEY = wp.constant(wp.int64(FAR))
Vertices, Faces, Keys = wp.array2d(dtype=wp.vec3), wp.array1d(dtype=wp.vec3i), wp.array3d(dtype=wp.int64)
Numbers = wp.array2d(dtype=wp.float32)


@wp.func
def offset(corner: wp.vec3, focal: float, centre: wp.vec2):
    """Compute a corner's offset from a pixel centre, times the corner's depth."""
    return wp.vec2(focal * corner[0] - corner[2] * centre[0], focal * corner[1] - corner[2] * centre[1])


@wp.func
def edge(a: wp.vec2, b: wp.vec2):
    return a[1] * b[0] - a[0] * b[1]


@wp.func
def edges_of(a: wp.vec3, b: wp.vec3, c: wp.vec3, focal: float, centre: wp.vec2):
    """Compute the edge values of a face at a pixel centre, positive inside a front face."""
    ua = offset(a, focal, centre)
    ub = offset(b, focal, centre)
    uc = offset(c, focal, centre)
    return wp.vec3(edge(ub, uc), edge(uc, ua), edge(ua, ub))


@wp.func
def with_point(bounds: wp.vec4, x: float, y: float):
    return wp.vec4(wp.min(bounds[0], x), wp.min(bounds[1], y), wp.max(bounds[2], x), wp.max(bounds[3], y))


@wp.func
def with_edge(bounds: wp.vec4, a: wp.vec3, b: wp.vec3, near: float):
    """Extend bounds by an edge's end `a` if it is beyond `near`, and by the point where the edge crosses `near`."""
    extent = bounds
    if a[2] >= near:
        extent = with_point(extent, a[0] / a[2], a[1] / a[2])
    if (a[2] < near) != (b[2] < near):
        step = (near - a[2]) / (b[2] - a[2])
        extent = with_point(extent, (a[0] + step * (b[0] - a[0])) / near, (a[1] + step * (b[1] - a[1])) / near)
    return extent


@wp.func
def largest(v: wp.vec3):
    return wp.max(wp.max(wp.abs(v[0]), wp.abs(v[1])), wp.abs(v[2]))


@wp.func_native(native_code(PIXELS, "draw_pixels"))
def draw_pixels(
    a: wp.vec3,
    b: wp.vec3,
    c: wp.vec3,
    focal: float,
    x0: int,
    y0: int,
    x1: int,
    y1: int,
    lanes: int,
    near: float,
    cull_back_faces: int,
    min_key: wp.int64,
    face: int,
    image: int,
    points_x: Numbers,
    points_y: Numbers,
    keys: Keys,
): ...


@wp.kernel
def draw_faces(
    first: int,
    chunks: int,
    chunk: int,
    lanes: int,
    passes: int,
    width: int,
    samples: int,
    vertices: Vertices,
    faces: Faces,
    focals: wp.array1d(dtype=wp.float32),
    centres: wp.array1d(dtype=wp.vec4),
    points_x: Numbers,
    points_y: Numbers,
    near: float,
    cull_back_faces: int,
    slack: float,
    keys: Keys,
):
    # Thread t draws a chunk of the faces into every `lanes`-th row of one image: rows are shared so that a few large
    # faces keep many threads busy.
    t = first + wp.tid()
    lane = t % lanes
    start = ((t // lanes) % chunks) * chunk
    image = t // (lanes * chunks)
    focal = focals[image]
    centre = centres[image]
    # The bounds of a face reach to half the near plane: a far corner's rounding can move a pixel's depth that far, and
    # the depth decides whether the pixel is before the near plane.
    nearest = 0.5 * near
    finite = wp.isfinite(focal) and wp.isfinite(centre)
    # In two passes, front faces are drawn first: they then hide most pixels of back faces, which cost little.
    for back in range(passes):
        for f in range(start, wp.min(start + chunk, faces.shape[0])):
            corners = faces[f]
            a = vertices[image, corners[0]]
            b = vertices[image, corners[1]]
            c = vertices[image, corners[2]]
            if passes == 2 and wp.where(wp.dot(a, wp.cross(b - a, c - a)) > 0.0, 1, 0) != back:
                continue
            # 1. The face's bounds in the image plane at depth 1. Corners nearer than the plane have no projection: of
            #    such a face, the bounds hold the part beyond the plane.
            bounds = wp.vec4(wp.inf, wp.inf, -wp.inf, -wp.inf)
            margin = slack
            min_depth = wp.min(wp.min(a[2], b[2]), c[2])
            if min_depth >= nearest:
                bounds = with_point(bounds, a[0] / a[2], a[1] / a[2])
                bounds = with_point(bounds, b[0] / b[2], b[1] / b[2])
                bounds = with_point(bounds, c[0] / c[2], c[1] / c[2])
            elif wp.max(wp.max(a[2], b[2]), c[2]) >= nearest:
                bounds = with_edge(with_edge(with_edge(bounds, a, b, nearest), b, c, nearest), c, a, nearest)
                # The crossing of an edge and the plane has a larger rounding error; the bounds grow by it.
                margin += 1.0e-6 * focal / nearest * wp.max(wp.max(largest(a), largest(b)), largest(c))
            # 2. Pixels with points that may lie inside, clamped as floats: integers of far points would overflow.
            left = wp.max(wp.ceil(focal * bounds[0] + centre[0] - 0.5 - margin), 0.0)
            top = wp.max(wp.ceil(focal * bounds[1] + centre[1] - 0.5 - margin), 0.0)
            right = wp.min(wp.floor(focal * bounds[2] + centre[2] - 0.5 + margin), float(width - 1))
            bottom = wp.min(wp.floor(focal * bounds[3] + centre[3] - 0.5 + margin), float(keys.shape[1] - 1))
            if finite and left <= right and top <= bottom and wp.isfinite(a) and wp.isfinite(b) and wp.isfinite(c):
                # 3. Every point in the bounds; this lane's first row is the next one that is its own. A depth is a
                #    mean of the corners', so no key is smaller than that of the nearest corner but for rounding.
                y0 = int(top)
                min_key = wp.int64(wp.cast(wp.max(min_depth * (1.0 - 1.0e-6), near), wp.int32)) << wp.int64(32)
                draw_pixels(
                    a,
                    b,
                    c,
                    focal,
                    int(left) * samples,
                    y0 + (lane + lanes - y0 % lanes) % lanes,
                    (int(right) + 1) * samples,
                    int(bottom) + 1,
                    lanes,
                    near,
                    cull_back_faces,
                    min_key,
                    f,
                    image,
                    points_x,
                    points_y,
                    keys,
                )


@wp.kernel
def read_faces(
    first: int,
    runs: int,
    run: int,
    samples: int,
    vertices: Vertices,
    faces: Faces,
    focals: wp.array1d(dtype=wp.float32),
    points_x: Numbers,
    points_y: Numbers,
    keys: Keys,
    out_face: wp.array3d(dtype=wp.int32),
    out_barycentrics: wp.array3d(dtype=wp.vec3),
    out_depth: wp.array3d(dtype=wp.float32),
):
    t = first + wp.tid()
    row = t // runs
    start = (t - row * runs) * run
    image = row // keys.shape[1]
    y = row - image * keys.shape[1]
    focal = focals[image]
    # The edge values of the nearest face are computed again: to store them for each pixel would cost more.
    for s in range(samples):
        out = image * samples + s
        for x in range(start, wp.min(start + run, out_face.shape[2])):
            i = x * samples + s
            key = keys[image, y, i]
            if key == FAR_KEY:
                out_face[out, y, x] = -1
                out_barycentrics[out, y, x] = wp.vec3(0.0)
                out_depth[out, y, x] = wp.inf
            else:
                f = wp.int32(key & wp.int64(0xFFFFFFFF))
                corners = faces[f]
                a = vertices[image, corners[0]]
                b = vertices[image, corners[1]]
                c = vertices[image, corners[2]]
                e = edges_of(a, b, c, focal, wp.vec2(points_x[image, i], float(y) + 0.5 - points_y[image, i]))
                out_face[out, y, x] = f
                out_barycentrics[out, y, x] = e * (1.0 / (e[0] + e[1] + e[2]))
                out_depth[out, y, x] = wp.cast(wp.int32(key >> wp.int64(32)), wp.float32)


@wp.kernel
def interpolate(
    first: int,
    runs: int,
    run: int,
    face: wp.array3d(dtype=wp.int32),
    barycentrics: wp.array3d(dtype=wp.vec3),
    faces: Faces,
    attributes: wp.array3d(dtype=wp.float32),
    out: wp.array4d(dtype=wp.float32),
):
    t = first + wp.tid()
    row = t // runs
    start = (t - row * runs) * run
    image = row // face.shape[1]
    y = row - image * face.shape[1]
    channels = attributes.shape[2]
    for x in range(start, wp.min(start + run, face.shape[2])):
        f = face[image, y, x]
        if f < 0:
            for k in range(channels):
                out[image, y, x, k] = 0.0
        else:
            i = faces[f]
            w = barycentrics[image, y, x]
            for k in range(channels):
                out[image, y, x, k] = (
                    w[0] * attributes[image, i[0], k]
                    + w[1] * attributes[image, i[1], k]
                    + w[2] * attributes[image, i[2], k]
                )
