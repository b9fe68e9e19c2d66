"""The one error of the data package."""


class DataError(ValueError):
    """A data file is missing, damaged, of the wrong form or cannot be fetched; the message is one line."""
