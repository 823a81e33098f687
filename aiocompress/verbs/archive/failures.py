"""What becomes of a member that cannot be restored: an error, or a line in the report."""

from __future__ import annotations

from typing import Final

from aiocompress.errors import AiocompressError, LimitError, UnsafeMemberError
from aiocompress.model import OnError
from aiocompress.storage.restorer import CROSSED, FATAL, checked
from aiocompress.verbs.found import HINT, NAMELESS, Found, shown

_CROSSED: Final = "its path leads through an earlier member that is a link or a file"


class Failures:
    """Decides whether a member that cannot be restored is an error or a line in the report."""

    def __init__(self, on_error: OnError, found: Found, strip: int = 0) -> None:
        self._raises, self._found, self._strip = on_error == "raise", found, strip
        self._stripped = False

    def place(self, name: bytes) -> bytes:
        """Return where a member goes (see ``checked``), and warn once about absolute names."""
        place = checked(name, self._strip)
        if name[:1] == b"/" and not self._stripped:
            self._stripped = True
            self._found.warn(f"{shown(name)}: the leading '/' was removed from member names")
        return place

    def member(self, name: bytes, error: AiocompressError | OSError) -> None:
        """Raise the error of one member, or report it and go on.

        :raises AiocompressError: the caller wants errors raised.
        :raises OSError: so does this, and an error that the next members would meet, too.
        """
        label = shown(name) or NAMELESS
        if isinstance(error, OSError) and error.errno in CROSSED:
            error = UnsafeMemberError(_CROSSED)
        if isinstance(error, OSError):
            if self._raises or error.errno in FATAL:
                raise OSError(error.errno, error.strerror, label) from None
            self._found.refuse(f"{label}: {error.strerror or error}")
            return
        reason = f"{label}: {error.reason}"
        if not self._raises:
            self._found.refuse(reason)
        elif isinstance(error, LimitError):
            raise LimitError(f"member {reason}", hint=error.hint)
        else:
            raise UnsafeMemberError(f"member {reason}", hint=HINT)

    def special(self, name: bytes, what: str) -> None:
        """Report a member that is created only on request."""
        self._found.skip(f"{shown(name)}: {what}, not created (preserve=True does)")
