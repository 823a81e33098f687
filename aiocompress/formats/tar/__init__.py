"""tar: members to raw bytes and back, and the index of what stands where.

``reader`` and ``writer`` mirror each other, on ``header``, ``fields``, ``pax`` and ``sparse``;
``index`` and ``directory`` know the members; ``salvage`` and ``splicing`` are for after damage.

May import: ``base`` beside it, ``model`` and ``errors``; no codec.
"""
