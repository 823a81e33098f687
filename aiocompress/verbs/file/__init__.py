"""One compressed file that stays open: ``reading`` and ``writing`` side by side.

Both handle blocks of raw bytes; ``places`` knows where in the file a reader can begin. Lines, text
and the rest of what callers see stand in ``api``.
"""
