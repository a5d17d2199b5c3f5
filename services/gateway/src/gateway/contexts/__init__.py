"""All that templates may see: one frozen dataclass per page, each with the frame around it."""
