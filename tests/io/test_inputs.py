"""From arguments to items: files, folders, globs, lists, sequences, and everything odd that lies around in folders."""

import io
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises
from PIL import Image

from humanpose_cli.batch.items import item_of
from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.files.digests import digest_of_files
from humanpose_cli.io.frame_range import FrameRange, parse_frame_range
from humanpose_cli.io.image_sequences import check_sequence, natural_order
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.video import VideoWriter
from humanpose_cli.outputs.desk import fingerprint


def image(path: Path, size=(8, 6), value=0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).save(path, exif=exif_with_focal() if path.suffix == ".jpg" else b"")
    return path


def exif_with_focal() -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 36
    return exif


def make(folder: Path, *names: str) -> list[Path]:
    return [image(folder / name) for name in names]


def keys(*arguments, **options) -> list[str]:
    return [item.key for item in open_inputs(arguments, **options)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


class TestArguments:
    def test_one_file(self, folder):
        path = image(folder / "a b 'ü'.jpg")
        (item,) = open_inputs([path])
        assert (item.key, item.kind, item.files, item.root) == ("a b 'ü'.jpg", "image", (path,), folder)
        assert (item.is_sequence, item.frame_count, item.frame_rate) == (False, 1, None)
        (frame,) = item.frames()
        assert (frame.index, frame.name, frame.size) == (0, "a b 'ü'.jpg", (8, 6))
        assert frame.focal == pytest.approx(36 * 10 / np.hypot(36, 24))

    def test_relative_and_absolute_names_of_one_file_are_one_item(self, folder):
        path = image(folder / "a.jpg")
        assert keys("in/a.jpg", path, "./in/../in/a.jpg", folder) == ["a.jpg"]

    def test_a_folder_mirrors_its_tree_in_natural_order(self, folder):
        make(folder, "b/10.jpg", "b/9.png", "a.webp", "b/deep/x.jpg", "B.JPG")
        assert keys(folder) == ["B.JPG", "a.webp", "b/9.png", "b/10.jpg", "b/deep/x.jpg"]

    def test_several_arguments_share_one_root(self, folder):
        make(folder, "s1/img_1.jpg", "s2/img_1.jpg", "t/img_1.jpg")
        inputs = open_inputs([folder / "s1", folder / "s2", folder / "t" / "img_1.jpg"])
        assert [item.key for item in inputs] == ["s1/img_1.jpg", "s2/img_1.jpg", "t/img_1.jpg"]
        assert inputs.root == folder

    def test_globs_are_relative_to_their_fixed_part(self, folder):
        make(folder, "a.jpg", "x/b.jpg", "x/y/c.jpg", "x/y/c.png", "shot[1].jpg", "shot1.jpg")
        (folder / "x/notes.txt").write_text("")
        assert keys("in/**/[a-c].jpg") == ["a.jpg", "x/b.jpg", "x/y/c.jpg"]
        assert keys(f"{folder}/x/*") == ["b.jpg", "y/c.jpg", "y/c.png"]
        assert keys("in/**") == ["a.jpg", "shot1.jpg", "shot[1].jpg", "x/b.jpg", "x/y/c.jpg", "x/y/c.png"]
        assert any("1 other file" in message for message in open_inputs(["in/**"]).messages)
        assert keys("in/shot[1].jpg") == ["shot[1].jpg"]  # the name of a file

    @pytest.mark.parametrize(
        "content",
        [b"in/a.jpg\r\nin/b c.jpg\n\n", b"in/a.jpg\0in/b c.jpg\0", b"\xef\xbb\xbfin/a.jpg\n \t\r\nin/b c.jpg"],
    )
    def test_a_list_on_stdin(self, folder, content):
        make(folder, "a.jpg", "b c.jpg", "a\nb.jpg")
        for stdin in (io.BytesIO(content), io.TextIOWrapper(io.BytesIO(content)), io.StringIO(content.decode())):
            assert keys("-", stdin=stdin) == ["a.jpg", "b c.jpg"]
        assert keys("-", stdin=io.BytesIO(b"in/a\nb.jpg\0")) == ["a\nb.jpg"]

    @pytest.mark.posix("needs POSIX pipes")
    def test_what_has_no_end_is_refused(self, folder):
        os.mkfifo(folder / "pipe.jpg")
        for name in ("in/pipe.jpg", os.devnull):
            with raises(InputError, problem="is a device or a pipe"):
                open_inputs([name])

    def test_empty_lists(self, folder):
        with raises(InputError, subject="stdin"):
            open_inputs(["-"], io.BytesIO(b"\n\n"))
        for arguments in (["-"], [], [""]):
            with pytest.raises(UsageError):
                open_inputs(arguments)


class TestTrouble:
    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            *((name, "does not exist") for name in ("no.jpg", "no/", "no/f_%d.png")),
            *((name, "matches no file") for name in ("no*.jpg", "f_%04d.png")),
            ("https://x.org/a.jpg?w=1", "^https://x.org/a.jpg.w=1: is an address, .* download it first"),
        ],
    )
    def test_a_sole_missing_argument_is_raised(self, folder, argument, message):
        with pytest.raises(InputError, match=message):
            open_inputs([argument])

    def test_an_empty_folder_and_a_folder_of_other_things(self, folder):
        with raises(InputError, got="an empty folder"):
            open_inputs([folder])
        (folder / "notes.txt").write_text("x")
        with raises(InputError, got="1 other file"):
            open_inputs([folder])
        for number in range(12):
            (folder / f"{2 * number}.jpg").touch()
        with raises(InputError, problem="holds 12 images that are empty files"):
            open_inputs([folder])

    def test_of_several_arguments_the_good_ones_remain(self, folder):
        image(folder / "a.jpg")
        (folder / "empty").mkdir()
        inputs = open_inputs(["in/a.jpg", "in/no.jpg", folder / "empty", "in/z*.png"])
        assert [item.error is None for item in inputs] == [True, False, False, False]
        for item in inputs[1:]:
            with pytest.raises(InputError):
                next(item.frames())
        assert len(list(inputs[0].frames())) == 1

    def test_a_text_file_named_jpg_fails_when_it_is_read(self, folder):
        image(folder / "a.jpg")
        (folder / "t.jpg").write_text("hello")
        good, bad = open_inputs([folder])
        assert len(list(good.frames())) == 1
        with raises(InputError, subject="t.jpg", got="text"):
            list(bad.frames())

    @pytest.mark.posix("makes symbolic links")
    def test_a_broken_link(self, folder):
        (folder / "l.jpg").symlink_to("nowhere.jpg")
        with raises(InputError, problem="link to nothing"):
            open_inputs(["in/l.jpg"])

    @pytest.mark.posix("needs POSIX pipes")
    def test_links_to_themselves_pipes_and_devices_in_a_folder_fail_alone(self, folder):
        image(folder / "a.jpg")
        (folder / "self.jpg").symlink_to("self.jpg")
        (folder / "zero.jpg").symlink_to("/dev/zero")
        (folder / "self").symlink_to("self")
        os.mkfifo(folder / "pipe.jpg")
        os.mkfifo(folder / "pipe.mp4")
        items = {item.key: item for item in open_inputs([folder])}
        assert len(list(items.pop("a.jpg").frames())) == 1
        assert set(items) == {"self.jpg", "zero.jpg", "pipe.jpg", "pipe.mp4"}
        for item in items.values():
            with pytest.raises(InputError, match=r"device or a pipe|cannot be read"):
                list(item.frames())
            with pytest.raises(InputError, match=r"device or a pipe|cannot be opened|cannot be read"):
                fingerprint(item_of(item)), digest_of_files(item_of(item).files)

    @pytest.mark.posix("makes symbolic links")
    def test_links_to_folders_are_followed_once(self, folder):
        image(folder / "a" / "x.jpg")
        (folder / "a" / "loop").symlink_to(folder)
        (folder / "b").symlink_to(folder / "a")
        assert keys(folder) == ["a/x.jpg"]

    def test_hidden_files_and_foreign_folders_are_passed_over(self, folder):
        make(folder, "a.jpg", ".hidden.jpg", "._a.jpg", ".git/x.jpg", "__MACOSX/a.jpg", "hpc-out/fit/a.jpg")
        (folder / ".b.jpg.12ab.partial").write_bytes(b"half")
        assert (keys(folder), open_inputs([folder]).messages) == (["a.jpg"], ())
        assert keys("in/.hidden.jpg") == [".hidden.jpg"]
        assert keys("in/hpc-out") == ["fit/a.jpg"]

    @pytest.mark.parametrize("name", ["@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot"])
    def test_thumbnails_and_deleted_files_of_network_drives_are_passed_over(self, folder, name):
        make(folder, "a.jpg", f"{name}/a.jpg", "sub/b.jpg", f"sub/{name}/b.jpg/thumbnail.jpg")
        for argument in (folder, "in/**/*.jpg", "in/*"):
            assert keys(argument) == ["a.jpg", "sub/b.jpg"]
        assert keys(f"in/{name}") == ["a.jpg"]

    def test_results_may_lie_beside_the_images(self, folder):
        make(folder, "a.jpg", "a.jpg.overlay.jpg", "new.jpg", "hpc-out/repose/b.jpg")
        ours = {"exclude": ["in", "in/new.jpg"], "output_suffixes": [".overlay.jpg"]}
        for argument in ("in", "in/*.jpg", "in/**/*.jpg"):
            assert keys(argument, **ours) == ["a.jpg"]
        assert keys("in/hpc-out/*/*.jpg", **ours) == ["repose/b.jpg"]
        with raises(InputError, problem="names no image and no video"):
            open_inputs(["in/new*"], **ours)

    @pytest.mark.parametrize("on_stdin", [False, True])
    def test_results_in_a_list_are_passed_over_and_counted(self, folder, on_stdin):
        names = [str(path) for path in make(folder, "a.jpg", "a.jpg.overlay.jpg", "new.jpg")]
        source = {"arguments": ["-"], "stdin": io.StringIO("\n".join(names))}
        ours = {"exclude": ["in", "in/new.jpg"], "output_suffixes": [".overlay.jpg"]}
        found = open_inputs(**(source if on_stdin else {"arguments": [], "listed": names}), **ours)
        assert [item.key for item in found] == ["a.jpg"]
        assert found.messages == ("2 results of earlier runs left out",)
        assert keys(names[1], output_suffixes=[".overlay.jpg"]) == ["a.jpg.overlay.jpg"]

    def test_two_names_of_one_normal_form_are_two_items_and_one_is_nfc(self, folder):
        composed, decomposed = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
        make(folder, decomposed)
        assert keys(folder) == [composed]
        make(folder, composed)
        if len(os.listdir(folder)) == 1:
            pytest.skip("this file system holds one of them only")
        assert sorted(keys(folder)) == sorted([composed, decomposed])

    def test_names_that_are_no_utf8_stay_printable_and_may_collide(self, folder):
        try:
            os.rename(image(folder / "x.jpg"), os.path.join(os.fsencode(folder), b"\xff.jpg"))
        except OSError:
            pytest.skip("this file system takes UTF-8 only")
        (item,) = open_inputs([folder])
        assert item.key.encode("utf-8") == b"\\xff.jpg"
        assert len(list(item.frames())) == 1
        image(folder / "\\xff.jpg")
        with raises(UsageError, problem="same files"):
            open_inputs([folder])


class TestSequences:
    def series(self, folder, numbers, size=(8, 6), pattern="f_{:04d}.png"):
        return [image(folder / pattern.format(n), size, value=n % 256) for n in numbers]

    def test_consecutive_numbers_and_one_size(self, folder):
        files = self.series(folder / "shot", range(8, 13), pattern="f_{}.png")
        inputs = open_inputs([folder / "shot"])
        (item,) = inputs
        assert (item.key, item.kind, item.files) == ("shot", "frames", tuple(files))
        assert item.is_sequence
        assert any("one sequence" in message and "8 to 12" in message for message in inputs.messages)
        frames = list(item.frames())
        assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
        assert [frame.name for frame in frames] == [file.name for file in files]
        assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [8, 9, 10, 11, 12]

    def test_a_numbered_pattern_is_one_sequence(self, folder):
        """As FFmpeg names frames; numbers may be missing, sizes differ, and other files lie beside them."""
        files = [*self.series(folder, [9, 10, 12]), image(folder / "f_10000.png", (6, 8))]
        self.series(folder, [9, 10], pattern="{}.png")
        image(folder / "f_0011.jpg")
        image(folder / "f_7.png")
        (item,) = inputs = open_inputs([folder / "f_%04d.png"], frames=FrameRange(10, 13))
        assert (item.key, item.kind, item.files) == ("f.png", "frames", tuple(files))
        assert [(frame.name, frame.number) for frame in item.frames()] == [("f_0010.png", 10), ("f_0012.png", 12)]
        for pattern in ("f_####.png", "f_@@@@.png", "f_#.png"):  # as compositing programs write them
            assert open_inputs([folder / pattern])[0].files == item.files
        (part,) = open_inputs([folder / "f_10-100#.png"])
        assert [frame.number for frame in part.frames()] == [10, 12]
        assert any("numbered pattern" in message for message in inputs.messages)
        (unnamed,) = open_inputs([folder / "%d.png"])
        assert (unnamed.path.name, unnamed.key) == ("%d.png", f"{folder.name}.png")
        assert keys(folder / "f_%04d.png", folder / "f_%05d.png") == ["f_0009.png", "f_10000.png"]
        assert len(open_inputs([folder / "f_%d.png"])[0].files) == 5
        assert keys(folder / "%d.png", sequence=False) == ["9.png", "10.png"]

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["a_1.png", "a_3.png"], "with gaps in their numbers"),
            (["a_1.png", "b_2.png"], "no numbered series"),
            (["a_1.png", "a_2.bmp"], "no numbered series"),
            (["2024-01-01_10-01.png", "2024-01-02_10-02.png"], "no numbered series"),
            (["a_1.png", "a_01.png", "a_2.png"], "with a number that occurs twice"),
            (["face.png", "hand.png"], "no numbered series"),
            (["a_1.png"], "without a second one"),
        ],
    )
    def test_what_is_no_sequence_and_why(self, folder, names, message):
        verdict = check_sequence(make(folder, *names))
        assert (verdict.is_sequence, message in verdict.reason) == (False, True)

    @pytest.mark.parametrize(
        ("names", "pattern"),
        [
            (["f_0001.png", "f_0003.png"], "f_%04d.png"),
            (["9.png", "12.png"], "%d.png"),
            (["a2_1.png", "a2_10.png"], "a2_%d.png"),
            (["a_08.png", "a_112.png"], "a_%02d.png"),
        ],
    )
    def test_images_with_gaps_in_their_numbers_name_the_pattern_that_makes_them_one_sequence(
        self, folder, names, pattern
    ):
        make(folder, *names)
        inputs = open_inputs(["in"])
        remedy = f"(in/{pattern} makes them one sequence)"
        assert inputs.messages == (f"in: 2 images with gaps in their numbers, each taken on its own {remedy}",)
        (item,) = open_inputs([f"in/{pattern}"])
        assert [path.name for path in item.files] == names

    @pytest.mark.parametrize(
        "pattern", ["{}.png", "shot01_v2_{:04d}.png", "{:03d}_v2_4k.png", "a.{:05d}.png", "{} x.png"]
    )
    def test_the_number_that_runs_may_stand_anywhere(self, folder, pattern):
        assert check_sequence(self.series(folder, range(8, 12), pattern=pattern)).is_sequence

    def test_different_sizes(self, folder):
        self.series(folder, [1, 2])
        image(folder / "f_0003.png", (9, 6))
        inputs = open_inputs([folder])
        assert [item.kind for item in inputs] == ["image"] * 3
        assert any("each taken on its own" in message and "8 × 6, 9 × 6" in message for message in inputs.messages)

    def test_upright_sizes_count(self, folder):
        self.series(folder, [1])
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (6, 8)).save(folder / "f_0002.png", exif=exif)
        assert open_inputs([folder])[0].kind == "frames"

    def test_a_damaged_frame_does_not_decide_but_is_reported_in_its_turn(self, folder):
        self.series(folder, range(4))
        (folder / "f_0002.png").write_text("oops")
        (item,) = open_inputs([folder])
        frames = item.frames()
        assert [next(frames).index, next(frames).index] == [0, 1]
        with raises(InputError, subject="f_0002"):
            next(frames)

    def test_the_choice_can_be_overridden(self, folder):
        self.series(folder, [1, 2, 3])
        assert open_inputs([folder], sequence=False).messages == ()  # which tell what was chosen: this was not
        assert keys(folder, sequence=False) == ["f_0001.png", "f_0002.png", "f_0003.png"]
        image(folder / "odd.png", (5, 5))
        (item,) = open_inputs([folder], sequence=True)
        assert (item.key, item.kind, len(item.files)) == ("in", "frames", 4)

    def test_files_named_one_by_one_are_independent_by_default(self, folder):
        files = self.series(folder, [1, 2, 10])
        assert [item.kind for item in open_inputs(files)] == ["image"] * 3
        for arguments in ([files[2], files[0], files[1]], ["in/*.png"]):
            (item,) = open_inputs(arguments, sequence=True)
            assert (item.key, item.files) == ("in", tuple(files))

    def test_each_folder_decides_for_itself(self, folder):
        self.series(folder / "a", range(3))
        make(folder, "b/x.png", "b/y.png")
        kinds = {item.key: item.kind for item in open_inputs([folder])}
        assert kinds == {"a": "frames", "b/x.png": "image", "b/y.png": "image"}

    def test_ranges_are_numbers_of_the_names_and_gaps_stay(self, folder):
        """Few numbers may be missing, as frames that a renderer has not made."""
        self.series(folder, [*range(1001, 1010), *range(1011, 1025)])
        (item,) = inputs = open_inputs([folder], frames=parse_frame_range("1008:1013"))
        assert [(frame.index, frame.number) for frame in item.frames()] == [(7, 1008), (8, 1009), (9, 1011), (10, 1012)]
        assert inputs.messages[0].endswith("numbers 1001 to 1024 without 1010")
        assert [frame.number for frame in open_inputs([folder], frames=FrameRange(-2))[0].frames()] == [1023, 1024]
        with raises(UsageError, expected="some of 1001:1025"):
            open_inputs([folder], frames=FrameRange(0, 30))

    def test_a_range_means_nothing_to_single_images_and_is_reported(self, folder):
        inputs = open_inputs([image(folder / "a.jpg")], frames=FrameRange(3))
        assert len(list(inputs[0].frames())) == 1
        assert any("there are only images" in message for message in inputs.messages)

    def test_many_folders_give_few_messages(self, folder):
        for i in range(30):
            self.series(folder / f"s{i}", range(2))
        inputs = open_inputs([folder])
        assert (len(inputs), len(inputs.messages)) == (30, 11)
        assert "20 more" in inputs.messages[-1]


@pytest.fixture
def video(folder):
    """Frames of grey levels 20 n, at 10 frames a second."""
    with VideoWriter(folder / "clip.mp4", 10) as writer:
        for i in range(10):
            writer.write(np.full((16, 16, 3), 20 * i, np.uint8))
    return folder / "clip.mp4"


def test_frames_of_videos_beside_images_and_without_a_registered_name(video):
    make(video.parent, "a.jpg")
    video.with_name("b.data").write_bytes(video.read_bytes())
    assert [(i.key, i.kind) for i in open_inputs([video.parent])] == [("a.jpg", "image"), ("clip.mp4", "video")]
    for name in ("clip.mp4", "b.data"):
        (item,) = open_inputs([video.with_name(name)])
        assert (item.key, item.kind, item.frame_rate, item.frame_count) == (name, "video", 10, 10)
        frames = list(item.frames())
        assert [(frame.index, frame.name) for frame in frames] == [(i, f"{i:06d}") for i in range(10)]
        assert [round(frame.pixels.mean() / 20) for frame in frames] == list(range(10))


def test_natural_order_is_total_and_counts():
    names = ["img10", "img9", "img09", "Img1", "img", "img1a", "img1b", "2", "10"]
    expected = ["2", "10", "Img1", "img", "img1a", "img1b", "img09", "img9", "img10"]
    assert sorted(names, key=natural_order) == expected


def test_photographs_that_cannot_be_read_are_items_and_the_rest_is_named_by_ending(tmp_path):
    image(tmp_path / "a.jpg")
    heic, jxl = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", b"\xff\x0a" + bytes(40)
    unread = {"b.HEIC": heic, "c.dng": b"raw", "d.jxl": jxl, "e.cr3": b"raw"}
    for name, content in unread.items():
        (tmp_path / name).write_bytes(content)
    for name in ("notes.txt", "more.txt", "page.pdf", "LICENSE", "script.ts"):
        (tmp_path / name).write_text("let a = 1")
    inputs = open_inputs([tmp_path])
    assert [item.key for item in inputs] == ["a.jpg", *unread]
    assert any("5 other files (2 .txt, 1 " in message for message in inputs.messages)
    assert all(part in inputs.messages[-1] for part in ("1 .pdf", "1 .ts", "1 without an ending"))
    for item in inputs[1:]:
        with pytest.raises(InputError, match=r"HEIC|raw file|JPEG XL|damaged"):
            next(item.frames())
    assert keys(str(tmp_path / "*.dng")) == ["c.dng"]


@pytest.mark.parametrize(
    ("text", "expected", "rate"),
    [
        ("2:5", [2, 3, 4], 10.0),
        ("-3:", [7, 8, 9], 10.0),
        (":-8", [0, 1], 10.0),
        ("0.2s:0.5s", [2, 3, 4], 10.0),
        (".75s:", [8, 9], 10.0),
        ("0.2s:-1:3", [2, 5, 8], 10 / 3),
        ("-99::4", [0, 4, 8], 2.5),
    ],
)
def test_ranges_from_the_end_in_seconds_and_with_steps(video, text, expected, rate):
    (item,) = open_inputs([video], frames=parse_frame_range(text))
    frames = list(item.frames())
    assert [frame.index for frame in frames] == expected
    times = [float(frame.time - frames[0].time) for frame in frames]
    np.testing.assert_allclose(times, np.subtract(expected, expected[0]) / 10)
    assert (item.frame_count, item.frame_rate) == (len(expected), pytest.approx(rate))
    assert parse_frame_range(str(item.range)) == item.range
    assert item.range.is_resolved


def test_ranges_without_a_frame_or_without_times(tmp_path):
    images = make(tmp_path, "0.png", "1.png", "2.png")
    for text, problem in (("0.5s:", "no times"), ("-9:-5", "holds no frame")):
        with raises(UsageError, problem=problem):
            open_inputs(images, sequence=True, frames=parse_frame_range(text))
    (item,) = open_inputs([tmp_path], sequence=True, frames=parse_frame_range("0.5s:"), rate=2)
    assert [frame.index for frame in item.frames()] == [1, 2]


def test_a_long_list_of_which_nothing_exists_is_one_error(tmp_path):
    names = [str(tmp_path / f"{number}.jpg") for number in range(1001)]
    with raises(InputError, subject="0.jpg", problem="does not exist, nor do the other 1,000 files of the list"):
        open_inputs(["-"], io.StringIO("\n".join(names)))
    Path(names[5]).touch()
    inputs = open_inputs([], listed=names)
    assert len(inputs) == 1001


@pytest.mark.parametrize(
    ("written", "exact"), [(23.976, 24000 / 1001), (23.98, 24000 / 1001), (29.97, 30000 / 1001), (24, 24), (25, 25)]
)
def test_rates_of_film_are_exact(tmp_path, written, exact):
    (item,) = open_inputs(make(tmp_path, "f1.png", "f2.png"), sequence=True, rate=written)
    assert item.frame_rate == exact
