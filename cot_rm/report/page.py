"""Pages from the templates of this folder."""

import jinja2
from etils import epath


def render(template: str, **values: object) -> str:
  """The text of a page; values are escaped, and one that is missing is an error."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(str(epath.Path(__file__).parent)),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  return environment.get_template(template).render(**values)
