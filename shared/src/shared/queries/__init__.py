"""CONTRACTS: what is asked and answered at once. One module per service that answers; nothing here but shape.

A query never travels on a subject that a stream captures, and nothing of it is stored. An answer that could not be given
carries `error` (a code) and `detail` instead of values.
"""

from __future__ import annotations

from shared.facts._base import Part


class Answer(Part):
    """What every answer may carry instead of its values."""

    error: str = ""
    detail: str = ""
    advice: str = ""
