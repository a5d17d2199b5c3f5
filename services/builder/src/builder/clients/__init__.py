"""What the builder reaches outside: Git hosts, and the engine that builds images."""
