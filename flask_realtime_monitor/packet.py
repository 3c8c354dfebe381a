"""What is written to viewers: the same bytes for all, in each form that a connection may need.

A connection is chunked (HTTP/1.1) or bare (HTTP/1.0, or a server that chunks by itself), and its
body is plain or gzip. Each form is made once, when the first viewer needs it.

Formats: RFC 9112, section 7.1 (chunked), RFC 1952 (gzip) and RFC 1951 (deflate). Every piece ends
on a byte border, and looks back at nothing before it, so that pieces can follow each other in any
order: a viewer who skips one, or comes in later, reads on all the same. Only who is in step, and
has just taken the frame before, gets a piece that looks back at that: it is a third shorter, for
one frame is much like the next. What is left out is the check sum at the very end, which would be
another for every viewer; decoders of streams (browsers, curl, nginx, zlib) do not miss it.
"""

from __future__ import annotations

import zlib
from struct import pack

#: Bits of a form.
CHUNKED = 1
GZIP = 2
IN_STEP = 4
FORMS = 8

#: The head of a gzip body: deflate, no name, no time, an unknown system (RFC 1952, 2.3).
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

_LEVEL = 9
_TOO_SHORT = 64  # bytes: what deflate would not make shorter
_FARTHEST_BACK = 32_768
_LAST_BLOCK = b"\x03\x00"  # an empty one with the final bit set
_LAST_CHUNK = b"0\r\n\r\n"


class Packet:
    """Some events as bytes.

    Args:
        plain: whole events.
        is_last: whether the stream ends with them.
        is_frame: whether everybody gets it, and whoever takes it is in step with the others.

    Attributes:
        after: of a frame, the plain bytes of the one before; set before anybody takes it.
    """

    __slots__ = ("_forms", "_is_last", "after", "is_frame")

    def __init__(self, plain: bytes, is_last: bool = False, is_frame: bool = False) -> None:
        self._forms: list[bytes | None] = [plain] + [None] * (FORMS - 1)
        self._is_last = is_last
        self.is_frame = is_frame
        self.after = b""

    def __len__(self) -> int:
        return len(self.form(0))

    def form(self, bits: int) -> bytes:
        """Return the bytes in the form of CHUNKED, GZIP and IN_STEP bits."""
        if bits & IN_STEP and not (bits & GZIP and self.after):
            bits &= ~IN_STEP
        found = self._forms[bits]
        if found is None:
            found = self._forms[bits] = self._made(bits)
        return found

    def _made(self, bits: int) -> bytes:
        if bits & CHUNKED:
            made = chunk(self.form(bits & ~CHUNKED))
            return made + _LAST_CHUNK if self._is_last else made
        made = deflated(self.form(0), self.after if bits & IN_STEP else b"")
        return made + _LAST_BLOCK if self._is_last else made


def chunk(data: bytes) -> bytes:
    """Return bytes as one chunk; nothing stays nothing, for an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def deflated(data: bytes, after: bytes = b"") -> bytes:
    """Return bytes as deflate blocks, which may look back at what came right before them."""
    if len(data) < _TOO_SHORT:
        return b"\x00" + pack("<HH", len(data), len(data) ^ 0xFFFF) + data
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=after[-_FARTHEST_BACK:])
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)
