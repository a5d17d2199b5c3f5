"""What can go wrong in the gate.

    Unavailable / Broken
    └── EngineProblem             the policy engine gave no usable answer; always a deny
        ├── policy.timeout            it did not answer within its wall time
        ├── policy.crashed            its process ended (memory, processor time, defect)
        ├── policy.error              the policy itself failed
        ├── policy.undefined          the policy says nothing about this input
        ├── policy.wrong_shape        the answer is not a decision
        └── policy.away               the OPA server does not answer

A problem of the engine is never retried into a pass: the decision is block, its reason names the code.
"""

from __future__ import annotations

from shared.errors import Broken

ADVICE = {
    "policy.timeout": "Look at the size of the evidence and at the policy; GATE_WALL_SECONDS is the limit.",
    "policy.crashed": "Look at the log of the gate; GATE_MEMORY_MIB and GATE_CPU_SECONDS are the limits.",
    "policy.error": "Mend the policy: the message names the place.",
    "policy.undefined": "The policy has no rule for this input; mend the policy.",
    "policy.wrong_shape": "The policy answers in another shape than the gate understands; mend the policy.",
    "policy.away": "Start the OPA server, or look at GATE_OPA_URL; then deploy again.",
}


class EngineProblem(Broken):
    """The policy engine gave no usable answer. The decision is a deny with this code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message, ADVICE[code])
