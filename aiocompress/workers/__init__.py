"""Who computes: processes or threads, and the memory that they share.

A stream has a ``lane`` in the ``pool``, which runs its jobs in processes (``process``, forked by
``server``) or ``threads``, each in a slot of the ``arena``; ``pipeline`` keeps them in order.
``kept`` is what open archives keep in memory that no slot needs. May import: ``model`` and
``errors``, no format and no verb.
"""
