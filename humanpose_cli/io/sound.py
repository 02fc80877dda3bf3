"""The sound of videos: as a stream of an MP4 that is being written, and as samples."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from humanpose_cli.io.containers import open_container, video_streams

_COPIED_CODECS = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
"""Codecs that players read in an MP4; others are encoded anew."""
_USUAL_RATE = 48000  # samples a second, if AAC does not support the sound's rate

_FRAME = 1024  # samples

_log = logging.getLogger(__name__)


def _resampled(frames: Iterable[Any], resampler: Any) -> Generator[Any, None, None]:
    for frame in frames:
        yield from resampler.resample(frame)
    yield from resampler.resample(None)


class Sound:
    """A video's first sound stream, written into an MP4 step by step, until it is closed.

    Packets are copied if players read their codec in an MP4, otherwise encoded as AAC. Missing sound is ignored;
    unreadable sound is left out with a warning in the log.

    Args:
        path: The video.
        output: The PyAV container of the MP4, before its first packet.
        start: Seconds on the video's clock at which the output begins.
    """

    def __init__(self, path: Path, output: Any, start: Fraction) -> None:
        self._path = path
        self._output = output
        self._start = start
        self._input = open_container(path)
        source = self._input.streams.best("audio")
        context: Any = None if source is None else source.codec_context
        if context is None:
            self._parts = self._readable(iter(()))
        elif (name := context.codec.canonical_name) in _COPIED_CODECS and (name != "mp3" or context.rate >= 16000):
            # MP4 does not support MPEG-2.5.
            # Also the packet before the first one: decoders need it, and players skip sound before 0.
            self._parts = self._from_start(self._input.demux(source), 2)
        else:
            rates = av.Codec("aac", "w").audio_rates or []
            layout = "mono" if context.layout.nb_channels == 1 else "stereo"
            rate = context.rate if context.rate in rates else _USUAL_RATE
            small = av.AudioResampler("fltp", layout, rate, frame_size=_FRAME)
            self._parts = self._from_start(_resampled(self._input.decode(source), small), 1)
        self._next = next(self._parts, None)
        self._stream = self._encoder = None
        if self._next is None:
            return
        if isinstance(self._next[1], av.Packet):
            self._stream = output.add_stream_from_template(source)
        else:
            self._encoder = output.add_stream("aac", rate=rate, layout=layout, options={"flags": "+bitexact"})

    def mux_until(self, end: Fraction) -> None:
        """Write the sound that begins before `end`, seconds on the output's clock."""
        while self._next is not None and self._next[0] < end:
            part = self._next[1]
            if self._encoder is None:
                part.stream = self._stream
                self._output.mux(part)
            else:
                self._output.mux(self._encoder.encode(part))
            self._next = next(self._parts, None)

    def finish(self) -> None:
        """Write the rest of the encoder's output."""
        if self._encoder is not None:
            self._output.mux(self._encoder.encode(None))

    def _from_start(self, parts: Any, lengths: int) -> Generator[tuple[Fraction, Any], None, None]:
        """Yield packets or frames with their times on the output's clock, the first less than `lengths` before 0."""
        for part in self._readable(parts):
            if part.pts is None:
                continue
            begin = part.pts * part.time_base - self._start
            if isinstance(part, av.Packet):
                length = (part.duration or 0) * part.time_base
            else:
                length = Fraction(part.samples, part.sample_rate)
            if begin + lengths * length <= 0:
                continue
            shift = round(self._start / part.time_base)
            part.pts -= shift
            if part.dts is not None:
                part.dts -= shift
            yield begin, part

    def _readable(self, parts: Any) -> Generator[Any, None, None]:
        try:
            yield from parts
        except (av.FFmpegError, ValueError) as error:  # ValueError: its format changes on the way
            _log.warning("%s: its sound is taken over up to where it is damaged (%s)", self._path, error)

    def close(self) -> None:
        """Close the video."""
        self._parts.close()
        self._input.close()


def read_sound(path: Path, rate: int, seconds: float) -> tuple[NDArray[np.float32], float] | None:
    """Read the first seconds of a video's sound.

    Args:
        path: The video.
        rate: Samples per second.
        seconds: Length of the sound.

    Returns:
        Mono samples (N,) float32, and the time of the first sample in seconds after the first video frame; None if the
        file has no readable sound.
    """
    try:
        with open_container(path) as container:
            if not container.streams.audio or not video_streams(container):
                return None
            stream, resampler = container.streams.audio[0], av.AudioResampler("flt", "mono", rate)
            parts: list[NDArray[np.float32]] = []
            start: float | None = None
            for frame in container.decode(stream):
                start = float(frame.time or 0) if start is None else start
                parts += [block.to_ndarray()[0] for block in resampler.resample(frame)]
                if sum(map(len, parts)) > rate * seconds:
                    break
            parts += [block.to_ndarray()[0] for block in resampler.resample(None)]
        with open_container(path) as container:
            first = next(container.decode(video_streams(container)[0]), None)
    except (av.FFmpegError, ValueError) as error:
        _log.info("%s: its sound cannot be read: %s", path, error)
        return None
    if not parts or start is None or first is None:
        return None
    return np.concatenate(parts)[: round(rate * seconds)].astype(np.float32), start - float(first.time or 0)
