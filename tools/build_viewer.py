"""Builds humanpose_cli/exporting/data/three.js.gz: the parts of three.js that the page of `hpc view` needs.

    python tools/build_viewer.py

Takes the packages of the versions below from npm, which must be installed, bundles and minifies them with esbuild, and
takes some seconds. The same versions give the same bytes.
"""

from __future__ import annotations

import gzip
import subprocess
import tempfile
from pathlib import Path

THREE, ESBUILD = "three@0.187.0", "esbuild@0.28.2"
OUTPUT = Path(__file__).resolve().parents[1] / "humanpose_cli" / "export" / "data" / "three.js.gz"
ENTRY = """
export {AnimationMixer, BufferGeometry, CanvasTexture, Color, CustomBlending, DirectionalLight, GridHelper, Group,
  HemisphereLight, Line, LineBasicMaterial, Mesh, MeshBasicMaterial, OneFactor, PerspectiveCamera, PlaneGeometry,
  Points, PointsMaterial, Scene, Vector3, WebGLRenderer} from "three";
export {GLTFLoader} from "three/addons/loaders/GLTFLoader.js";
export {OrbitControls} from "three/addons/controls/OrbitControls.js";
"""
LICENCE = b"/* three.js, Copyright 2010-2026 three.js authors, MIT License: https://github.com/mrdoob/three.js */\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "entry.js").write_text(ENTRY, encoding="utf-8")
        subprocess.run(["npm", "install", "--no-save", "--prefix", folder, THREE, ESBUILD], check=True)
        bundle = ["--bundle", "--minify", "--format=iife", "--global-name=THREE", "--outfile=out.js"]
        subprocess.run(["npx", "esbuild", "entry.js", *bundle], cwd=folder, check=True)
        script = Path(folder, "out.js").read_bytes()
    OUTPUT.write_bytes(gzip.compress(LICENCE + script, 9, mtime=0))
    print(f"{OUTPUT.name}: {len(script)} bytes, {OUTPUT.stat().st_size} packed")


if __name__ == "__main__":
    main()
