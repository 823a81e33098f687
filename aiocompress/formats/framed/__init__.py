"""The plain container of the script this project began with: paths and zstd frames, no index.

May import: ``base`` and ``zstd`` beside it (its frames are zstd frames), ``model``, ``errors``.
"""
