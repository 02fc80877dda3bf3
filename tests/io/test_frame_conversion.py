"""Frames of videos as images: tone-mapped, deinterlaced and of one size; sequences of images of several sizes."""

import logging
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from helpers.encoded_videos import encode, rgb

from humanpose_cli.io import video as video_module
from humanpose_cli.io.frame_conversion import fitted_into
from humanpose_cli.io.frame_range import FrameRange
from humanpose_cli.io.images import write_image
from humanpose_cli.io.inputs import open_inputs
from humanpose_cli.io.video import VideoReader, probe_video

COUNT = 6
LEFT, RIGHT = (200, 60, 40), (40, 90, 180)


def halves(height: int, width: int) -> np.ndarray:
    pixels = np.full((height, width, 3), RIGHT, np.uint8)
    pixels[:, : width // 2] = LEFT
    return pixels


@pytest.fixture(autouse=True)
def log_everything(caplog):
    with caplog.at_level(logging.INFO, "humanpose_cli"):
        yield


def notes_of(caplog, path) -> list[str]:
    return [record.getMessage() for record in caplog.records if path.name in record.getMessage()]


class TestHdr:
    """Signals of one colour, against what BT.2100 says of their light."""

    @staticmethod
    def read_back(path, signal, transfer, primaries=ColorPrimaries.BT2020) -> np.ndarray:
        """What is read in the middle of a video of this RGB signal, 0 … 1."""

        def prepare(pixels, stream):
            context = stream.codec_context
            context.color_trc, context.color_primaries = transfer, primaries
            context.colorspace, context.color_range = Colorspace.BT2020, ColorRange.MPEG
            return av.VideoFrame.from_ndarray(pixels, format="rgb48le").reformat(
                format="yuv444p10le",
                dst_colorspace=Colorspace.BT2020,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.MPEG,
            )

        pixels = np.full((48, 64, 3), np.round(np.array(signal) * 65535), np.uint16)
        encode(path, [pixels], "ffv1", pixel_format="yuv444p10le", prepare=prepare)
        ((_, image),) = VideoReader(path)
        assert image.std((0, 1)).max() < 1
        return image[24, 32].astype(int)

    @pytest.mark.extensive
    @pytest.mark.parametrize(
        ("name", "signal", "expected"),
        [
            # s² / 3 of scene light, to the power 1.2, on a display of 1,000 cd/m²: 29.7 are 255 · .297^(1 / 2.4)
            *(("HLG", signal, expected) for signal, expected in ((0.4, 154), (0.2, 77), (0.0, 0))),
            ("HLG", 0.75, 245),  # the white of 203 cd/m² by BT.2408, .6 + .4 · 3.58 / 4.58 after compression
            ("HLG", (0.4, 0.1, 0.1), (170, 0, 38)),  # a red that BT.709 has not
            *(("PQ", signal, expected) for signal, expected in ((0.508, 190), (0.3, 73), (1, 255))),  # 100, 10 of 203
        ],
    )
    def test_light_is_mapped_to_bt709(self, tmp_path, caplog, name, signal, expected):
        path = tmp_path / "x.mkv"
        transfer = ColorTrc.ARIB_STD_B67 if name == "HLG" else ColorTrc.SMPTE2084
        found = self.read_back(path, np.broadcast_to(signal, 3), transfer)
        assert np.abs(found - expected).max() <= 3
        assert notes_of(caplog, path) == [f"{path}: HDR ({name}), mapped to the colours of BT.709"]

    def test_wide_colours_without_hdr_change_their_primaries_alone(self, tmp_path):
        grey = self.read_back(tmp_path / "grey.mkv", (0.5, 0.5, 0.5), ColorTrc.BT709)
        assert np.abs(grey - 127).max() <= 2
        red = self.read_back(tmp_path / "red.mkv", (0.6, 0.4, 0.4), ColorTrc.BT709) / 255
        assert (red[0] > 0.62, red[1] < 0.38) == (True, True)

    def test_other_videos_are_not_touched(self, tmp_path, caplog):
        found = self.read_back(tmp_path / "x.mkv", (0.4, 0.2, 0.2), ColorTrc.BT709, ColorPrimaries.BT709)
        assert np.abs(found - (102, 51, 51)).max() <= 2
        assert not notes_of(caplog, tmp_path / "x.mkv")


def bar(at: int) -> np.ndarray:
    """A white bar on grey, left edge at `at`."""
    pixels = np.full((64, 96, 3), 60, np.uint8)
    pixels[8:56, at : at + 16] = 220
    return pixels


def combing(pixels: np.ndarray) -> float:
    """How much lines differ from both neighbours, which agree: 0 without combs."""
    lines = pixels[10:54, :, 1].astype(int)
    apart = np.minimum(np.abs(lines[1:-1] - lines[:-2]), np.abs(lines[1:-1] - lines[2:]))
    return float(np.maximum(apart - np.abs(lines[2:] - lines[:-2]), 0).mean())


class TestInterlaced:
    @pytest.fixture(params=["mpeg2video", "libx264"])
    def video(self, request, tmp_path):
        """A bar that moves by 4 pixels from field to field."""

        def prepare(pixels, stream):
            stream.codec_context.flags |= av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
            return rgb(pixels, stream)

        images = [bar(8 * i) for i in range(COUNT)]
        for i, image in enumerate(images):
            image[1::2] = bar(8 * i + 4)[1::2]
        options = {"crf": "5"} if request.param == "libx264" else {}
        path = tmp_path / ("x.mkv" if request.param == "libx264" else "x.mpg")
        encode(path, images, request.param, prepare=prepare, b="4000000", **options)
        return path, images

    def test_fields_are_separated_and_every_frame_comes_once(self, video, caplog):
        path, images = video
        frames = list(VideoReader(path).frames())
        assert [frame.index for frame in frames] == list(range(COUNT))
        times = [float(frame.time - frames[0].time) for frame in frames]
        assert times == pytest.approx([i / 25 for i in range(COUNT)], abs=0.002)
        assert min(map(combing, images)) > 5
        assert max(combing(frame.pixels) for frame in frames) < 1
        errors = np.abs(np.array([frame.pixels for frame in frames]) - np.array(images, int))
        assert min(errors[:, parity + 12 : 52 : 2].mean((1, 2, 3)).max() for parity in (0, 1)) < 6  # one field stays
        assert notes_of(caplog, path) == [f"{path}: interlaced video, deinterlaced"]

    def test_a_range_has_the_frames_of_the_complete_video(self, video):
        path, _ = video
        complete = [pixels for _, pixels in VideoReader(path)]
        part = list(VideoReader(path, FrameRange(2, 4)))
        assert [index for index, _ in part] == [2, 3]
        assert all(np.array_equal(pixels, complete[index]) for index, pixels in part)

    def test_all_frames_come_while_the_file_is_open(self, video, monkeypatch):
        """Streams of closed files have no time base."""
        closed = []
        opened = video_module._opened

        @contextmanager
        def observed(*arguments):
            with opened(*arguments) as streams:
                yield streams
            closed.append(True)

        reader = VideoReader(video[0])
        monkeypatch.setattr(video_module, "_opened", observed)
        assert [bool(closed) for _ in reader.frames()] == COUNT * [False]
        assert closed


class TestSize:
    def test_frames_of_a_video_get_the_first_ones_size(self, tmp_path, caplog):
        """Two streams of VP8, one after the other, as video calls write them."""
        packets, path = [], tmp_path / "x.webm"
        for height, width in ((96, 64), (48, 32)):
            encode(tmp_path / "part.webm", [halves(height, width)] * COUNT, "libvpx", b="4000000")
            with av.open(str(tmp_path / "part.webm")) as container:
                packets += [bytes(packet) for packet in container.demux(video=0) if packet.size]
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libvpx", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 96, "yuv420p"
            for i, data in enumerate(packets):
                packet = av.Packet(data)
                packet.stream, packet.pts, packet.dts, packet.time_base = stream, i, i, Fraction(1, 25)
                packet.is_keyframe = i % COUNT == 0
                container.mux(packet)
        frames = [pixels for _, pixels in VideoReader(path)]
        assert len(frames) == 2 * COUNT
        for pixels in frames:
            error = np.abs(pixels.astype(int) - halves(96, 64))
            assert max(error[:, 8:24].mean(), error[:, 40:56].mean()) < 12
        note = f"another size from frame {COUNT} on (32 × 48), resized to the first one's 64 × 96"
        assert notes_of(caplog, path) == [f"{path}: {note}"]
        assert probe_video(path).size == (64, 96)

    def test_images_of_a_sequence_do_too(self, tmp_path, caplog):
        for i, (height, width) in enumerate(((96, 64), (48, 32), (96, 32))):
            write_image(tmp_path / f"{i}.png", halves(height, width))
        (item,) = open_inputs([tmp_path], sequence=True)
        frames = [frame.pixels for frame in item.frames()]
        assert [pixels.shape for pixels in frames] == [(96, 64, 3)] * 3
        assert np.array_equal(frames[0], halves(96, 64))
        assert np.abs(frames[1][:, :28].astype(int) - LEFT).max() <= 1
        assert not frames[2][:, :16].any()  # not stretched: bars beside it
        assert np.array_equal(frames[2][:, 16:48], halves(96, 32))
        note = "images of several sizes, resized to the first one's 64 × 96"
        assert notes_of(caplog, tmp_path) == [f"{tmp_path}: {note}"]

    def test_a_turned_image_stands_in_the_middle(self):
        fitted = fitted_into(halves(32, 96), (48, 96))
        assert fitted.shape == (96, 48, 3)
        assert np.flatnonzero(fitted.any((1, 2))).tolist() == list(range(40, 56))
