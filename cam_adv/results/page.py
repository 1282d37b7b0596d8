"""Pages whose figures are computed from records.

A figure stands between `<!-- =EXPRESSION -->` and `<!-- / -->`, which a reader of the page doesn't see. The
expression is Jinja's; the results are its variables, for instance `digits.values.success|rate`, and `all_results` is
all of them by name.
"""

import re
from collections.abc import Mapping

from jinja2 import Environment, StrictUndefined, TemplateError, meta

from cam_adv.errors import UserError
from cam_adv.results import filters, study_tables
from cam_adv.results.record import Record

PLACE = re.compile(r"<!-- =(.+?) -->(.*?)<!-- / -->", re.DOTALL)
NOT_MEASURED = "not measured"

ENVIRONMENT = Environment(undefined=StrictUndefined, autoescape=False)
ENVIRONMENT.filters |= filters.FILTERS | study_tables.FILTERS


def render(page: str, records: Mapping[str, Record | None]) -> str:
    """The page with every figure computed anew.

    Args:
        records: of all results; None for those that were never made, whose figures become "not measured".

    Raises:
        UserError: an expression can't be computed.
    """

    def computed(place: re.Match[str]) -> str:
        expression = place[1]
        try:
            if any(records[name] is None for name in used_results(expression)):
                text = NOT_MEASURED
            else:
                compute = ENVIRONMENT.compile_expression(expression, undefined_to_none=False)
                text = str(compute(**records, all_results=records))
        except (KeyError, TypeError, ValueError, TemplateError) as error:
            raise UserError(f"{expression} can't be computed: {error}.", "Correct it in the page.") from error
        return f"<!-- ={expression} -->{_placed(text)}<!-- / -->"

    return PLACE.sub(computed, page)


def used_results(expression: str) -> set[str]:
    """The results that an expression names."""
    return meta.find_undeclared_variables(ENVIRONMENT.parse(f"{{{{ {expression} }}}}")) - {"all_results"}


def results_of(page: str) -> set[str]:
    """The results that a page names."""
    return {name for expression, _ in PLACE.findall(page) for name in used_results(expression)}


def _placed(text: str) -> str:
    """A table on lines of its own, anything else in the line."""
    return f"\n{text.strip()}\n" if "\n" in text.strip() else text
