"""The only place that makes pixels: blocks, and one self-contained page of them.

blocks         what a report is made of, as data
page_html      a page as one HTML file; `write_page` writes it
from_results   tables of results; `results_page` the page of a run's results
trained_page   the page of a training run
audit_page     the page of an audit
scored_page    the page of scorecards, one or several side by side
"""

from concord.report.audited import audit_page
from concord.report.blocks import Page
from concord.report.html import page_html, write_page
from concord.report.results import from_results, results_curve, results_page
from concord.report.scored import scored_page
from concord.report.trained import trained_page

__all__ = [
    "Page",
    "audit_page",
    "from_results",
    "page_html",
    "results_curve",
    "results_page",
    "scored_page",
    "trained_page",
    "write_page",
]
