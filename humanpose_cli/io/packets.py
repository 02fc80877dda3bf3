"""The packets of a video stream, and which of its frames are damaged or missing."""

from __future__ import annotations

import heapq
from collections.abc import Generator
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import av

_LENGTH_IN_HEADER = frozenset({"matroska,webm", "avi", "flv", "asf"})  # containers whose header has the duration
_LENGTH_TOLERANCE = 0.5  # seconds

Damage = Literal["", "flawed", "lost"]
"""'lost': not decoded, the frame before takes its place; 'flawed': parts are filled in by the decoder, or the frame
builds on one that is damaged, as all do up to the next key frame."""


class Decoded(NamedTuple):
    """A frame with its stream, and its time in the stream's unit (None: unknown)."""

    frame: Any
    stream: Any
    pts: int | None
    damage: Damage


class Packets:
    """The packets of a video stream, decoded, with an account of what is missing.

    count  of frames that are shown, among the packets read so far; an edit list leaves others out
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._stream = container, stream
        self.count = 0
        self._end = Fraction(0)  # seconds, of the last packet of any stream
        self._waiting_times: list[int] = []  # a heap: times of packets that have not become frames
        self._has_failed = False
        self._error = ""

    def decoded(self) -> Generator[Decoded, None, None]:
        """Yield frames in the order of time. The times of packets without a frame show which ones are lost: decoders
        report failures late and in another order.
        """
        last, is_sound = None, True
        for packet in self.packets():
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._has_failed = True
                continue
            for frame in frames:
                for lost_frame in self._lost(last, frame.pts):
                    is_sound = False
                    yield lost_frame
                is_sound = (is_sound or frame.key_frame) and not frame.is_corrupt
                yield Decoded(frame, self._stream, frame.pts, "" if is_sound else "flawed")
                last = frame
        if not self.end_missing():
            yield from self._lost(last, None)

    def packets(self) -> Generator[Any, None, None]:
        """Read the packets of the stream; the last one is empty."""
        try:
            for packet in self._container.demux(self._stream, *self._container.streams.audio):
                if packet.size and packet.pts is not None:
                    self._end = max(self._end, (packet.pts + (packet.duration or 0)) * packet.time_base)
                if packet.stream is not self._stream:
                    continue
                if packet.size and not packet.is_discard:
                    self.count += 1
                    if packet.pts is not None:
                        heapq.heappush(self._waiting_times, packet.pts)
                yield packet
        except av.FFmpegError as error:
            self._error = error.strerror or "an error"

    def _lost(self, last: Any, pts: int | None) -> Generator[Decoded, None, None]:
        """Count frames between the last one and one at `pts`; None: the end."""
        while self._waiting_times and (pts is None or self._waiting_times[0] <= pts):
            packet_time = heapq.heappop(self._waiting_times)
            if packet_time == pts:
                break
            if self._has_failed and last is not None:
                yield Decoded(last, self._stream, packet_time, "lost")

    def end_missing(self) -> str:
        """Explain why the end of the file is taken to be missing, once all packets have been read; "" if it is not."""
        if self._error:
            return self._error
        if self._container.format.name in _LENGTH_IN_HEADER:  # some count frames that they leave out
            seconds = (self._container.duration or 0) / av.time_base
            short = seconds - self._end > _LENGTH_TOLERANCE
            return f"{float(self._end):.1f} of {seconds:.1f} seconds in the file" if short else ""
        expected = self._stream.frames
        if expected and self._container.format.name.startswith("mov,"):  # it also counts what an edit list leaves out
            expected = sum(not entry.is_discard for entry in self._stream.index_entries)
        return f"{self.count} of {expected} frames in the file" if self.count < expected else ""
