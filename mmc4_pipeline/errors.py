"""Errors that a user can mend. Each message is one line that names the file, line or URL and says what to do next."""


class UserError(Exception):
    """Something the user gave, or has to give, is wrong. The command line prints the message without a traceback."""


class NotRunError(Exception):
    """No failure: a pipeline was only described, or handed over, so that there is no manifest to give yet."""


class PermanentReadError(UserError):
    """A file is not there, or gives other bytes than were asked for: what was wanted of it may be dropped.

    Every other UserError of a read may pass (a busy server, expired credentials). A drop would be final, so that those
    end the run.
    """
