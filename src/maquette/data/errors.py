"""The one error that speaks to the person at the keyboard."""


class InputError(Exception):
    """Something given to Maquette cannot be used: expected, got, where, what to do, in one message.

    The command line prints the message alone and exits with 2.
    """
