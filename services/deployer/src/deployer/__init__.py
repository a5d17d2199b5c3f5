"""Deployer: which release runs where, in which order, and the way back.

Owns environments, requests and releases. It plans and orders; it touches no runtime itself, and it refuses to know how an image
was made or why the gate said what it said.
"""
