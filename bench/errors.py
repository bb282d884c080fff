"""Failures that end a command with one sentence, beside what a user got wrong (vsr_model.errors)."""


class RunStoppedError(RuntimeError):
    """A run that cannot go on for no fault of its cells; the message says what is kept and how to go on."""


class ServerDiedError(RuntimeError):
    """The server process ended on its own; the message says how."""
