"""Members in one raw stream, and their index."""
