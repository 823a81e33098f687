"""What callers hold: the engine, the functions, streams and archives."""
