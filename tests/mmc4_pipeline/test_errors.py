"""How the command line finds a user's error in what a runner raises."""

import pickle
import traceback

import pytest

from mmc4_pipeline.errors import PermanentReadError, UserError, user_message


class _NarrowerError(PermanentReadError):
    """A subclass that the command line does not know by name."""


def as_text(error: Exception) -> str:
    """Return the traceback of an error as another process reports it."""
    with pytest.raises(type(error)) as raised:
        raise error
    return "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("kind", [UserError, PermanentReadError, _NarrowerError])
def test_a_message_is_found_in_every_form_that_a_runner_gives_it(kind: type[UserError]) -> None:
    message = "file.gz: broken after line 3: Error: check it"
    assert user_message(kind(message)) == message
    assert user_message(kind(f"{message} [while running 'Read/Map']")) == message
    text = as_text(kind(message))
    assert kind.__name__ in text
    assert user_message(RuntimeError(f"Error from SDK harness: {text}\nmore lines\n")) == message
    assert user_message(RuntimeError(as_text(kind(f"{message} [while running 'Read/Map']")))) == message
    outer = RuntimeError("failed")
    outer.__cause__ = pickle.loads(pickle.dumps(kind(message)))
    assert user_message(outer) == message


def test_the_last_of_several_messages_counts() -> None:
    assert user_message(RuntimeError(as_text(UserError("first")) + as_text(UserError("second")))) == "second"


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError(as_text(ValueError("UserError: no")))])
def test_other_errors_have_no_message(error: Exception) -> None:
    assert user_message(error) is None
