"""Errors that a user can mend. Each message is one line that names the file, line or URL and says what to do next."""


class UserError(Exception):
    """Something the user gave, or has to give, is wrong. The command line prints the message without a traceback."""
