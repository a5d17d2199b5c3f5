"""CONTRACTS: what to do. One module per service that obeys; nothing here but shape."""
