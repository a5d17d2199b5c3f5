"""What lies outside this service."""
