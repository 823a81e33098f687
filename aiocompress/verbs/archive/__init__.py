"""Archives, out and back: ``pack`` lays a tree as tar, ``opened`` finds and restores its members.

``extract`` restores frame by frame (``frame`` runs in workers) or front to back (``unpack``), both
by ``finish``; ``seek`` reads the index, ``raw`` the raw bytes; ``check`` is what ``test`` does.
"""
