"""Props for every suite: a real nats-server with the real rights, services on it, clocks that stand still."""
