"""What one call does: each verb out and back, side by side.

``options`` are what callers pass, ``meter`` tells them how far a verb is; ``base`` is what all
verbs have in common; ``compress`` makes containers out of chunks, ``single`` one frame without a
container, ``decode`` and ``decompress`` take both apart, ``payload`` does both to small bytes;
``jobs`` run in workers. ``file`` is one that stays open. ``files`` and ``folders`` are the verbs;
``archive``, ``mirror`` and ``framed`` are the layouts of a folder, and ``recover`` is for after
damage. May import: ``storage`` and what stands below it.
"""
