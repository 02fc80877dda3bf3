"""The surface of a body for texturing: its texels, fields spread over it, and filling what a photo does not show.

In this order: sets of vertices by part; `SurfaceOperator` and `spread`, smooth fields on the mesh; `BodyTexels`, a
body's texels and their mirror and opposite texels; `complete_texture`, which fills hidden texels by symmetry first,
then by the opposite side, then smoothly.
"""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree
from torch import Tensor

from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import (
    BakedTexture,
    TexelMap,
    bleed_islands,
    fill_smoothly,
    mirror_uv_corners,
    paint_vertices,
    sample_at,
)
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.engine.rasterising.op import interpolate
from humanpose_cli.rendering.shading import rasterise_view
from humanpose_cli.rendering.surfaces import vertex_normals

Array = NDArray[Any]
Mask = NDArray[np.bool_]

TRUNK = ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar")
FOREARMS = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("elbow", "wrist", "hand"))
_HANDS = {side: (f"{side}_wrist", f"{side}_hand") for side in ("left", "right")}
# Parts whose back looks like their front where clothes go round; heads, hands and feet do not.
_FLAT = ("pelvis", "spine1", "spine2", "spine3", "collar", "shoulder", "elbow", "hip", "knee")


def parts_mask(part_labels: NDArray[np.integer], names: tuple[str, ...]) -> Mask:
    """Vertices (V,) that belong to the named parts."""
    return np.isin(part_labels, SMPL24.indices(names))


def _flat_parts(part_labels: NDArray[np.integer]) -> Mask:
    """Vertices (V,) of trunk and limbs, without head, neck, hands and feet."""
    names = tuple(name for name in SMPL24.joint_names if name.removeprefix("left_").removeprefix("right_") in _FLAT)
    return parts_mask(part_labels, names)


def limb_groups() -> NDArray[np.int64]:
    """A number per row of SMPL24 (24,): trunk with head, each arm, each leg."""
    groups = np.zeros(len(SMPL24), np.int64)
    for row, name in enumerate(SMPL24.joint_names):
        side, _, part = name.rpartition("_")
        if side:
            arm = part in ("shoulder", "elbow", "wrist", "hand")
            leg = part in ("hip", "knee", "ankle", "foot")
            groups[row] = (1 if arm else 3 if leg else 0) + (side == "right" and (arm or leg))
    return groups


def scalp_and_face(body: Body) -> tuple[Mask, Mask]:
    """Vertices (V,) where hair grows, and those (V,) of the face that no hair covers.

    Hair grows on the head behind the ears and above a line from the ears to the hairline; the face lies before the
    temples and below it. The proportions are those of an adult: the hairline lies 0.42 ear-to-ear distances above the
    eyes, the nape as far below the ears.
    """
    landmarks = body.landmarks("coco17")
    points = landmarks.template.cpu().numpy()
    ears, eyes = (points[landmarks.skeleton.indices((f"left_{n}", f"right_{n}"))] for n in ("ear", "eye"))
    (_, ear_y, ear_z), (_, eye_y, eye_z) = ears.mean(0).tolist(), eyes.mean(0).tolist()
    width = float(np.ptp(ears[:, 0]))
    _, y, z = body.template.cpu().numpy().T
    head = parts_mask(body.part_labels.cpu().numpy(), ("head",))
    ear_line = ear_y + 0.12 * width
    along = np.clip((z - ear_z) / max(eye_z - ear_z, 1e-3), 0, 1.2)
    behind = (z < ear_z - 0.05 * width) & (y > ear_y - 0.42 * width)
    hair = head & (behind | (y > ear_line + along * (eye_y + 0.42 * width - ear_line)))
    return hair, head & (z > ear_z + 0.3 * (eye_z - ear_z)) & ~hair


class SurfaceOperator:
    """The surface's stiffness K and vertex areas: fᵀ K f is the integral of |∇f|² over the surface.

    The cotangent formula makes the result independent of how finely a part is triangulated: a head with a
    thousand vertices and a shin with fifty behave alike.

    vertices  (V, 3) metres; faces (F, 3)
    """

    def __init__(self, vertices: Array, faces: NDArray[np.integer]) -> None:
        corners = np.asarray(vertices, np.float64)[faces]
        count = len(vertices)
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        double_area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
        rows, columns, weights = [], [], []
        for k in range(3):
            left, right = corners[:, (k + 1) % 3] - corners[:, k], corners[:, (k + 2) % 3] - corners[:, k]
            cotangent = (left * right).sum(1) / np.maximum(double_area, 1e-12)
            rows.append(faces[:, (k + 1) % 3])
            columns.append(faces[:, (k + 2) % 3])
            # Obtuse corners give negative weights, which could overshoot: a small positive one cannot.
            weights.append(np.clip(cotangent / 2, 0.02, 10.0))
        self.rows, self.columns = np.concatenate(rows), np.concatenate(columns)
        self.weights = np.concatenate(weights)
        self.areas = np.bincount(faces.ravel(), np.repeat(double_area / 6, 3), count) + 1e-12
        self.count = count

    def stiffness(self, cut: NDArray[np.integer] | None = None, leak: float = 0.0) -> sparse.csc_matrix:
        """K (V, V); with `cut` (V,) groups, connections between groups are weakened to `leak`."""
        weights = self.weights
        if cut is not None:
            weights = np.where(cut[self.rows] == cut[self.columns], weights, weights * leak)
        i, j = np.concatenate((self.rows, self.columns)), np.concatenate((self.columns, self.rows))
        off = sparse.coo_matrix((np.concatenate((weights, weights)), (i, j)), (self.count, self.count)).tocsc()
        return sparse.diags(np.asarray(off.sum(1)).ravel()).tocsc() - off


def spread(stiffness: sparse.csc_matrix, data_weights: Array, values: Array, rest_weights: Array, rest: Array) -> Array:
    """The field f that minimises fᵀ K f + Σ data (f − values)² + Σ rest_weights (f − rest)².

    data_weights (V,) ≥ 0, values (V, C), rest_weights (V,) > 0, rest (C,) or (V, C) → (V, C)
    """
    system = (stiffness + sparse.diags(data_weights + rest_weights)).tocsc()
    right = data_weights[:, None] * values + rest_weights[:, None] * np.broadcast_to(rest, values.shape)
    # Symmetric mode: a third of the time and fill of the general ordering.
    factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return factor.solve(np.ascontiguousarray(right))


# The rest body seen from so far that it is as good as parallel projection (metres), in an image of this height.
_FAR = 200.0
_IMAGE = 768
# Colours without detail are handled in a texture of this size.
_COARSE = 512
_LARGEST_CACHED = 2048  # texels along each side
_SOFT_BORDER = 2.0  # coarse texels

_cached_texels: WeakKeyDictionary[Body, dict[int, BodyTexels]] = WeakKeyDictionary()


def body_texels(body: Body, size: int) -> BodyTexels:
    """The texels of a body, cached for the next photo as long as the body lives, unless they are very many."""
    if size > _LARGEST_CACHED:
        return BodyTexels(body, size)
    sizes = _cached_texels.setdefault(body, {})
    if size not in sizes:
        sizes[size] = BodyTexels(body, size)
    return sizes[size]


class BodyTexels:
    """The texels of a body and their relations; independent of any photo.

    fine, coarse  the surface points of the texture and of its reduced copy
    faces         (F, 3) tensor; rows: the same as an array
    rest          (V, 3) metres, the rest body; operator: its surface
    opposite_uv   (coarse, coarse, 2) texture coordinates of the point straight through the body; opposed: whether
                  there is one
    hair          (V,) vertices where hair grows; face (V,) the front of the face
    """

    def __init__(self, body: Body, size: int) -> None:
        self.fine = TexelMap(body.uv, body.uv_faces, size)
        self.coarse = TexelMap(body.uv, body.uv_faces, min(size, _COARSE))
        self.faces: Tensor = body.faces
        self.rows: NDArray[np.int64] = body.faces.cpu().numpy().astype(np.int64)
        self.rest: Array = body.template.cpu().numpy().astype(np.float64)
        self.operator = SurfaceOperator(self.rest, self.rows)
        self.part_labels = body.part_labels.cpu().numpy()
        self.hair, self.face = scalp_and_face(body)
        self._mirror = self._mirror_maps(body)
        self.opposite_uv, self.opposed = _opposite(body, self.coarse)

    def _mirror_maps(self, body: Body) -> tuple[Array, Array]:
        corners, paired = mirror_uv_corners(
            self.rows,
            body.uv.cpu().numpy(),
            body.uv_faces.cpu().numpy().astype(np.int64),
            body.mirror_vertices.cpu().numpy(),
        )
        # Without a partner: look outside the texture, where nothing is.
        corners[~paired] = -1
        each = torch.arange(corners.shape[0] * 3, dtype=torch.int32, device=self.faces.device).reshape(-1, 3)
        uv = self.fine.interpolate(corners.reshape(-1, 2), each) * np.float32(self.fine.size) - np.float32(0.5)
        uv[~self.fine.covered] = -10
        return np.ascontiguousarray(uv[..., 0]), np.ascontiguousarray(uv[..., 1])

    def mirror(self, image: Array) -> Array:
        """A fine texture (size, size, C) with every texel replaced by its mirror image; zero where there is none."""
        return cv2.remap(image, *self._mirror, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)

    def opposite(self, image: Array) -> Array:
        """A coarse texture with each texel replaced by the point straight through the body; zero where none is."""
        size = self.coarse.size
        x, y = (self.opposite_uv[..., k].ravel() * np.float32(size) for k in (0, 1))
        borrowed = sample_at(image, x, y).reshape(image.shape)
        borrowed[~self.opposed] = 0
        # The way through the body ends in jagged borders; nothing fine is borrowed along it anyway. Islands' own
        # borders stay full: seams must not show.
        inside = self.coarse.covered.astype(np.float32)
        share = np.maximum(cv2.GaussianBlur(inside, (0, 0), _SOFT_BORDER), np.float32(0.05))
        return cv2.GaussianBlur(borrowed, (0, 0), _SOFT_BORDER) * (inside / share)[..., None]

    def reduce(self, image: Array) -> Array:
        """A fine texture averaged to the coarse size."""
        size = self.coarse.size
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA).reshape(size, size, *image.shape[2:])

    def enlarge(self, image: Array) -> Array:
        """A coarse texture, its islands bled, at the fine size."""
        size = self.fine.size
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR).reshape(size, size, *image.shape[2:])


def _opposite(body: Body, texels: TexelMap) -> tuple[Array, Mask]:
    """For each texel of trunk and limbs, the texture coordinates of the point straight through the rest body."""
    vertices = body.template
    labels = body.part_labels.cpu().numpy()
    first = body.faces[:, 0].long().cpu().numpy()
    flat, group = _flat_parts(labels)[first], limb_groups()[labels[first]]
    height = float(vertices[:, 1].max() - vertices[:, 1].min())
    middle = (vertices.amax(0) + vertices.amin(0)) / 2
    focal = _FAR * _IMAGE / (1.1 * height)
    view = Camera.of_image((_IMAGE, _IMAGE), focal)
    points = torch.cat((vertices - middle, vertex_normals(vertices, body.faces)), 1)
    position = texels.interpolate(points.cpu().numpy(), body.faces)
    uv = np.zeros((texels.size, texels.size, 2), np.float32)
    valid = np.zeros((texels.size, texels.size), bool)
    chosen = texels.covered & flat[np.maximum(texels.face, 0)]
    for side in (1.0, -1.0):  # from the front, from the back
        turn = vertices.new_tensor([-side, -1.0, -side])
        turned = (vertices - middle) * turn + vertices.new_tensor([0.0, 0.0, _FAR])
        raster = rasterise_view(turned[None], body.faces, view)
        image_uv = interpolate(raster, body.uv_faces, body.uv[None])[0].cpu().numpy()
        face = raster.face[0].cpu().numpy()
        rows = np.nonzero(chosen & (position[..., 5] * side < 0))
        x = _IMAGE / 2 - side * position[rows][:, 0] * focal / _FAR
        y = _IMAGE / 2 - position[rows][:, 1] * focal / _FAR
        x, y = (np.clip(values, 0, _IMAGE - 1).astype(int) for values in (x, y))
        hit = face[y, x]
        partner = np.maximum(hit, 0)
        uv[rows] = image_uv[y, x]
        valid[rows] = (hit >= 0) & flat[partner] & (group[partner] == group[texels.face[rows]])
    return uv, valid


# Metres: over these distances differences of light between both sides are averaged, and fade.
_LIGHT_AVERAGE, _LIGHT_FADE = 0.04, 0.15
_MOST_LIGHT = 0.15
# Metres: details of this size (letters, badges, buckles) are not carried to points that were not visible.
_DETAIL = 0.045
# Far from the visible part only usual colours are continued: the median of this many out of so many points on the
# visible surface, which is about 150 cm².
_NEIGHBOURS, _POINTS = 24, 1500
# Metres: colours at the border of the visible part are continued this far, with their details.
_RIM = 0.012
# Metres: how closely colours that are spread follow those that were visible.
_FOLLOW = 0.01
# Visible skin (m²) that tells its colour; contrast of channels below which a photograph has no colours.
_LEAST_SKIN, _COLOURLESS = 0.0015, 0.02
# A garment is patterned where this share of its texels differs by so much from the surroundings' median.
_PATTERNED, _CONTRAST = 0.2, 0.1
# A garment's own colour: clusters of the colours shown, what differs less is the same, and covers that share or more.
_CLUSTERS, _SAME, _MOST_OF_IT, _OF_BRIGHTNESS = 4, 0.04, 0.55, 0.08
_CHEST, _FEWEST_TEXELS = ("spine1", "spine2", "spine3", "left_collar", "right_collar"), 100
# Weight of a guessed colour against a visible one.
_GUESS = 0.05
_TINY = np.float32(1e-6)
_BRIGHTEST = 2.0  # colour of a surface whose light was taken off


class WholeTexture(NamedTuple):
    """A texture without gaps.

    image          (S, S, 4) float32: RGB, 1 the photo's white, and how much of each texel comes from the photo, 0…1
    visible_fraction  share of the surface that the photo shows, by area
    """

    image: Array
    visible_fraction: float


def complete_texture(
    surface: BodyTexels, baked: BakedTexture, grain: float = 0.0, *, mirror_face: bool = True
) -> WholeTexture:
    """Fill what the photo does not show.

    Hidden texels take their mirror image's colour where that was visible, corrected by a smooth field so that both
    sides agree where both were visible; then, on trunk and limbs, the colour straight through the body, without its
    details; the rest takes colours spread over the surface, hair from hair. What is made up varies slowly and is
    handled in a reduced texture.

    grain        standard deviation, 0…1, of the noise that made-up texels get
    mirror_face  False leaves the unseen half of a profile without features
    """
    own = np.clip((baked.confidence - np.float32(0.08)) / np.float32(0.55 - 0.08), 0, 1)
    own = own * own * (3 - 2 * own)
    image = np.empty((*own.shape, 4), np.float32)
    np.multiply(baked.colour, own[..., None], out=image[..., :3])
    image[..., 3] = own
    theirs = surface.mirror(image)
    if not mirror_face:
        theirs *= 1 - surface.fine.interpolate(surface.face[:, None].astype(np.float32), surface.faces)
    coarse, coarse_theirs = surface.reduce(image), surface.reduce(theirs)
    shown = surface.reduce(baked.visible.astype(np.float32))
    _, visible = paint_vertices(surface.coarse, surface.rows, shown[..., None], shown)
    visible_fraction = _share(surface, np.ones(len(visible), bool), visible)
    light = _light_difference(surface, coarse, coarse_theirs)
    coarse_theirs[..., :3] += light * coarse_theirs[..., 3:]
    filled = surface.enlarge(_fill(surface, _continued(surface, _over(coarse, coarse_theirs))))
    theirs[..., :3] += surface.enlarge(light) * theirs[..., 3:]
    theirs *= (1 - own)[..., None]
    image += theirs
    filled *= 1 - image[..., 3:]
    image[..., :3] += filled
    image[..., 3] += own
    image[..., 3] *= np.float32(0.5)
    if grain > 0:
        noise = np.random.default_rng(0).standard_normal(own.shape, np.float32) * np.float32(grain)
        image[..., :3] += (noise * (1 - image[..., 3]))[..., None]
    np.clip(image, 0, _BRIGHTEST, out=image)
    bleed_islands(image, surface.fine.covered)
    return WholeTexture(image, visible_fraction)


def _over(first: Array, second: Array) -> Array:
    """What the first texture leaves open, taken from the second; colours (…, 4) multiplied by their weight."""
    return first + (1 - first[..., 3:]) * second


def _straight(texture: Array) -> Array:
    """Colours no longer multiplied by their weight."""
    return texture[..., :3] / np.maximum(texture[..., 3:], _TINY)


def _light_difference(surface: BodyTexels, mine: Array, theirs: Array) -> Array:
    """A smooth correction of mirrored colours, coarse: what separates both sides' light where both are visible."""
    both = mine[..., 3] * theirs[..., 3]
    difference = np.clip(_straight(mine) - _straight(theirs), -1, 1)
    values, weight = paint_vertices(surface.coarse, surface.rows, difference, both)
    operator = surface.operator
    field = spread(
        operator.stiffness(),
        weight * operator.areas / _LIGHT_AVERAGE**2,
        values,
        operator.areas / _LIGHT_FADE**2,
        np.zeros(3),
    )
    field = np.clip(field, -_MOST_LIGHT, _MOST_LIGHT)
    light = surface.coarse.interpolate(field, surface.faces)
    bleed_islands(light, surface.coarse.covered)
    return light


def _continued(surface: BodyTexels, known: Array) -> Array:
    """A coarse texture whose visible parts reach a little further, with the colours of their rim."""
    sigma = max(0.8, _RIM * _texels_per_metre(surface))
    blurred = cv2.GaussianBlur(known, (0, 0), sigma)
    weight = np.clip(2.5 * blurred[..., 3:] - np.float32(0.25), 0, 1)
    return _over(known, np.dstack((_straight(blurred) * weight, weight)))


def _texels_per_metre(surface: BodyTexels) -> float:
    """Of the coarse texture, on average."""
    return float(np.sqrt(surface.coarse.covered.sum() / surface.operator.areas.sum()))


def _fill(surface: BodyTexels, known: Array) -> Array:
    """Colours (coarse, coarse, 3) for whatever `known`, coarse and multiplied by its weight, leaves open."""
    plain = _without_detail(surface, known)
    plain = _straight(known) if _patterned(surface, known, plain) else _without_prints(surface, known, plain)
    known = _over(known, surface.opposite(np.dstack((plain * known[..., 3:], known[..., 3]))))
    spread_out = surface.coarse.interpolate(_spread_colours(surface, known), surface.faces)
    filled = known[..., :3] + (1 - known[..., 3:]) * spread_out
    bleed_islands(filled, surface.coarse.covered)
    return filled


def _patterned(surface: BodyTexels, known: Array, plain: Array) -> bool:
    """Whether detail covers the visible trunk, as a printed shirt's does, and is no letters or badge on plain cloth."""
    first = surface.rows[:, 0]
    trunk = parts_mask(surface.part_labels, TRUNK)[first][np.maximum(surface.coarse.face, 0)]
    shown = trunk & surface.coarse.covered & (known[..., 3] > 0.7)
    if not shown.any():
        return False
    detail = np.abs(_straight(known)[shown] - plain[shown]).max(1) > _CONTRAST
    return bool(detail.mean() > _PATTERNED)


def _without_prints(surface: BodyTexels, known: Array, plain: Array) -> Array:
    """Colours (coarse, coarse, 3) with the garment's own colour alone on chest and hips, where most of it has one.

    What is larger than a letter, such as a badge, a tie or the shirt in an open jacket, is not on the back as well.
    """
    part = surface.part_labels[surface.rows[:, 0]][np.maximum(surface.coarse.face, 0)]
    result = plain
    for names in (_CHEST, ("pelvis",)):
        region = parts_mask(part, names) & surface.coarse.covered
        shown = region & (known[..., 3] > 0.5)
        own = np.zeros(region.shape, np.float32)
        own[shown] = _usual(plain[shown])
        if own.sum() > _MOST_OF_IT * max(shown.sum(), 1):
            sure = cv2.erode(own, np.ones((3, 3), np.uint8))
            result = np.where(region[..., None], fill_smoothly(plain, sure), result)
    return result


def _usual(colours: Array) -> NDArray[np.bool_]:
    """Which of the colours (N, 3) are much like the most frequent one but for the light: in hue, and in brightness."""
    if len(colours) < _FEWEST_TEXELS:
        return np.zeros(len(colours), bool)
    bright = np.maximum(colours.sum(1), 1e-3)
    seen = np.column_stack((colours / bright[:, None], _OF_BRIGHTNESS * np.log(bright))).astype(np.float32)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 1e-3)
    start = np.zeros((len(seen), 1), np.int32)
    _, labels, centres = cv2.kmeans(seen, _CLUSTERS, start, stop, 1, cv2.KMEANS_PP_CENTERS)
    main = centres[np.bincount(labels[:, 0]).argmax()]
    for _ in range(4):  # from the cluster's middle to the densest colour near it
        near = np.abs(seen - main).max(1) < 2 * _SAME
        main = np.median(seen[near], axis=0) if near.any() else main
    return np.asarray(np.abs(seen - main).max(1) < _SAME)


def _without_detail(surface: BodyTexels, known: Array) -> Array:
    """The colours (coarse, coarse, 3) without small things: letters, badges, folds."""
    filled = fill_smoothly(_straight(known), (known[..., 3] > 0.3).astype(np.float32))
    kernel = max(3, round(_DETAIL * _texels_per_metre(surface)) | 1)
    eight_bit = (np.clip(filled, 0, 1) * 255 + 0.5).astype(np.uint8)
    return cv2.medianBlur(eight_bit, kernel).astype(np.float32) / np.float32(255)


def _spread_colours(surface: BodyTexels, known: Array) -> Array:
    """Colours of all vertices (V, 3) from texels with weight: harmonic over the surface, hair and face apart."""
    operator = surface.operator
    values, visible = paint_vertices(surface.coarse, surface.rows, _straight(known), known[..., 3])
    data = visible * operator.areas / _FOLLOW**2
    # Hair keeps its colours apart from the rest, where hair was visible.
    groups = (surface.hair & (_share(surface, surface.hair, visible) >= 0.02)).astype(np.int64)
    values = _usual_colours(surface, values, visible, groups)
    for part, tone in _skin_guesses(surface, values, visible):
        missing = part & (visible < 0.05)
        values[missing], data[missing] = tone, 0.3 * operator.areas[missing] / _FOLLOW**2
        # Guessed skin ends at its part's border, as under a sleeve or a collar.
        groups[part] = 2
    if data.sum() == 0:
        return np.full_like(values, 0.5)
    for part, tone in _limb_guesses(surface, values, visible):
        missing = part & (visible < 0.05)
        values[missing], data[missing] = tone, _GUESS * operator.areas[missing] / _FOLLOW**2
    stiffness = operator.stiffness(groups, leak=0.002)
    mean = (values * data[:, None]).sum(0) / data.sum()
    return spread(stiffness, data, values, operator.areas * 1e-3, mean)


def _usual_colours(surface: BodyTexels, values: Array, visible: Array, groups: NDArray[np.int64]) -> Array:
    """The median colour (V, 3) of the visible surface of the same group around each vertex."""
    result = values.copy()
    random = np.random.default_rng(0)
    for group in np.unique(groups):
        chance = visible * surface.operator.areas * ((visible > 0.3) & (groups == group))
        count = min(_POINTS, int((chance > 0).sum()))
        if not count:
            continue
        points = random.choice(len(visible), count, replace=False, p=chance / chance.sum())
        rows = np.flatnonzero((visible > 0) & (groups == group))
        _, near = cKDTree(surface.rest[points]).query(surface.rest[rows], min(_NEIGHBOURS, count))
        result[rows] = np.median(values[points][near.reshape(len(rows), -1)], axis=1)
    return result


def _skin_guesses(surface: BodyTexels, colour: Array, visible: Array) -> list[tuple[NDArray[np.bool_], Array]]:
    """Bare parts that were not visible, with the colour of the visible skin."""
    tone = _skin_tone(surface, colour, visible)
    if tone is None:
        return []
    bare = [surface.face, *(parts_mask(surface.part_labels, names) for names in _HANDS.values())]
    return [(part, tone) for part in bare if _share(surface, part, visible) <= 0.03]


def _skin_tone(surface: BodyTexels, colour: Array, visible: Array) -> Array | None:
    """The usual colour (3,) of skin, of the first of these parts that shows enough: head, hands, forearms.

    Among their points those count whose hue is in the skin locus of Soriano et al. (2003); in a photograph without
    colours, all of the face or of the hands.
    """
    labels, shown = surface.part_labels, visible > 0.5
    colourless = bool(shown.any()) and float(np.median(np.ptp(colour[shown], axis=1))) < _COLOURLESS
    head = parts_mask(labels, ("neck", "head")) & ~surface.hair
    hands = parts_mask(labels, (*_HANDS["left"], *_HANDS["right"]))
    for part in (surface.face if colourless else head, hands, *(() if colourless else (parts_mask(labels, FOREARMS),))):
        found = part & shown & (colourless | _skin_hued(colour))
        if surface.operator.areas[found].sum() >= _LEAST_SKIN:
            return np.asarray(np.median(colour[found], axis=0))
    return None


def _skin_hued(colour: Array) -> NDArray[np.bool_]:
    """Which colours (N, 3) lie in the skin locus: between two parabolas of r and g = R, G / (R + G + B), off white."""
    r, g, _ = (colour / np.maximum(colour.sum(1, keepdims=True), 1e-6)).T
    white = (r - 1 / 3) ** 2 + (g - 1 / 3) ** 2 < 0.0004
    below, above = -0.776 * r**2 + 0.5601 * r + 0.1766, -1.3767 * r**2 + 1.0743 * r + 0.1452
    return np.asarray((g > below) & (g < above + 0.02) & ~white & (r > 1 / 3))


def _limb_guesses(surface: BodyTexels, colour: Array, visible: Array) -> list[tuple[NDArray[np.bool_], Array]]:
    """Parts of trunk and limbs that were not visible, with the usual colour of the nearest one up the body that was.

    A border alone may be a belt, a glove or a shadow; most of what lies above it is the cloth that goes on.
    """
    parts = [surface.part_labels == row for row in range(len(SMPL24))]
    shares = [_share(surface, part, visible) for part in parts]
    guesses = []
    for row, name in enumerate(SMPL24.joint_names):
        if shares[row] > 0.05 or name in ("neck", "head", *_HANDS["left"], *_HANDS["right"]):
            continue
        above = SMPL24.parents[row]
        while above >= 0 and shares[above] < 0.1:
            above = SMPL24.parents[above]
        shown = parts[above] & (visible > 0.5)
        if above >= 0 and shown.any():
            guesses.append((parts[row], np.median(colour[shown], axis=0)))
    return guesses


def _share(surface: BodyTexels, part: NDArray[np.bool_], visible: Array) -> float:
    """Share of a part's surface that was visible."""
    areas = surface.operator.areas[part]
    return float((visible[part] * areas).sum() / max(float(areas.sum()), 1e-9))
