"""The demo's service: its source in three versions, and the base image it is built on."""
