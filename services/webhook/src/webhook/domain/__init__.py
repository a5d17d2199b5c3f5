"""The rules of this service; no I/O, no SQL, no messages."""
