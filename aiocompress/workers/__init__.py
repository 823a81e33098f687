"""Who computes: processes or threads, the memory that they share, and what they run.

``pool`` runs jobs, each in one of the ``slots``, on ``processes`` or ``threads``; these run what is
in ``worker``.
"""
