"""The command line: ``commands`` parses, ``plan`` works out what goes where, ``run`` does it.

May import: ``api``, ``model``, ``errors`` and ``formats.names``, so that users can do whatever the
command line does.
"""
