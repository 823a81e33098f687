"""Folders as archives: packed, opened, extracted."""
