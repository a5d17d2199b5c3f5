"""Props for every suite: fixtures that give real parts and small real services."""
