"""Makes a bare machine ready: apt packages, the Python environment, scan engines, edge, Docker engine.

Standard library only: the system's Python runs it before any environment exists, and the command line
uses the same code later to look whether everything is still there.
"""
