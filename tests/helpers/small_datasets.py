"""Each data set as a small tree in its owners' layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from helpers import coco_tree, emdb_tree, humaneva_tree, rich_tree
from helpers import paper_trees as papers
from helpers.paper_datasets import image, iper_tree, threedpw_tree, up3d_tree, write


def images_tree(root: Path) -> Path:
    """Two images of their own, and a sequence of three."""
    write(root / "a.jpg", image((20, 30), 10))
    write(root / "sub/b.png", image((20, 30), 50, "PNG"))
    for frame in range(3):
        write(root / f"clip/{frame + 7:03d}.jpg", image((20, 30), 100 + frame))
    return root


TREES: dict[str, Callable[[Path], object]] = {
    "images": images_tree,
    "iper": lambda root: iper_tree(root, smpls=True),
    "deepfashion": papers.build_deepfashion,
    "up3d": up3d_tree,
    "h36m": lambda root: papers.build_h36m_with_bodies(root, root.parent / "mosh", root.parent / "iuv"),
    "humaneva": humaneva_tree.build,
    "3dpw": threedpw_tree,
    "emdb": emdb_tree.build,
    "rich": rich_tree.build,
    "coco": coco_tree.build,
    "densepose": lambda root: papers.build_densepose(root, root.parent / "posetrack"),
    "densepose-posetrack": lambda root: papers.build_densepose(root.parent / "coco", root),
}
"""Name of the source → what writes its tree, which `paper_trees.small_releases` makes complete."""
