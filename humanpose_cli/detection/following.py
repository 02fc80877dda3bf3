"""Finds people in the frames of a video: last frame's regions take the place of most windows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np

from humanpose_cli.detection.candidates import similarity
from humanpose_cli.detection.models import ModelPool, PoseModels
from humanpose_cli.detection.observing import Observation, View, jittered_views, observe
from humanpose_cli.detection.proposals import Proposal, propose_in, windows_over
from humanpose_cli.detection.regions import Pyramid, Region
from humanpose_cli.detection.searching import Found, Scheme, search

__all__ = ["Follower"]

_PRESENCE = 0.5  # below this the person has left the region
_MOVED = 0.06  # of the region's side: passes that differ by more show no pose to rely on
_NEWCOMER = 0.5  # score from which somebody seen in a single window is worth a full search
_PATIENCE = 2  # frames for which a region is kept though nobody was seen in it
_NEWCOMERS = 3  # looked at in one search
_WHOLE_EVERY = 4  # frames between two looks at the whole picture
_SEARCH_PAUSE = 5  # frames between two searches for newcomers
_REJECTION = 30  # frames for which a place where a search found nobody is left alone
_SAME_PERSON = 0.5
_SHIFTS = ((0.0, 0.0), (-0.15, -0.1), (0.15, -0.1), (-0.15, 0.1), (0.15, 0.1))


@dataclass
class _Followed:
    region: Region
    sighting: Found | None
    missed: int = 0


class Follower:
    """People followed from frame to frame.

    Each frame costs `scheme.followed` + 1 landmark passes a person and one window for newcomers. Somebody new, or
    somebody lost, brings a search of the whole frame; where it finds nobody, the place is left alone for a
    second, so that a lamp-post does not slow the whole video down.
    """

    def __init__(self, pool: ModelPool, scheme: Scheme) -> None:
        self._pool, self._scheme = pool, scheme
        self._followed: list[_Followed] = []
        self._rejected: list[tuple[Region, int]] = []
        self._frame = -1
        self._last_search = -_SEARCH_PAUSE

    def see(self, pyramid: Pyramid) -> list[Found]:
        """Everybody in the next frame."""
        self._frame += 1
        if self._frame == 0:
            self._search(pyramid)
        else:
            proposals = self._look(pyramid)
            lost = any(f.missed == 1 for f in self._followed)
            paused = self._frame - self._last_search < _SEARCH_PAUSE
            newcomers = [p for p in proposals if p.score >= _NEWCOMER and not self._known(p.region)]
            if lost or (newcomers and not paused):
                self._search(pyramid, newcomers[:_NEWCOMERS])
                until = self._frame + _REJECTION
                self._rejected += [(p.region, until) for p in newcomers if not self._known(p.region)]
        self._followed = [f for f in self._followed if f.missed <= _PATIENCE]
        self._rejected = [(region, until) for region, until in self._rejected if until > self._frame]
        return [f.sighting for f in self._followed if f.sighting is not None]

    def _look(self, pyramid: Pyramid) -> list[Proposal]:
        """Pass over everybody followed and over this frame's window; what the detector proposes."""
        views = [self._views(f.region) for f in self._followed]
        window = self._glance(pyramid)
        jobs: list[Callable[[PoseModels], object]] = [
            *(partial(_observe, pyramid, view) for group in views for view in group),
            partial(_propose, pyramid, window, self._scheme.threshold),
        ]
        answers = self._pool.map(lambda models, job: job(models), jobs)
        seen = cast("list[Observation]", answers[:-1])
        for followed, group in zip(self._followed, views, strict=True):
            _update(followed, tuple(seen[: len(group)]))
            seen = seen[len(group) :]
        self._drop_doubles()
        return cast("list[Proposal]", answers[-1])

    def _views(self, region: Region) -> list[View]:
        return [View(region), *jittered_views(region, self._scheme.followed)]

    def _glance(self, pyramid: Pyramid) -> Region:
        """This frame's window: every fourth is the whole picture, between them each of the others in turn."""
        whole, *others = windows_over(pyramid.width, pyramid.height, (1.0, *self._scheme.glances))
        turn, place = divmod(self._frame, _WHOLE_EVERY)
        return whole if place == 0 or not others else others[((_WHOLE_EVERY - 1) * turn + place - 1) % len(others)]

    def _search(self, pyramid: Pyramid, newcomers: Sequence[Proposal] = ()) -> None:
        """A full search, also around newcomers; people already followed and seen in this frame stay as they are."""
        self._last_search = self._frame
        present = [f for f in self._followed if f.sighting is not None]
        around = [w for newcomer in newcomers for w in _windows_around(newcomer.region)]
        for found in search(self._pool, pyramid, self._scheme, around):
            if not any(_same(found.passes, f.sighting.passes) for f in present if f.sighting is not None):
                present.append(_Followed(_mean_region(found.passes), found))
        self._followed = present

    def _known(self, region: Region) -> bool:
        places = [f.region for f in self._followed] + [rejected for rejected, _ in self._rejected]
        return any(
            math.hypot(p.x - region.x, p.y - region.y) < 0.35 * max(p.side, region.side)
            and abs(math.log(p.side / region.side)) < math.log(2.5)
            for p in places
        )

    def _drop_doubles(self) -> None:
        """Two regions that slid onto one person become one."""
        kept: list[_Followed] = []
        for f in sorted(self._followed, key=lambda f: -(f.sighting.score if f.sighting else 0.0)):
            double = f.sighting is not None and any(
                _same(f.sighting.passes, k.sighting.passes) for k in kept if k.sighting is not None
            )
            if not double:
                kept.append(f)
        self._followed = [f for f in self._followed if any(f is k for k in kept)]


def _windows_around(region: Region) -> list[Region]:
    """Windows in which a person of that region is as large as the detector likes it, in five places."""
    x, y, side = region.x, region.y, 1.8 * region.side
    return [Region(x + dx * side, y + dy * side, side) for dx, dy in _SHIFTS]


def _observe(pyramid: Pyramid, view: View, models: PoseModels) -> Observation:
    return observe(models, pyramid, view)


def _propose(pyramid: Pyramid, window: Region, threshold: float, models: PoseModels) -> list[Proposal]:
    return propose_in(models, pyramid, window, threshold)


def _update(followed: _Followed, passes: tuple[Observation, ...]) -> None:
    presence = float(np.mean([o.presence for o in passes]))
    points = np.stack([o.points for o in passes])
    moved = float(np.median(np.sqrt(((points - points.mean(0)) ** 2).sum(-1).mean(0)))) / followed.region.side
    if presence < _PRESENCE or moved > _MOVED:
        followed.sighting = None
        followed.missed += 1
        return
    score = presence * math.exp(-0.5 * (moved / 0.03) ** 2)
    followed.sighting, followed.missed, followed.region = Found(passes, score), 0, _mean_region(passes)


def _mean_region(passes: Sequence[Observation]) -> Region:
    """Where the passes agree that the person will be; angles are averaged as directions."""
    regions = [o.next_region for o in passes]
    angle = math.atan2(sum(math.sin(r.angle) for r in regions), sum(math.cos(r.angle) for r in regions))
    x, y, side = np.mean([(r.x, r.y, r.side) for r in regions], axis=0)
    return Region(float(x), float(y), float(side), angle)


def _same(a: Sequence[Observation], b: Sequence[Observation]) -> bool:
    side = math.sqrt(a[0].region.side * b[0].region.side)
    return (
        similarity(np.mean([o.points for o in a], axis=0), np.mean([o.points for o in b], axis=0), side) > _SAME_PERSON
    )
