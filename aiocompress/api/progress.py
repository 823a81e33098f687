"""The bar that ``progress=True`` draws, for whoever has several verbs to tell of."""

from aiocompress.verbs.bar import Bar, figures, terminal

__all__ = ["Bar", "figures", "terminal"]
