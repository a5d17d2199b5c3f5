"""What counts as a push worth a run, and when a run begins, is superseded and is over.

Owns webhook endpoints and their secrets, trigger rules, the delivery ledger and the runs. It refuses to know how source
becomes an image, what a scan found or where a release goes: it hears that those things happened, and keeps count.
"""
