"""A browser walks the pages of a real gateway."""
