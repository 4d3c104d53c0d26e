"""Errors of the harness: one hierarchy, so that a caller can catch all of them or one kind.

The message of each error states the cause, the place and the remedy, and can be printed as it is.
"""

from __future__ import annotations


class ParityError(Exception):
    """Base of every error that the harness raises itself."""


class UsageError(ParityError):
    """An option, an argument or a file that a user wrote is wrong. Exit code 2.

    The message names the valid values, or the file and the place in it.
    """


class RepairError(ParityError):
    """A package still fails to import after a repair; the message ends with its output."""


# Files that users write


class CaseError(UsageError):
    """A case file does not fit the schema; the message names the file and the field."""


class UnreadableFileError(ParityError):
    """A file is missing, no regular file, or too large; the message states the reason, not the path."""


class DecodeError(ParityError):
    """A media file is broken, of an unknown format, or too large; the message states the reason only."""


class MediaError(ParityError):
    """A media item cannot be drawn or decoded; the message names the case, the item and the file."""


class KnownIssuesError(UsageError):
    """The file of known issues cannot be read; the message names the entry and the field."""


class ModelListError(UsageError):
    """The list of models cannot be read; the message names the entry and the field."""


class ReplayError(UsageError):
    """A replay file does not fit the schema; the message names the file and the field."""


class PublicReportError(UsageError):
    """A file of the catalog of public reports does not fit the schema; the message names file and field."""


class MissingValueError(ParityError, ValueError):
    """A trace has no value of this name. Also a ``ValueError``, for validators of pydantic."""


class PromotionError(UsageError):
    """A fuzz finding cannot become a case; the message names the reason."""


# Files that the harness writes


class RecordError(ParityError):
    """A file does not hold the expected record; the message names the file and the field."""


class DamagedFolderError(RecordError):
    """A folder of the cache does not fit its manifest; the message names the first file that does not."""


class SketchError(ParityError):
    """A file does not hold the expected array sketch; the message names it."""


class MissingTraceError(ParityError):
    """A run lacks a trace; the message names it and the command that makes it."""


# The run store


class StoreError(ParityError):
    """The database of the run store cannot be reached, read or written; the message names it."""


# Models


class UnknownModelError(ParityError):
    """No checkpoint was found for a model; the message lists the attempts."""


class CheckpointBuildError(ParityError):
    """A synthetic checkpoint could not be built; the message states the cause and the remedy."""


class CheckpointChangedError(ParityError):
    """The files of a checkpoint changed between two loads of a session; the message names the folder."""


class MissingVocabularyError(ParityError):
    """A package that ships a released vocabulary is not installed; the message names it."""


# Backends and releases


class UnknownBackendError(ParityError):
    """No backend has this name; the message lists those that exist."""


class UnknownReleaseError(ParityError):
    """No adapter supports a release; the message lists the supported versions."""


class ReleaseTableError(ParityError):
    """The table of releases in the package cannot be read; the message names the field."""


class EngineNotInstalledError(ParityError):
    """No known environment holds the engine; the message states how to install it."""


class PackageIndexError(ParityError):
    """The releases of a package cannot be listed."""


class EnvironmentBuildError(ParityError):
    """An environment could not be installed; the message ends with the installer's output."""


# Raised by a backend, in the engine's process


class UnsupportedError(ParityError):
    """The engine does not support this; the message quotes the engine."""


class ModeNotApplicableError(ParityError):
    """This request cannot run in the requested mode, such as a prompt too short for the prefix cache.

    The message states the reason. An output of the engine would show nothing about the mode.
    """


class EngineError(ParityError):
    """The engine accepted a request and failed, or ignored an argument; the message quotes it.

    Never a refusal, whenever it is raised.
    """


class EngineCrashedError(ParityError):
    """The engine can answer neither this request nor another; it needs a new process."""


class PrivateApiChangedError(ParityError):
    """A private name of an engine that a backend relies on is missing; the message names it."""


class HookError(ParityError):
    """A hook of the harness inside an engine raised; the message ends with the frames of its traceback."""


class ServerEndedError(ParityError):
    """The server ended before it was ready; the message ends with its output."""


class ForeignServerError(ParityError):
    """Another process than the server listens on its port; the message names it."""


class UnexpectedResponseError(ParityError):
    """A server's response lacks a requested field; the message names it."""


class RequestRefusedError(ParityError):
    """The server answered that the request is invalid; the message quotes it."""


# Raised in the harness's own process about a child


class WorkerDiedError(ParityError):
    """The capture worker ended or hung; the message describes its exit and ends with its output."""


# Raised by a run on a cluster


class ClusterError(ParityError):
    """The cluster cannot be reached, or lacks something that a load needs; the message states the remedy."""
