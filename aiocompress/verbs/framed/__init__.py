"""The framed layout: the container of the script this project began with, out and back.

It holds paths and content of regular files: modes and times of what comes back are those of new
files. ``pack`` and ``unpack`` mirror each other.
"""
