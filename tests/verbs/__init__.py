"""What one call does, out and back."""
