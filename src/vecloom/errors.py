"""Every error that vecloom raises on purpose, under one base.

    VecloomError
    ├── UsageError            the call or the command line is wrong                  (exit code 2)
    │   ├── UnknownModelError     a model name that no row answers to
    │   └── ConfigError           the config file or an environment variable
    ├── WeightsError          a model's files cannot be had, or are not what the row says
    ├── DeviceError           a device that was asked for is not there, or cannot do what was asked
    ├── EncodingError         a model gave something that cannot be stored (NaN, wrong dimension)
    ├── StoreError            the shard or collection refused, or cannot be read
    │   ├── StoreBusyError        another process holds it
    │   ├── InvalidVectorError    a vector that must not be stored (NaN, zero, unsorted, wrong size)
    │   └── StoreFullError        no room on the disk
    ├── IndexMismatchError    the index was made with other models or settings
    ├── JudgmentsError        judged queries that cannot be read, or do not fit the index
    ├── PackError             a pack that is damaged, was tampered with, or is none
    ├── TimeLimitError        the time that was given is over; what is done stays
    ├── IndexFormatError      the index was made by a newer version, or is not an index
    └── MissingExtraError     an optional dependency is not installed

A message is one line: what happened, with the offending value, and what to do next.
"""

from __future__ import annotations


class VecloomError(Exception):
    """Base of every error that vecloom raises on purpose."""

    exit_code = 1


def is_panic(error: BaseException) -> bool:
    """True for a panic of a Rust library: it is no `Exception`, and its class cannot be imported."""
    return type(error).__name__ == "PanicException"


class UsageError(VecloomError):
    """The call or the command line is wrong."""

    exit_code = 2


class UnknownModelError(UsageError):
    """A model name that no registry row answers to."""


class ConfigError(UsageError):
    """The config file or an environment variable is wrong."""


class WeightsError(VecloomError):
    """A model's files cannot be had, or are not what the registry row says."""


class DeviceError(VecloomError):
    """A device that was asked for is not there, or cannot do what was asked."""


class EncodingError(VecloomError):
    """A model gave something that cannot be stored."""


class StoreError(VecloomError):
    """The shard or collection refused an operation, or cannot be read."""


class StoreBusyError(StoreError):
    """Another process holds the store."""


class InvalidVectorError(StoreError):
    """A vector that must not be stored: NaN, zero, unsorted indices, wrong size, unknown name."""


class StoreFullError(StoreError):
    """There is no room left on the disk."""


class IndexMismatchError(VecloomError):
    """The index was made with other models or settings than those asked for."""

    exit_code = 2


class JudgmentsError(VecloomError):
    """Judged queries that cannot be read, or that do not fit what the index holds."""


class PackError(VecloomError):
    """A pack that is damaged, was tampered with, was made by a newer version, or is none."""


class TimeLimitError(VecloomError):
    """The time that the user gave is over; what is done stays, and the next run goes on."""


class IndexFormatError(VecloomError):
    """The index was made by a newer version, or the folder is not an index."""


class MissingExtraError(VecloomError):
    """An optional dependency is not installed; the message holds the command that adds it."""

    def __init__(self, what: str, extra: str) -> None:
        from vecloom.installation import describe_extra

        super().__init__(f"{what} needs an optional dependency: {describe_extra(extra)}")
        self.what = what
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        return type(self), (self.what, self.extra)
