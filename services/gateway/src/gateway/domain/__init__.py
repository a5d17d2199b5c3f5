"""Rules of the gateway: what a name or address may be, how steps become a timeline, how states roll up. No I/O but `realpath`."""
