"""The gateway's two databases: `owned` (what only the gateway knows) and `read_model` (rebuilt from the facts)."""
