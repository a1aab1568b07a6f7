"""Errors of the machine, which must not be taken for those of a file."""

import errno

# Too many open files, no memory, a broken disk.
MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
# ffmpeg uses the other two for damaged files.
OPEN_FILES = (errno.EMFILE, errno.ENFILE)


def is_of_machine(error: BaseException, numbers: tuple[int, ...] = MACHINE) -> bool:
  """Whether an error, or the reason that an error of urllib has, is one of these of the system."""
  cause = getattr(error, "reason", error)
  return isinstance(cause, OSError) and cause.errno in numbers
