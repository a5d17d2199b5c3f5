"""Gate: whether this image may go to this environment.

Owns the policy, the evidence it was told, and every decision with the input it was made from. Rego alone decides; Python gathers
the input. It refuses to know how images are scanned, built or deployed, and it takes no silence, error or doubt for a yes.
"""
