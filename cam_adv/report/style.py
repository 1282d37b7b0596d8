"""What all figures share: colours, sizes and dots per inch. Needs no torch."""

# Okabe and Ito's colours, told apart by every kind of colour sight; dashes tell a second round of them apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#000000", "#CC79A7", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 2)))
QUIET = "#5A5A5A"
PANEL = (2.4, 1.8)  # inches
HEADING_SIZE = 9.0
LEGEND = {"fontsize": 6.5, "frameon": False, "labelspacing": 0.3, "columnspacing": 1.2}
LOG_SPAN = 100  # values of one panel that differ by more than this are read on a logarithmic axis
DPI = 250
