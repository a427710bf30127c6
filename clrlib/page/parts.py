"""What the widgets are made of: rows that fit a narrow window, a picture with words, code to copy. Plain ipywidgets (7.7 and 8)."""

from __future__ import annotations

import html

import ipywidgets as w
from traitlets import Unicode

WIDE = {"description_width": "150px"}
FITS = "calc(100% - 4px)"  # each widget has a margin of 2 px, left and right
ROW = w.Layout(width="560px", max_width=FITS)
COPY = (
    "const p=this.parentNode.querySelector('pre'),r=document.createRange(),s=getSelection();r.selectNodeContents(p);"
    "s.removeAllRanges();s.addRange(r);this.textContent=document.execCommand('copy')?'Copied':'Selected: press Ctrl-C'"
)
SCROLLS = "overflow-x:auto;white-space:pre;padding:8px;line-height:1.35;font-size:12px"


class Picture(w.Image):
    """A PNG that shrinks with its window; its `tooltip` is what a screen reader calls it (ipywidgets 8).

    A tooltip needs a description, if an empty one, which ipywidgets' own Image lacks: the page would show an error in place of it.
    """

    description = Unicode("").tag(sync=True)

    def __init__(self, **layout):
        super().__init__(format="png", layout=w.Layout(max_width=FITS, object_fit="contain", **layout))


def code_box(code: str) -> str:
    """HTML: the code with a button that copies it (or selects it, where a page may not copy). Long lines scroll."""
    button = f'<button type="button" class="jupyter-button widget-button" style="width:170px" onclick="{COPY}">Copy this schedule</button>'
    return f'<div style="width:0;min-width:100%">{button}<pre style="{SCROLLS}">{html.escape(code)}</pre></div>'
