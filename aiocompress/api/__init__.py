"""What callers hold: the engine, the verbs as functions, streams, archives and their members.

Thin: arguments are checked and docstrings are complete here, and ``verbs`` does the work. May
import everything below.
"""
