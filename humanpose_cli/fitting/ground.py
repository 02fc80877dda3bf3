"""The ground that several people of one image stand on, the focal length that it shows, and people's distances by it.

A standing person is a vertical line of known length from the soles to the neck. The camera's height above the ground
and the direction of up give the distance of its foot. The direction and the length of its image, and how far the body
leans along the viewing ray, then depend on four numbers that all people share: focal length f, tilt, roll and height of
the camera. Lines left and right of the image's centre converge at f / tan(tilt) from it, and people of equal height
vanish at the horizon, f · tan(tilt) from it: both together determine f (Lv, Zhao and Nevatia, "Camera calibration from
video of a walking human", PAMI 2006; Fei et al., "Single view physical distance estimation using human pose", ICCV
2021). With a level camera, or people in one spot, f remains as uncertain as before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from humanpose_cli.body.body import Body
from humanpose_cli.core.camera import Camera
from humanpose_cli.core.conventions import BLAZEPOSE33, SMPL24
from humanpose_cli.detect.person import DetectedPerson
from humanpose_cli.fitting.evidence import viewing_pixel
from humanpose_cli.fitting.keypoints import KeypointFit
from humanpose_cli.fitting.options import CommonGroundOptions
from humanpose_cli.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, viewing_rotation

Array = NDArray[np.float64]

_STARTS = np.radians((0.0, 12.0, 25.0, 40.0))  # tilts that the search starts from
_ITERATIONS, _DAMPING, _MAX_DAMPING = 60, 1e-3, 1e9
_TOLERANCE = 1e-10  # step of a parameter
_DIFFERENCE = 1e-6  # of a parameter, for derivatives
_NO_DEVIATION = 1e-9  # standard deviation of a logarithm that is given
_MIN_DESCENT = 1e-5  # of a viewing ray that meets the ground
_ANKLES = SMPL24.indices(("left_ankle", "right_ankle"))


class Uprights(NamedTuple):
    """N people as lines from the ground under their feet to the neck.

    soles    (N, 2) pixels of the lower end; necks (N, 2) pixels of the upper one
    lengths  (N,) metres of the line in the fitted body
    leans    (N,) cosine between the line, upwards, and the viewing ray of its middle
    """

    soles: Array
    necks: Array
    lengths: Array
    leans: Array

    def rows(self, index: NDArray[Any]) -> Uprights:
        """Restrict to some people."""
        return Uprights._make(values[index] for values in self)


@dataclass(frozen=True, eq=False)
class Ground:
    """The plane up · x = −height in camera axes.

    up               (3,) unit vector, camera axes
    height           metres of the camera above the plane
    focal            pixels of the camera that it was found with
    focal_deviation  standard deviation of the focal length's logarithm
    standing         (N,) bool: who stands on it
    vertical         (N,) bool: whose line is along up, whatever their size
    """

    up: Array
    height: float
    focal: float
    focal_deviation: float
    standing: NDArray[np.bool_]
    vertical: NDArray[np.bool_]

    def depth(self, pixels: Array, principal_point: tuple[float, float]) -> Array:
        """Compute z (N,) in metres at which the rays of pixels (N, 2) meet the plane; infinite above the horizon."""
        descent = -_rays(pixels, np.array(principal_point), self.focal) @ self.up
        return np.where(descent > _MIN_DESCENT, self.height / np.maximum(descent, _MIN_DESCENT), np.inf)


def _rays(pixels: Array, principal_point: Array, focal: float) -> Array:
    """Compute viewing rays (N, 3) of pixels, z = 1."""
    return np.concatenate(((pixels - principal_point) / focal, np.ones((len(pixels), 1))), 1)


def up_of_camera(tilt: float, roll: float) -> Array:
    """Compute up (3,) in the axes of a camera that looks down by `tilt` and is rolled clockwise by `roll`, radians."""
    return np.array((-np.sin(roll) * np.cos(tilt), -np.cos(roll) * np.cos(tilt), -np.sin(tilt)))


def find_ground(people: Uprights, camera: Camera, options: CommonGroundOptions, *, fixed_focal: bool) -> Ground | None:
    """Find the plane under people of one image, by robust least squares; None if fewer than two agree on one.

    camera       one camera; its focal length is the given or else the most probable one
    fixed_focal  whether it stays
    """
    if len(people.lengths) < 2:
        return None
    problem = _GroundProblem(people, camera, options, _NO_DEVIATION if fixed_focal else options.focal_noise)
    starts = [np.array((0.0, tilt, 0.0, np.log(options.camera_height))) for tilt in _STARTS]
    parameters, _ = min((problem.solve(start) for start in starts), key=lambda end: end[1])
    residuals = problem.residuals(parameters)
    standing = np.linalg.norm(residuals, axis=1) < options.robust
    if standing.sum() < 2:
        return None
    log_focal, tilt, roll, log_height = parameters.tolist()
    covariance = np.linalg.inv(problem.equations(parameters)[1])
    return Ground(
        up_of_camera(tilt, roll),
        float(np.exp(log_height)),
        float(camera.focal * np.exp(log_focal)),
        float(np.sqrt(covariance[0, 0])),
        standing,
        np.linalg.norm(residuals[:, 1:], axis=1) < options.robust,
    )


class _GroundProblem:
    """Least squares over four parameters: log of the focal length's factor, tilt, roll, log of the height."""

    def __init__(self, people: Uprights, camera: Camera, options: CommonGroundOptions, focal_noise: float) -> None:
        self._people, self._options = people, options
        self._focal, self._centre = float(camera.focal), np.array(camera.principal_point, np.float64)
        lines = people.necks - people.soles
        self._sizes = np.maximum(np.linalg.norm(lines, axis=1), 1e-6)
        self._directions = lines / self._sizes[:, None]
        self._noise = np.array((options.stature_noise, options.direction_noise, options.lean_noise))
        self._mean = np.array((0.0, np.radians(options.tilt), 0.0, np.log(options.camera_height)))
        angles = np.radians((options.tilt_noise, options.roll_noise))
        self._sigma = np.array((focal_noise, *angles, options.height_noise))

    def residuals(self, parameters: Array) -> Array:
        """Compute (N, 3) in noise levels: length of the image, as logarithm, its direction, lean along the ray."""
        log_focal, tilt, roll, log_height = parameters
        focal, up, people = self._focal * np.exp(log_focal), up_of_camera(tilt, roll), self._people
        rays = _rays(people.soles, self._centre, focal)
        descent = -rays @ up
        # Soles at or above the horizon are very far away: smooth, and exact below it.
        descent = (descent + np.sqrt(descent**2 + 4 * _MIN_DESCENT**2)) / 2
        necks = rays * (np.exp(log_height) / descent)[:, None] + people.lengths[:, None] * up
        lines = focal * necks[:, :2] / np.maximum(necks[:, 2:], 1e-3) + self._centre - people.soles
        across = self._directions[:, 0] * lines[:, 1] - self._directions[:, 1] * lines[:, 0]
        along = (self._directions * lines).sum(1)
        views = _rays((people.necks + people.soles) / 2, self._centre, focal)
        leans = self._options.lean_share * (views @ up) / np.linalg.norm(views, axis=1)
        lengths = np.maximum(np.linalg.norm(lines, axis=1), 1e-9)
        return (
            np.stack((np.log(lengths / self._sizes), np.arctan2(across, along), leans - people.leans), 1) / self._noise
        )

    def _cost(self, parameters: Array) -> float:
        distances, c2 = np.square(self.residuals(parameters)).sum(1), self._options.robust**2
        prior = (parameters - self._mean) / self._sigma
        return float((c2 * distances / (c2 + distances)).sum() + np.square(prior).sum())

    def equations(self, parameters: Array) -> tuple[Array, Array]:
        """Compute gradient (4,) and Gauss–Newton Hessian (4, 4) of half the cost: Geman and McClure's ρ a person."""
        residuals = self.residuals(parameters)
        steps = _DIFFERENCE * np.eye(len(parameters))
        changes = [self.residuals(parameters + step) - self.residuals(parameters - step) for step in steps]
        jacobian = np.stack(changes, -1) / (2 * _DIFFERENCE)  # (N, 3, 4)
        c2 = self._options.robust**2
        weights = np.square(c2 / (c2 + np.square(residuals).sum(1)))
        gradient = np.einsum("n,nrp,nr->p", weights, jacobian, residuals)
        gradient += (parameters - self._mean) / self._sigma**2
        return gradient, np.einsum("n,nrp,nrq->pq", weights, jacobian, jacobian) + np.diag(self._sigma**-2)

    def solve(self, start: Array) -> tuple[Array, float]:
        """Find the parameters where Levenberg–Marquardt ends, and their cost."""
        at, cost, damping = start, self._cost(start), _DAMPING
        gradient, hessian = self.equations(at)
        for _ in range(_ITERATIONS):
            step = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), -gradient)
            after = self._cost(at + step)
            if after < cost:
                at, cost, damping = at + step, after, damping / 10
                if np.abs(step).max() < _TOLERANCE:
                    break
                gradient, hessian = self.equations(at)
            elif (damping := damping * 10) > _MAX_DAMPING:
                break
        return at, cost


class FocalFromGround(NamedTuple):
    """A focal length in pixels, and how many people it was found from."""

    pixels: float
    people: int


class PeopleOnGround:
    """The bodies of one image, N, and which of them may stand.

    A body stands upright if its legs and trunk are stretched, in line, and its ankles visible. Whether there is ground
    below its feet is for the others to say.
    """

    def __init__(self, body: Body, bodies: KeypointFit, camera: Camera, options: CommonGroundOptions) -> None:
        self._bodies, self._camera, self._options = bodies, camera, options
        betas = torch.from_numpy(bodies.betas)
        rest = _line(body, torch.eye(3).expand(len(betas), len(SMPL24), 3, 3), betas, torch.zeros(len(betas), 3))
        rotations = axis_angle_to_matrix(torch.from_numpy(bodies.poses).unflatten(1, (-1, 3)))
        line = _line(body, rotations, betas, torch.from_numpy(bodies.trans))
        self._line, self._rest_pelvis = line, rest.pelvis
        soles, necks = camera.project(line.sole), camera.project(line.neck)
        views = _rays((soles + necks) / 2, np.array(camera.principal_point), float(camera.focal))
        length = np.linalg.norm(line.neck - line.sole, axis=1)
        axis = (line.neck - line.sole) / length[:, None]
        self._uprights = Uprights(soles, necks, length, (axis * views).sum(1) / np.linalg.norm(views, axis=1))
        stretch = length / np.linalg.norm(rest.neck - rest.sole, axis=1)
        trunk, legs = _unit(line.neck - line.pelvis), _unit(line.pelvis - line.sole)
        self.upright = (
            (stretch > options.min_stretch)
            & ((trunk * legs).sum(1) > np.cos(np.radians(options.max_bend)))
            & (bodies.joint_confidence[:, _ANKLES].min(1) > options.min_confidence)
        )

    def find(self, *, fixed_focal: bool) -> Ground | None:
        """Find the ground under enough people; None without. Its people are all bodies."""
        rows = np.flatnonzero(self.upright)
        if len(rows) < self._options.people:
            return None
        ground = find_ground(self._uprights.rows(rows), self._camera, self._options, fixed_focal=fixed_focal)
        if ground is None or ground.standing.sum() < self._options.people:
            return None
        standing, vertical = np.zeros((2, len(self.upright)), bool)
        standing[rows], vertical[rows] = ground.standing, ground.vertical
        return replace(ground, standing=standing, vertical=vertical)

    def focal(self) -> FocalFromGround | None:
        """Find the focal length, if the ground makes it clearly less uncertain than it was."""
        ground = self.find(fixed_focal=False)
        if ground is None or ground.focal_deviation >= self._options.max_focal_noise:
            return None
        return FocalFromGround(ground.focal, int(ground.standing.sum()))

    def bodies_on(self, ground: Ground) -> KeypointFit:
        """Move the bodies that stand along their viewing rays towards the ground, and scale them with their distance,
        so that they look the same. Vertical people off the ground are children on it where it is nearer than a fit of
        an adult; where it is farther, they stand on something else.
        """
        logs = np.log(ground.depth(self._uprights.soles, self._camera.principal_point) / self._line.sole[:, 2])
        child = ground.vertical & (logs < 0) & (logs > np.log(self._options.smallest))
        rows = np.flatnonzero((ground.standing | child) & np.isfinite(logs))
        scales = np.exp(self._options.depth_share * logs[rows]).astype(np.float32)[:, None]
        bodies = self._bodies
        columns = {name: getattr(bodies, name).copy() for name in ("joints3d", "segment_scales", "trans")}
        columns["joints3d"][rows] *= scales[..., None]
        columns["segment_scales"][rows] *= scales
        pelvis = self._rest_pelvis[rows].astype(np.float32)
        columns["trans"][rows] = scales * (pelvis + bodies.trans[rows]) - pelvis
        return replace(bodies, **columns)


class _BodyLine(NamedTuple):
    """(N, 3) each, metres: the neck, the pelvis, and the ground under the lower foot, on the line from the neck to the
    middle between the feet.
    """

    neck: Array
    pelvis: Array
    sole: Array


def _line(body: Body, rotations: torch.Tensor, betas: torch.Tensor, trans: torch.Tensor) -> _BodyLine:
    with torch.no_grad():
        posed_body = body.pose(rotations, betas, trans, vertices=False)
        landmarks = body.pose_landmarks(BLAZEPOSE33.name, posed_body, betas).double().numpy()
    rows = [BLAZEPOSE33.indices((f"{side}_heel", f"{side}_foot_index")) for side in ("left", "right")]
    feet = np.stack([landmarks[:, list(side)].mean(1) for side in rows], 1)  # (N, 2, 3)
    joints = posed_body.joints.double().numpy()
    neck, pelvis = joints[:, SMPL24.index("neck")], joints[:, SMPL24.index("pelvis")]
    down = _unit(feet.mean(1) - neck)
    # Landmarks of feet lie some centimetres above the ground.
    template = body.landmarks(BLAZEPOSE33.name).template
    thickness = float(template[[*rows[0], *rows[1]], 1].mean() - body.template[:, 1].min())
    length = ((feet - neck[:, None]) * down[:, None]).sum(-1).max(1) + thickness
    return _BodyLine(neck, pelvis, neck + length[:, None] * down)


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def before_camera(person: DetectedPerson, before: Camera, after: Camera) -> DetectedPerson:
    """Adapt the network's estimate of a person, made for one camera, to another focal length: the body turns with its
    viewing ray.
    """
    estimate = person.estimate
    if estimate is None:
        return person
    keypoints = torch.from_numpy(person.keypoints.astype(np.float64))[None]
    views = [Camera.stack([camera]).tensors(torch.float64) for camera in (before, after)]
    pixel = viewing_pixel(person.skeleton, keypoints[..., :2], keypoints[..., 2], views[0].principal_point)
    first, second = (viewing_rotation(pixel, view.focal, view.principal_point)[0] for view in views)
    turn = second @ first.mT
    poses, joints = estimate.poses.copy(), torch.from_numpy(estimate.joints.astype(np.float64))
    pelvis = axis_angle_to_matrix(torch.from_numpy(poses[:3].astype(np.float64)))
    poses[:3] = matrix_to_axis_angle(turn @ pelvis).numpy()
    joints = joints[:1] + (joints - joints[:1]) @ turn.mT
    estimate = replace(estimate, poses=poses, joints=joints.numpy().astype(estimate.joints.dtype))
    return replace(person, estimate=estimate)
