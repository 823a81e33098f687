"""Mirrored trees, out and back."""
