"""Services, where their source is, their environments and their rules."""

from pydantic import Field

from gateway.api.models.base import In, Out, OutcomeOut


class CredentialIn(In):
    """Sealed at once; nobody can read it back."""

    username: str = Field("", max_length=255)
    password: str = Field(min_length=1, max_length=4096, repr=False)


class EnvironmentIn(In):
    """A deploy target."""

    name: str = Field(max_length=48)
    kind: str = Field("not_production", description="production or not_production")
    runtime: str = "local"
    container_port: int = Field(8080, ge=1, le=65535)
    health_path: str = Field("/", max_length=255)
    own_port: bool = False
    variables: dict[str, str] = Field(default_factory=dict)
    observe_seconds: int = Field(60, ge=0, le=3600)


class RuleIn(In):
    """Globs; an empty list matches nothing."""

    branches: list[str] = Field(default_factory=list, max_length=50)
    tags: list[str] = Field(default_factory=list, max_length=50)
    environments: list[str] = Field(default_factory=list, max_length=50)
    supersede: bool = True


class ServiceIn(In):
    """A service with its first environment and its rule. Without a rule, pushes to its branch count."""

    name: str = Field(max_length=48, description="A DNS label, unique")
    repository_url: str = Field(max_length=2000, description="Any Git URL, or a path below an allowed folder")
    branch: str = Field("main", max_length=255)
    description: str = Field("", max_length=500)
    dockerfile: str = Field("./Dockerfile", max_length=255)
    context: str = Field(".", max_length=255)
    sample: bool = False
    credential: CredentialIn | None = None
    environment: EnvironmentIn | None = None
    rule: RuleIn | None = None


class ServiceChangeIn(In):
    """Only what is given changes."""

    repository_url: str | None = Field(None, max_length=2000)
    branch: str | None = Field(None, max_length=255)
    description: str | None = Field(None, max_length=500)
    dockerfile: str | None = Field(None, max_length=255)
    context: str | None = Field(None, max_length=255)
    credential: CredentialIn | None = None
    forget_credential: bool = False


class ServiceDeleteIn(In):
    """`name` is typed again."""

    name: str = Field(max_length=48)
    remove_running: bool = False


class SourceIn(In):
    """A repository that is not registered yet."""

    repository_url: str = Field(max_length=2000)
    credential: CredentialIn | None = None


class TestIn(In):
    """Another credential than the stored one, to try it."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    credential: CredentialIn | None = None


class NamedCommit(Out):
    name: str
    commit: str


class SourceOut(Out):
    """What the repository shows."""

    branches: list[NamedCommit]
    tags: list[NamedCommit]
    default_branch: str


class EnvironmentOut(Out):
    name: str
    kind: str
    runtime: str
    container_port: int
    health_path: str
    entry_port: int
    url: str
    state: str
    state_text: str
    release_id: str | None
    release_number: int | None
    version: str
    by_hand: bool
    commit: str
    image: str
    image_id: str
    digest: str | None
    run_id: str | None
    run_number: int | None
    executor: str
    trigger: str
    container: str
    since_ms: int | None
    verdict: str


class RuleOut(Out):
    branches: list[str]
    tags: list[str]
    environments: list[str]
    supersede: bool


class ServiceOut(Out):
    id: str
    name: str
    description: str
    repository_url: str
    branch: str
    dockerfile: str
    context: str
    has_credential: bool
    sample: bool
    state: str
    state_environment: str
    state_text: str
    deployed_environment: str
    deployed_version: str
    deployed_by_hand: bool
    deployed_commit: str
    deployed_image: str
    deployed_digest: str | None
    deployed_url: str
    deployed_release_number: int | None
    deployed_run_number: int | None
    deployed_at_ms: int | None
    risk_state: str
    risk_critical: int
    risk_high: int
    risk_medium: int
    risk_low: int
    last_run_id: str | None
    last_run_number: int | None
    last_run_state: str | None
    last_run_at_ms: int | None
    registered_at_ms: int | None


class ServiceDetailOut(ServiceOut):
    environments: list[EnvironmentOut]
    rule: RuleOut | None


class RegisteredOut(Out):
    """`orders` are those of its environment and its rule."""

    service: str
    name: str
    orders: list[OutcomeOut]
    seen: bool
