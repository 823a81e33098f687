"""Mirrored trees: each file of a folder becomes a compressed file of its own, and back.

``mirror`` is both directions, ``walk`` the two trees side by side, ``batch`` what a worker does to
many small files at once.
"""
