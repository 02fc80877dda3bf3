"""Files that a command cannot read are refused before torch, a network or a detector is loaded, with a remedy."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

_HEAVY = ("torch", "onnxruntime", "mediapipe", "warp", "matplotlib")
# Runs several command lines, for interpreters take longer to start than commands to refuse: codes, errors, and what
# was imported.
_RUN = """
import contextlib, io, json, sys
from humanpose_cli.cli.main import main
ran = []
for line in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main([*line, "--json"])
    ran.append((code, json.loads(out.getvalue())["messages"], [name for name in HEAVY if name in sys.modules]))
print(json.dumps(ran))
"""

IMAGES = "expected a JPEG, PNG, WebP, TIFF, BMP, AVIF, OpenEXR or DPX image, or a video, found"
FITS = "holds no fits, expected"
CACHE = "is no dataset cache, expected a folder with index.h5"
HEIC = "is a damaged image" if find_spec("pi_heif") else "is a HEIC image, which needs an extra; pip install"
WRONG = {
    "fit notes.txt": ("notes.txt: is not an image that can be read, " + IMAGES + " text; hpc fit --items notes.txt", 3),
    "fit letter.docx": (IMAGES + " a ZIP archive", 3),
    "fit photo.jpg.fit.npz": ("hpc view photo.jpg.fit.npz shows this fit", 3),
    "fit pose.npy": ("hpc repose photo.jpg pose.npy reads it, if it is a pose", 3),
    "fit phone.heic": (HEIC, 3),
    "fit photo.jpg --weights photo.jpg": ("photo.jpg: holds no weights, expected a file or a run's folder", 3),
    "repose notes.txt pose.npy": (IMAGES + " text", 3),
    "repose --input photo.jpg --target-pose letter.docx": (
        "letter.docx: is not a target pose, expected a pose file (.bvh, .joblib, .npy, .npz, .pkl, .pt, .pth), an "
        "image or a video, found a ZIP",
        3,
    ),
    "fit photo.jpg --weights photos": ("photos: ", 3),
    "fit photo.jpg --set network.segmenter=absent": ("absent: ", 3),
    "repose photo.jpg five.npy": ("five.npy: ", 3),
    "repose photo.jpg photo.jpg.fit.npz": ("photo.jpg.fit.npz: ", 3),
    "refine photo.jpg": (FITS, 3),
    "refine photo.jpg.fit.npz": ("is no .npz file, found a truncated or damaged archive", 3),
    "refine photo.jpg --frames photo.jpg": ("found an image; hpc fit photo.jpg makes its fit file", 3),
    "refine photo.jpg.fit.npz --frames notes.txt": (IMAGES + " text", 3),
    "refine photo.jpg.fit.npz --frames photo.jpg --weights notes.txt": ("notes.txt: holds no weights", 3),
    "repose photo.jpg pose.npy --fit notes.txt": ("notes.txt: " + FITS, 3),
    "export photo.jpg.fit.npz --frames letter.docx": (IMAGES + " a ZIP archive", 3),
    "view photo.jpg.fit.npz --frames notes.txt": (IMAGES + " text", 3),
    "export photo.jpg": ("found an image; hpc fit photo.jpg makes its fit file, photo.jpg.fit.npz", 3),
    "export notes.txt photo.jpg": (FITS, 3),
    "view photos": ("photos: holds no fits, expected fit files in it, or results of", 3),
    "cache photo.jpg": (CACHE + ", found an image; hpc preprocess images FOLDER --out CACHE", 3),
    "train nbf --data photo.jpg": (CACHE + ", found an image", 3),
    "train nbf --data photos": (CACHE + "; hpc preprocess images FOLDER", 3),
    "evaluate fit --data photo.jpg": (CACHE + ", found an image", 3),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Exit code, messages and heavy imports of each line, all in one process."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "photos").mkdir()
    for name in ("photo.jpg", "photos/a.jpg"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("hello\n")
    (folder / "letter.docx").write_bytes(b"PK\3\4" + bytes(20))
    (folder / "photo.jpg.fit.npz").write_bytes(b"PK\3\4" + bytes(20))
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    np.save(folder / "five.npy", np.zeros((5, 3), np.float32))
    np.save(folder / "pose.npy", np.zeros((24, 3), np.float32))
    process = subprocess.run(
        [sys.executable, "-c", _RUN.replace("HEAVY", repr(_HEAVY))],
        input=json.dumps([line.split() for line in WRONG]),
        capture_output=True,
        text=True,
        cwd=folder,
        check=True,
    )
    assert not list(folder.glob("hpc-out/**/*.jsonl"))
    return dict(zip(WRONG, json.loads(process.stdout), strict=True))


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_file_is_refused_before_anything_heavy_is_imported(ran, line):
    sentence, expected = WRONG[line]
    code, messages, imported = ran[line]
    assert (code, imported) == (expected, [])
    assert len(messages) == 1
    assert sentence in messages[0]


@pytest.mark.slow
def test_no_network_is_loaded_where_no_input_can_be_read(tmp_path):
    """Each of several wrong files is reported, and none of them needs the detector."""
    script = _RUN.replace("HEAVY", repr(("onnxruntime", "mediapipe")))
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4")
    lines = [["fit", "a.txt", "b.pdf"]]
    command = [sys.executable, "-c", script]
    process = subprocess.run(command, input=json.dumps(lines), capture_output=True, text=True, cwd=tmp_path, check=True)
    assert [(code, imported) for code, _, imported in json.loads(process.stdout)] == [(3, [])]
