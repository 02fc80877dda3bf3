"""Builds the wheel and the source distribution of the last commit, checks them, and tries the wheel as a user would.

    python tools/check_distributions.py                                  with the interpreter that runs it
    python tools/check_distributions.py python3.10 python3.14            with others
    python tools/check_distributions.py --out dist --tag v1.0.0          what a release uploads, with recent figures
    python tools/check_distributions.py --wheel-only                     the wheel alone, with pip: `make fresh`
    python tools/check_distributions.py --wheel-only --versions lowest   with the oldest packages that it allows

Both are built from the committed files alone, the wheel also from the source distribution: both wheels must hold the
same. Then `twine check --strict`, the limits of the package index, and for each interpreter a virtual environment in a
temporary folder: `pip install` of the wheel with the newest packages, `hpc doctor`, a fit and a reposed image of a
photograph, a fit of ten frames of a video and its export, and the import. Needs `pip install build twine`; pip's own
variables, such as PIP_EXTRA_INDEX_URL, hold for the environments too.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_WHEEL, MAX_SOURCE = 90 * 10**6, 100 * 10**6  # bytes; the package index takes files of 100 MB
MAX_AGE = 50  # commits since a figure of README.md was measured
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
DATA = ROOT / "humanpose_cli" / "cli" / "data"
PHOTO, CLIP = DATA / "astronaut.webp", DATA / "clip.mp4"
OUTPUTS = (
    *("fits/astronaut.webp.fit.npz", "fits/astronaut.webp.overlay.jpg", "fits/clip.mp4.fit.npz"),
    *("fits/clip.mp4.overlay.mp4", "reposed.png", "exports/clip.mp4.glb", "exports/clip.mp4.person0.bvh"),
)
IMPORT = "import humanpose_cli as hp; print(hp.__version__, hp.__file__); hp.load_fit('fits/astronaut.webp.fit.npz')"


def run(*line: str | Path, cwd: Path | None = None) -> str:
    """Print and run a command; return its standard output. Raises SystemExit if it fails."""
    arguments = [str(word) for word in line]
    print("+", *(word if len(word) < 100 else word[:97] + "…" for word in arguments), flush=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PIP_CONSTRAINT")}
    done = subprocess.run(
        arguments, cwd=cwd, env=environment, stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        print(done.stdout)
        raise SystemExit(f"exit code {done.returncode}: {' '.join(arguments)}")
    return done.stdout


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpacks a tar file into a new folder; the folder in it that holds everything."""
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data") if hasattr(tarfile, "data_filter") else file.extractall(folder)
    (found,) = folder.iterdir()
    return found


def checkout(scratch: Path) -> Path:
    """Write the files of HEAD to a new folder."""
    run("git", "archive", "--prefix=checkout/", f"--output={scratch / 'head.tar'}", "HEAD", cwd=ROOT)
    return unpacked(scratch / "head.tar", scratch / "head")


def build(out: Path, scratch: Path) -> tuple[Path, Path]:
    """Build wheel and source distribution of HEAD; exit if the wheel of the source distribution differs."""
    run(sys.executable, "-m", "build", "--sdist", "--wheel", "--outdir", out, checkout(scratch))
    (wheel,), (source,) = out.glob("*.whl"), out.glob("*.tar.gz")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", scratch / "again", unpacked(source, scratch / "source"))
    (rebuilt,) = (scratch / "again").glob("*.whl")
    if different := sorted(set(contents(wheel).items()) ^ set(contents(rebuilt).items())):
        raise SystemExit(f"the wheel of the source distribution differs: {sorted({name for name, _ in different})}")
    return wheel, source


def build_wheel(scratch: Path) -> Path:
    """Build the wheel of HEAD with the pip of a new environment."""
    run(sys.executable, "-m", "venv", scratch / "builder")
    pip = (scratch / "builder" / SCRIPTS / "python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", scratch / "dist", checkout(scratch))
    (wheel,) = (scratch / "dist").glob("*.whl")
    return wheel


def contents(wheel: Path) -> dict[str, int]:
    """Checksum of each file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist()}


def check_sizes(wheel: Path, source: Path) -> None:
    for path, limit in ((wheel, MAX_WHEEL), (source, MAX_SOURCE)):
        size = path.stat().st_size
        print(f"{path.name}: {size / 1e6:.1f} MB of {limit / 1e6:.0f}")
        if size > limit:
            raise SystemExit(f"{path.name}: has {size:,} bytes, expected at most {limit:,}")


def check_tag(tag: str, wheel: Path) -> None:
    """SystemExit unless tag, wheel and the newest version of the changelog are the same."""
    changelog = re.search(r"^## \[(\d[^\]]*)\] - ", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    found = {"tag": tag.removeprefix("v"), "wheel": wheel.name.split("-")[1], "changelog": changelog and changelog[1]}
    if len(set(found.values())) > 1 or not tag.startswith("v"):
        raise SystemExit(f"versions differ: {found}")


def check_figures(root: Path) -> None:
    """SystemExit if a figure of README.md was measured more than MAX_AGE commits before HEAD.

    Commits that a shallow clone lacks are not counted.
    """
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from figures import read_results, results_on

    old = []
    readme = (root / "README.md").read_text("utf-8")
    for result in results_on(readme, read_results(root / "benchmarks" / "results")):
        line = ["git", "-C", str(root), "rev-list", "--count", f"{result['commit']}..HEAD"]
        done = subprocess.run(line, capture_output=True, encoding="utf-8")
        if done.returncode:
            print(f"{result['benchmark']}: its age is unknown, {done.stderr.strip()}")
        elif int(done.stdout) > MAX_AGE:
            old.append(f"{result['benchmark']}, {int(done.stdout)}")
    if old:
        expected = f"expected at most {MAX_AGE}: python benchmarks/run.py measures again"
        raise SystemExit(f"README.md has figures of many commits ago: {'; '.join(old)}; {expected}")


def lowest_versions(wheel: Path) -> str:
    """Return constraints for the lowest versions of the wheel's requirements, without extras."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        about = archive.read(name).decode("utf-8")
    required = [line for line in re.findall(r"^Requires-Dist: (.*)$", about, re.MULTILINE) if "extra ==" not in line]
    bounds = [re.match(r"([\w.-]+)(?:\[.*\])?\s*(?:<[^,]*,)?>=([\w.]+)", line) for line in required]
    if None in bounds:
        raise SystemExit(f"{required[bounds.index(None)]}: has no lowest version")
    return "".join(f"{bound[1]}=={bound[2]}\n" for bound in bounds if bound)


def try_wheel(python: str, wheel: Path, folder: Path, versions: str = "newest", torch: str = "") -> None:
    """Install the wheel for an interpreter in a new folder, and use it there.

    versions  newest or lowest, of the packages that it requires
    torch     arguments with which pip installs torch before them
    """
    run(python, "-m", "venv", folder / "venv")
    inside, hpc = (folder / "venv" / SCRIPTS / name for name in ("python", "hpc"))
    pip: tuple[str | Path, ...] = (inside, "-m", "pip", "--disable-pip-version-check")
    install = (*pip, "install", "--progress-bar=off")  # its output is shown where it fails
    if versions == "lowest":
        (folder / "lowest.txt").write_text(lowest_versions(wheel), encoding="utf-8")
        install = (*install, "--only-binary=:all:", "--constraint", folder / "lowest.txt")
    if torch:
        run(*install, "--no-deps", *torch.split())
    run(*install, wheel)
    print(" ".join(run(*pip, "freeze").split("\n")))
    steps: list[tuple[str | Path, ...]] = [
        (hpc, "--version"),
        (hpc, "doctor"),
        (hpc, "fit", PHOTO, "--out", "fits"),
        (hpc, "repose", "--input", PHOTO, "--target-pose", "fits/astronaut.webp.fit.npz", "-o", "reposed.png"),
        (hpc, "fit", CLIP, "--frames", "0:10", "--out", "fits"),
        (hpc, "export", "fits/clip.mp4.fit.npz", "--format", "glb,bvh", "--out", "exports"),
        (inside, "-c", IMPORT),
    ]
    for step in steps:
        print(run(*step, cwd=folder))
    if missing := [name for name in OUTPUTS if not (folder / name).is_file() or not (folder / name).stat().st_size]:
        raise SystemExit(f"{python}: {', '.join(missing)} was not written")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*", default=[sys.executable], metavar="PYTHON", help="interpreters to try")
    parser.add_argument("--out", type=Path, help="an empty folder for wheel and source distribution, which are kept")
    parser.add_argument("--tag", help="the tag of a release, such as v1.0.0")
    parser.add_argument("--wheel", type=Path, help="try this wheel; build and check nothing")
    parser.add_argument("--wheel-only", action="store_true", help="build the wheel alone, with pip; check nothing else")
    parser.add_argument("--versions", choices=("newest", "lowest"), default="newest", help="of the required packages")
    parser.add_argument("--torch", default="", help='what pip installs first, such as "--index-url URL torch"')
    arguments = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # Windows' code pages lack letters
    if arguments.tag:
        check_figures(ROOT)
    with tempfile.TemporaryDirectory(prefix="distributions-") as name:
        scratch = Path(name).resolve()
        wheel = build_wheel(scratch) if arguments.wheel_only else arguments.wheel
        if wheel is None:
            wheel, source = build(arguments.out or scratch / "dist", scratch)
            run(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
            check_sizes(wheel, source)
            if arguments.tag:
                check_tag(arguments.tag, wheel)
        for number, python in enumerate(arguments.pythons):
            (scratch / f"user{number}").mkdir()
            try_wheel(python, wheel.resolve(), scratch / f"user{number}", arguments.versions, arguments.torch)


if __name__ == "__main__":
    main()
