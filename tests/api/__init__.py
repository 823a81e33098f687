"""What callers hold."""
