"""Files, folders and pipes of this machine: everything that knows POSIX.

``base`` has the protocols; ``sources``, ``files`` and ``pipes`` implement them, and for files that
stay open ``anywhere`` and ``in_place``; ``plain`` runs what
callers bring that is not async, ``positional`` makes sure that their objects keep their word. Plain
blocking code for file threads and workers: ``atomic_file`` and ``atomic_folder`` (whole or not
there), ``walk`` (what a tree contains) and ``restorer`` (nothing outside of one folder). May
import: ``workers``, ``model``, ``errors``; no format.
"""
