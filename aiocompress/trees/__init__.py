"""Folders and their files, out and back: plain blocking code, for workers and file threads.

Archives: ``packing`` lays out as a tar what ``walk`` finds; ``unpacking`` restores it from front to
back, an ``incoming`` file at a time, and ``members`` frame by frame, both by ``restoring``;
``selecting`` says which of them, and ``saving`` takes what is left of a damaged one.

Mirrored trees: ``twins`` walks both sides, ``mirrors`` converts small files. The framed container:
``framed``.

What is made is whole or not there: a folder in ``building``, a ``temporary`` file; ``publishing``
gives names to both. ``found`` is what is told of it all.
"""
