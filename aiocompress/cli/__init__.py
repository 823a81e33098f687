"""The command line: ``commands`` parses, ``plan`` works out what goes where, ``run`` does it.

``options`` are those that commands share, ``help``, ``man`` and ``completion`` explain them,
``progress``, ``messages`` and ``listing`` are what people see.

May import: ``api``, ``model``, ``errors`` and ``formats.names``, so that users can do whatever the
command line does.
"""
