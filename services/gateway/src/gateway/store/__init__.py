"""Every query and write: `people`, `catalogue`, `intents` in the owned database; the others read the read model."""
