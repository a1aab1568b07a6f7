"""The import name of the top-level folder kernels/, one operation per file.

Always import `cot_rm.kernels.<op>`. The bare name `kernels` belongs to a Hugging Face package that
`transformers` looks for when it is imported, so the top-level folder has no `__init__.py` and is
never imported by its own name. A clone and an editable install import the kernels through this
file; a regular install copies the kernels into this folder, and leaves this file out.
"""

import pathlib
from typing import TYPE_CHECKING, Any

__path__ = [str(pathlib.Path(__file__).resolve().parents[2] / "kernels")]

if TYPE_CHECKING:

  def __getattr__(name: str) -> Any: ...  # type checkers do not follow __path__
