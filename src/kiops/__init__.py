"""The root member: the command line, and all seven services in one process."""

__version__ = "0.1.0"
