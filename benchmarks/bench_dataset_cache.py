"""Dataset cache against loose files: opening and locating 100,000 images, and decoding one after the other.

Both sides hold the same JPEG bytes of 256 × 256 pixels. Opening: ours opens the index and learns where each image's
bytes lie in its shard; theirs lists the folders (100 images each) and opens each file. Reading: both read and
decode the same 1,000 images in random order, from warm caches of the system. `--images` makes it smaller.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from side_by_side import compare

from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import Cache, open_cache
from humanpose_cli.lab.cache.reading import TableFile
from humanpose_cli.lab.cache.samples import Group, Person, Sample, SourceInfo

SIDE, A_FOLDER, READ = 256, 100, 1000
DIFFERENT = 64  # images that really differ: making 100,000 would take longer than measuring


def photographs() -> list[bytes]:
    """JPEG bytes with the detail of photographs: 15 to 25 kilobytes each."""
    random = np.random.default_rng(0)
    encoded = []
    for _ in range(DIFFERENT):
        pixels = np.zeros((SIDE, SIDE, 3))
        for level in range(2, 9):
            coarse = random.normal(size=(2**level, 2**level, 3)) * 90 / 1.6**level
            pixels += cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        image = np.clip(pixels + 128, 0, 255).astype(np.uint8)
        encoded.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return encoded


@dataclass(frozen=True)
class Photographs:
    """Numbered images with one labelled person each."""

    count: int
    images: tuple[bytes, ...]

    @property
    def info(self) -> SourceInfo:
        return SourceInfo("photographs", {"count": self.count})

    def groups(self) -> Sequence[Group]:
        return [Group(f"{start:06d}", min(A_FOLDER, self.count - start)) for start in range(0, self.count, A_FOLDER)]

    def read(self, group: Group) -> Iterator[Sample]:
        for number in range(group.count):
            pose = np.full(72, number / 100, np.float32)
            people = (Person(identity="someone", box=np.array([10, 10, 200, 250]), poses=pose),)
            name = f"{group.name}/{number:03d}"
            image = self.images[(int(group.name) + number) % len(self.images)]
            yield Sample(name, image, (SIDE, SIDE), people=people, splits={"all": "train"})


def write_loose(source: Photographs, folder: Path) -> None:
    for group in source.groups():
        (folder / group.name).mkdir(parents=True)
        for sample in source.read(group):
            (folder / f"{sample.name}.jpg").write_bytes(sample.image)


def open_ours(folder: Path) -> int:
    """Open the cache and its shards, and read the index of all images."""
    return sum(len(TableFile(path, "shard").offsets("pictures/image")) - 1 for path in open_cache(folder).shard_paths)


def open_loose(folder: Path) -> int:
    """List the images and open each."""
    count = 0
    for subfolder in sorted(entry.path for entry in os.scandir(folder)):
        for path in sorted(entry.path for entry in os.scandir(subfolder)):
            os.close(os.open(path, os.O_RDONLY))
            count += 1
    return count


def list_loose(folder: Path) -> int:
    """List the images only."""
    return sum(1 for subfolder in os.scandir(folder) for _ in os.scandir(subfolder.path))


def decode_loose(paths: Sequence[Path]) -> None:
    for path in paths:
        decoded = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, decoded)


def decode_ours(cache: Cache, rows: Sequence[int]) -> None:
    for row in rows:
        cache.image(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    count = parser.parse_args().images
    cv2.setNumThreads(0)
    source = Photographs(count, tuple(photographs()))
    with tempfile.TemporaryDirectory() as temporary:
        ours, loose = Path(temporary) / "cache", Path(temporary) / "loose"
        start = time.perf_counter()
        build_cache(source, ours)
        seconds = time.perf_counter() - start
        write_loose(source, loose)
        size = sum(path.stat().st_size for path in ours.iterdir())
        line = {"name": "write", "images": count, "seconds": round(seconds, 2), "megabytes": round(size / 1e6, 1)}
        print(json.dumps({**line, "us_an_image": round(1e6 * seconds / count, 1)}), flush=True)
        compare(
            "open",
            lambda: len(open_cache(ours)),
            lambda: list_loose(loose),
            against=f"listing {count} loose files",
            reach=5.0,
            repeats=5,
        )
        compare(
            "open and locate",
            lambda: open_ours(ours),
            lambda: open_loose(loose),
            against=f"listing and opening {count} loose files",
            reach=5.0,
            repeats=5,
        )
        cache = open_cache(ours, max_open=1024)
        rows = np.random.default_rng(1).integers(0, count, READ).tolist()
        names = cache.images["name"][rows]
        paths = [loose / f"{name}.jpg" for name in names]
        compare(
            f"decode {READ} images",
            lambda: decode_ours(cache, rows),
            lambda: decode_loose(paths),
            against="loose files",
            reach=1.0,
            repeats=10,
        )
        compare(
            f"read {READ} samples with labels",
            lambda: [cache.sample(row) for row in rows],
            lambda: decode_loose(paths),
            against="decoding loose files without labels",
            reach=1.0,
            repeats=5,
        )
        people = len(cache.people["poses"])
        start = time.perf_counter()
        cache.people["poses"][:]
        line = {"name": "all poses", "people": people, "ms": round(1000 * (time.perf_counter() - start), 1)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
