"""Fact -> rows of the read model. One function per fact; told the same facts again from the start, they make the same rows.

What several facts of a batch touch (a run's summary, a service's roll-up) is folded: made anew once, before the commit.
Nothing here looks at a clock: times are those of the stream.
"""
