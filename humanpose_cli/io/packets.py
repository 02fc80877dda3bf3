"""The packets of a video stream, and its damaged and missing frames."""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterable, Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple, cast

import av

from humanpose_cli.io.containers import stated_seconds

_LENGTH_IN_HEADER = frozenset({"matroska,webm", "avi", "flv", "asf", "mxf"})  # containers that state their duration
_LENGTH_TOLERANCE = 0.5  # seconds
_CLOCK_STEP = 0.001  # seconds: many clocks count milliseconds, independent of the file's unit
_HIDDEN_VP8 = 0x10  # this bit is missing in the first byte of a VP8 frame that is never shown

Damage = Literal["", "flawed", "lost"]
"""'lost': not decoded, the frame before takes its place. 'flawed': the decoder filled in parts, or the frame depends on
a damaged frame, like all frames up to the next key frame."""


class Decoded(NamedTuple):
    """A frame with its stream, and its time in the stream's unit (None: unknown)."""

    frame: Any
    stream: Any
    pts: int | None
    damage: Damage


def mean_rate(clocks: Iterable[Sequence[int]], tick: float, header: Sequence[float]) -> float | None:
    """Compute frames per second from rising times: (n − 1) ÷ (last − first), of the first clock that advances.

    Args:
        clocks: Lists of the times of a video's frames, in ticks.
        tick: Length of a tick in seconds.
        header: The rates that the file states. The first one that agrees with a clock, or a whole rate or 1000/1001 of
            it, is returned, without the error of clocks that count milliseconds.

    Returns:
        The rate, or None if no clock advances.
    """
    means = []
    for first, last, steps in ((clock[0], clock[-1], len(clock) - 1) for clock in clocks if clock):
        if last > first:
            means.append(mean := steps / ((last - first) * tick))
            tolerance = min(max(1.0, _CLOCK_STEP / tick), (last - first) / steps / 4)
            for rate in (*header, round(mean), round(mean) * 1000 / 1001):
                if rate and abs(steps / (rate * tick) - (last - first)) <= tolerance:
                    return float(rate)
    return means[0] if means else None


class Packets:
    """The packets of a video stream, decoded, with a record of missing frames.

    Attributes:
        times: Times of the shown frames among the packets read so far, in the stream's unit; None if unknown. An edit
            list may hide frames.
        is_regular: Whether all these packets become frames.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._container = container
        self._stream = stream
        self.times: list[int | None] = []
        self.is_regular = True
        self._start: Any = None  # time of the first key frame, even if an edit list hides it
        self._dts: int | None = None
        self._restarts = False  # whether the clock restarts, as if two recordings were joined
        self._end = Fraction(0)  # seconds, end of the last packet of any stream
        self._waiting_times: list[int] = []  # a heap: times of packets that have not become frames
        self._has_failed = self._is_cut = False
        self._error = ""

    def decoded(self) -> Generator[Decoded, None, None]:
        """Yield frames in the order of time."""
        # The times of packets without a frame show which frames are lost: decoders report failures late and in another
        # order.
        last_frame = None
        is_intact = True
        for packet in self.packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._has_failed = True
                continue
            for frame in frames:
                for lost_frame in self._lost(last_frame, frame.pts):
                    is_intact = False
                    yield lost_frame
                is_intact = (is_intact or frame.key_frame) and not frame.is_corrupt
                yield Decoded(frame, self._stream, frame.pts, "" if is_intact else "flawed")
                last_frame = frame
        if not self.end_missing():
            yield from self._lost(last_frame, None)

    def packets(self) -> Generator[Any, None, None]:
        """Read the packets of the stream; the last one is empty."""
        try:
            for packet in self._container.demux(*self._container.streams.video, *self._container.streams.audio):
                if packet.size and packet.pts is not None:
                    self._end = max(self._end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                if packet.stream is not self._stream:
                    continue
                if self._start is None and packet.is_keyframe:
                    self._start = packet.pts
                if packet.size and not packet.is_discard and not self._is_hidden(packet):
                    self._count(packet)
                yield packet
        except av.FFmpegError as error:
            self._error = error.strerror or "an error"

    def _count(self, packet: Any) -> None:
        pts, dts = packet.pts, packet.dts
        self._restarts |= None not in (dts, self._dts) and dts < self._dts
        self._dts, self._is_cut = dts, packet.is_corrupt
        self.times.append(pts)
        # Frames before the first key frame cannot be decoded, nor can later packets with earlier times.
        is_decodable = None not in (pts, self._start) and pts >= self._start
        self.is_regular &= is_decodable and not (self._is_cut or self._restarts)
        if pts is not None:
            heapq.heappush(self._waiting_times, pts)

    def _is_hidden(self, packet: Any) -> bool:
        return self._stream.codec_context.name == "vp8" and not memoryview(packet)[0] & _HIDDEN_VP8

    def frame_rate(self, header: Sequence[float]) -> float | None:
        """Compute frames per second from the times of the packets read so far, with the rates of the file's header.

        None if times are missing, all equal or begin anew; see `mean_rate`.
        """
        if None in self.times or self._restarts:
            return None
        times = sorted(cast("list[int]", self.times))
        # If packets end before all frames of a group have come, there are gaps before the last times.
        groups = [time for time in times if self._dts is not None and time <= self._dts]
        return mean_rate((times, groups), float(self._stream.time_base), header)

    def _lost(self, last: Any, pts: int | None) -> Generator[Decoded, None, None]:
        """Yield the lost frames between the last one and the time `pts`; None stands for the end."""
        while self._waiting_times and (pts is None or self._waiting_times[0] <= pts):
            packet_time = heapq.heappop(self._waiting_times)
            if packet_time == pts:
                break
            # With several threads, the frames around a truncated last packet fail without an error.
            if (self._has_failed or (self._is_cut and pts is None)) and last is not None:
                yield Decoded(last, self._stream, packet_time, "lost")

    def end_missing(self) -> str:
        """Explain why the end of the file is missing, after all packets have been read; "" if it is not."""
        if self._error:
            return self._error
        name, expected = self._container.format.name, self._stream.frames
        # FFmpeg shortens the duration of an AVI that is smaller than its header says.
        is_shortened = name == "avi" and (self._stream.duration or expected) < expected
        if name in _LENGTH_IN_HEADER and not is_shortened:  # some count frames that they do not hold
            seconds = stated_seconds(self._container)
            short = seconds - self._end > _LENGTH_TOLERANCE
            return f"{float(self._end):.1f} of {seconds:.1f} seconds in the file" if short else ""
        if name.startswith("mov,"):  # its count includes frames that an edit list hides, and lacks all fragments
            expected = sum(not entry.is_discard for entry in self._stream.index_entries)
        return f"{len(self.times)} of {expected} frames in the file" if len(self.times) < expected else ""
