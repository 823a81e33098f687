"""The plain container of the script this project began with: paths and zstd frames, no index."""
