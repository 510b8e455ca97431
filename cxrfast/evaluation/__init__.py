"""From scores and labels to a table, figures and a report; knows nothing of how the scores came about.

Works on arrays and data frames alone, without torch: a table can be made again from saved scores on any machine.
Matplotlib is imported when the first figure is drawn. `auroc` is left in its module, whose name it would hide here.
"""

from cxrfast.evaluation.as_html import write_html
from cxrfast.evaluation.as_markdown import write_markdown
from cxrfast.evaluation.auroc import auroc_of_counts
from cxrfast.evaluation.bootstrap import bootstrap_auroc, draw_counts
from cxrfast.evaluation.comparison import Comparison, compare
from cxrfast.evaluation.figures import interval_plot, label_bars, loss_curves
from cxrfast.evaluation.report import Picture, Report, Section, Table, auroc_table
from cxrfast.evaluation.table import Evaluation, evaluate
from cxrfast.evaluation.wording import findings, plus_minus, provisos

__all__ = [
    "Comparison",
    "Evaluation",
    "Picture",
    "Report",
    "Section",
    "Table",
    "auroc_of_counts",
    "auroc_table",
    "bootstrap_auroc",
    "compare",
    "draw_counts",
    "evaluate",
    "findings",
    "interval_plot",
    "label_bars",
    "loss_curves",
    "plus_minus",
    "provisos",
    "write_html",
    "write_markdown",
]
