"""Rules without I/O: how things are named, what a route says, what is to be kept and what removed."""
