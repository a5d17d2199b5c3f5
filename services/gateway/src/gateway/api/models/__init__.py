"""The shapes of the API. What comes in is checked for characters that belong nowhere; what goes out are rows of the read model.

Times are epoch milliseconds (`*_at_ms`), durations milliseconds (`*_ms`).
"""

from gateway.api.models.audit import AuditOut, ChainOut
from gateway.api.models.base import DoneOut, In, Out, OutcomeOut, Page
from gateway.api.models.builds import BuildIn, BuildOut
from gateway.api.models.people import LinkOut, MeOut, NewTokenOut, PasswordIn, SignInIn, TokenIn, TokenOut
from gateway.api.models.platform import (
    AcceptedOut,
    DeadLetterOut,
    DeadLettersOut,
    DeadLetterWholeOut,
    RebuildOut,
    RenewedOut,
    SealingRenewedOut,
    ServiceStatus,
    StatusOut,
    StreamAcceptedOut,
)
from gateway.api.models.releases import DeployEventOut, DeployIn, DeployOut, PreviewOut, ReleaseOut, RollbackIn
from gateway.api.models.runs import RunDetailOut, RunOut, SegmentOut, StepOut, TimelineOut
from gateway.api.models.services import (
    CredentialIn,
    EnvironmentIn,
    EnvironmentOut,
    NamedCommit,
    RegisteredOut,
    RuleIn,
    RuleOut,
    ServiceChangeIn,
    ServiceDeleteIn,
    ServiceDetailOut,
    ServiceIn,
    ServiceOut,
    SourceIn,
    SourceOut,
    TestIn,
)
from gateway.api.models.verdicts import DecisionOut, FindingOut, ScanOut
from gateway.api.models.webhooks import DeliveryOut, EndpointOut, EndpointSecretOut

__all__ = [
    "AcceptedOut",
    "AuditOut",
    "BuildIn",
    "BuildOut",
    "ChainOut",
    "CredentialIn",
    "DeadLetterOut",
    "DeadLetterWholeOut",
    "DeadLettersOut",
    "DecisionOut",
    "DeliveryOut",
    "DeployEventOut",
    "DeployIn",
    "DeployOut",
    "DoneOut",
    "EndpointOut",
    "EndpointSecretOut",
    "EnvironmentIn",
    "EnvironmentOut",
    "FindingOut",
    "In",
    "LinkOut",
    "MeOut",
    "NamedCommit",
    "NewTokenOut",
    "Out",
    "OutcomeOut",
    "Page",
    "PasswordIn",
    "PreviewOut",
    "RebuildOut",
    "RegisteredOut",
    "ReleaseOut",
    "RenewedOut",
    "RollbackIn",
    "RuleIn",
    "RuleOut",
    "RunDetailOut",
    "RunOut",
    "ScanOut",
    "SealingRenewedOut",
    "SegmentOut",
    "ServiceChangeIn",
    "ServiceDeleteIn",
    "ServiceDetailOut",
    "ServiceIn",
    "ServiceOut",
    "ServiceStatus",
    "SignInIn",
    "SourceIn",
    "SourceOut",
    "StatusOut",
    "StepOut",
    "StreamAcceptedOut",
    "TestIn",
    "TimelineOut",
    "TokenIn",
    "TokenOut",
]
