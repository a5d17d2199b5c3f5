"""Fact -> rows of the read model. One function per fact; told the same facts again from the start, they make the same rows.

A batch is folded in memory: the rows it touches are loaded once, moved by pure functions in stream order, and written once.
Nothing here looks at a clock: times are those of the stream.
"""
