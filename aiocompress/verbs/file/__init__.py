"""One compressed file that stays open: ``reading`` and ``writing`` side by side.

Both are about blocks of raw bytes; ``places`` knows where in the file a reader can begin. What
callers see of them, lines, text and positions, stands in ``api``.
"""
