"""How a runtime is reached and what it may be asked: the operator-proxy owns the connections to engines, the edge in front of
them, and what was observed there. It refuses to know why a release is wanted, what is in it, or who ordered it."""
