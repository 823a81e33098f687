"""The framed layout, out and back."""
