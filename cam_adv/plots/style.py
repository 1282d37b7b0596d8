"""Style shared by all figures: colours, sizes and resolution. Imports no torch."""

from typing import Any

# The palette of Okabe and Ito, which is safe for all kinds of colour vision; dashes distinguish a second cycle of it.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#56B4E9")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
GRAY = "#5A5A5A"
PANEL = (2.4, 1.8)  # width and height of one panel in inches
HEADING_SIZE = 9.0
LEGEND: dict[str, Any] = {"fontsize": 6.5, "frameon": False, "labelspacing": 0.3, "columnspacing": 1.2}
LOG_SPAN = 100  # positive values of one panel that span more than this factor get a logarithmic axis
DPI = 250
