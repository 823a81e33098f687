"""Archives, out and back: ``pack`` lays a tree as tar, ``opened`` finds and restores its members.

``extract`` restores frame by frame (``frame`` runs in workers) or front to back (``unpack``), both
by ``finish``. ``seek`` reads the index, which it finds at the ``ending`` of the archive, and keeps
what was used last; ``lookup`` finds names in it. ``planner`` says which frames hold what is wanted.
``diff`` compares a folder (``compare`` runs in workers). ``raw`` gives the raw bytes; ``check`` is
what ``test`` does.
"""
