"""Settings that name one of a few ways: a wrong name is an error where the program starts."""

from cot_rm import registry


def check(settings, name, choices):
  """Raises ValueError where the field `name` of an algorithm's Config is none of `choices`."""
  value = getattr(settings, name)
  if value in choices:
    return
  raise ValueError(f"{knob(settings, name)} is {value!r}; {registry.hint(value, choices)}")


def knob(settings, name):
  """The knob that a field of an algorithm's Config comes from."""
  algorithm = type(settings).__module__.rpartition(".")[2]
  return f"config.rl.settings.{algorithm}.{name}"
