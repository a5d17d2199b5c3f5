"""One file per noun: what a person can ask, and how it is shown."""
