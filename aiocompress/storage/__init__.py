"""Files, folders and pipes of this machine, everything that knows POSIX; and objects elsewhere.

``base`` has the protocols; ``sources``, ``files`` and ``pipes`` implement them, and for files that
stay open ``anywhere`` and ``in_place``; ``plain`` runs what callers bring that is not async,
``positional`` makes sure that their objects keep their word. ``remote``, which only a URL has
imported, reads and writes objects of servers and stores. Plain blocking code for file threads and
workers: ``atomic_file`` and ``atomic_folder`` (whole or not there), ``walk`` (what a tree
contains), ``holes`` (of sparse files), ``reach`` (how workers come to what is open here), ``chain``
(the way to what is in one folder) and ``restorer`` (nothing outside of it). May import:
``workers``, ``model``, ``errors``; no format.
"""
