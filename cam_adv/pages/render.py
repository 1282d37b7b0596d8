"""A page from its template in this folder."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cam_adv.runtime.atomic_files import write_atomically

RUN_PAGE = "report.html"
"""The page of an attack, in the run's folder."""


def write_page(template: str, path: Path, **values: Any) -> None:
    """Write a page; texts among the values are escaped."""
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False, "ensure_ascii": False}
    environment.filters |= {"percent": "{:.1%}".format, "typeset": lambda text: text.replace("'", "′")}
    write_atomically(path, environment.get_template(template).render(values))
