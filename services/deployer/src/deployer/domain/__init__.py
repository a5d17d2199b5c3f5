"""Pure planning: what a release is made of, whose turn it is, where the way back leads."""
