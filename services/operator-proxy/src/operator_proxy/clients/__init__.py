"""One file per thing outside."""
