"""Progress counts the Dockerfile's steps, never goes back, and reaches 100 only with the image."""

from __future__ import annotations

from builder.domain.steps import Counter, Step, StepState, counted
from hypothesis import given
from hypothesis import strategies as st

STEPS = st.builds(
    Step,
    number=st.integers(1, 12),
    name=st.sampled_from(["[1/3] FROM scratch", "[build 2/3] RUN make", "[internal] load metadata", "exporting to image"]),
    state=st.sampled_from(list(StepState)),
)


def test_only_the_dockerfiles_own_steps_count() -> None:
    assert counted("[1/3] FROM scratch")
    assert counted("[build 12/14] RUN make -j2")
    assert not counted("[internal] load build definition from Dockerfile")
    assert not counted("exporting to image")
    assert not counted("[auth] library/python:pull token for registry-1.docker.io")


@given(st.lists(STEPS, max_size=60))
def test_progress_never_goes_back_and_stays_below_100_until_the_image_exists(steps: list[Step]) -> None:
    counter = Counter()
    seen = [told.percent for step in steps if (told := counter.note(step))]
    assert seen == sorted(seen)
    assert all(0 <= percent <= 85 for percent in seen)
    assert counter.finish().percent == 100


def test_steps_and_cached_ones_are_counted() -> None:
    counter = Counter()
    for number, name in ((1, "[1/2] FROM scratch"), (2, "[2/2] RUN make")):
        counter.note(Step(number, name, StepState.PENDING))
    counter.note(Step(1, "[1/2] FROM scratch", StepState.CACHED))
    told = counter.note(Step(2, "[2/2] RUN make", StepState.RUNNING))
    assert told is not None
    assert (told.done, told.total, told.percent, told.text) == (1, 2, 43, "[2/2] RUN make")
    assert (counter.steps, counter.cached) == (2, 1)
