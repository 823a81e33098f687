"""What one call does: each verb out and back, side by side.

``options`` are what callers pass; ``base`` is what all verbs have in common; ``compress`` makes
containers out of chunks, ``single`` one frame without a container, ``decode`` and ``decompress``
take both apart; ``jobs`` run in workers.
``files`` and ``folders`` are the verbs; ``archive``, ``mirror`` and ``framed`` are the layouts of a
folder, and ``recover`` is for after damage. May import: ``storage`` and what stands below it.
"""
