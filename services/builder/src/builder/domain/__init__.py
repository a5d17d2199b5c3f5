"""The builder's rules: a build and its version, its steps and progress, what a Dockerfile says. No input, no output."""
