"""What the gate reaches outside: a policy engine, embedded or a server."""
