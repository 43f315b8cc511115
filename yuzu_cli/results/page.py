"""The pieces of a web page that is one file: style, script, tables, pictures as data.

It links to nothing and forbids the browser to load anything. Without its script the page shows all
of its parts one under the other.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1c1c1c;max-width:1080px;margin:1.5em auto;
padding:0 1em}h1{font-size:1.5em;margin:0 0 .2em;overflow-wrap:anywhere}p{margin:.4em 0}
h2{font-size:1.15em;margin:1.8em 0 .5em;border-bottom:1px solid #ccc}
h3{font-size:1em;margin:1.2em 0 .3em}
.wide{overflow:auto;max-height:27em;margin:.4em 0}.sort td{white-space:nowrap}
thead th{position:sticky;top:0;background:#fff}table{border-collapse:collapse;font-size:.9em}
th,td{text-align:left;padding:.2em 1em .2em 0;vertical-align:top;border-bottom:1px solid #e4e4e4}
td.n,th.n{text-align:right;white-space:nowrap}th button{all:unset;cursor:pointer;font-weight:bold}
th button:focus-visible,nav button:focus-visible{outline:2px solid #0072b2}
th[aria-sort=ascending] button::after{content:" ▲"}
th[aria-sort=descending] button::after{content:" ▼"}
#facts th{white-space:nowrap}#facts td,code,pre{overflow-wrap:anywhere;white-space:pre-wrap}
code,pre{font-size:.88em}a{color:#00578a}img{max-width:100%;height:auto;display:block}
figure{margin:.8em 0}figcaption{color:#4a4a4a;font-size:.9em}
.pair{display:flex;flex-wrap:wrap;gap:1em}
.pair img{flex:1 1 380px;min-width:0;max-width:540px}.lead,.note{color:#4a4a4a}
.good{color:#1b7031}.bad{color:#8f4e00}input[type=search]{font:inherit;width:min(100%,26em);
padding:.3em .5em;box-sizing:border-box}nav{display:flex;flex-wrap:wrap;gap:.3em;margin:.6em 0}
nav button{font:inherit;padding:.2em .7em;border:1px solid #999;background:#fff;border-radius:3px;
cursor:pointer;overflow-wrap:anywhere}nav button[aria-selected=true]{background:#00578a;color:#fff}
@media print{.wide{max-height:none}[hidden]{display:block!important}nav,input{display:none}}
"""

SCRIPT = """
const all=(query,inside=document)=>[...inside.querySelectorAll(query)];
const panels=all('section.target'),bar=document.getElementById('tabs');
const show=id=>{panels.forEach(p=>p.hidden=p.id!==id);
all('button',bar).forEach(b=>b.setAttribute('aria-selected',b.dataset.panel===id))};
const follow=()=>{const to=document.getElementById(decodeURIComponent(location.hash.slice(1)));
const panel=to&&to.closest('section.target');if(panel){if(panels.length>1)show(panel.id);
to.scrollIntoView()}};
if(panels.length>1){for(const p of panels){const b=document.createElement('button');
b.textContent=p.dataset.name;b.dataset.panel=p.id;b.setAttribute('role','tab');
b.onclick=()=>show(p.id);bar.append(b)}show(panels[0].id)}
addEventListener('hashchange',follow);follow();
const search=document.getElementById('search');if(search){search.hidden=false;
search.oninput=()=>{const words=search.value.toLowerCase().split(/\\s+/);
all('table.find tbody tr').forEach(row=>{const text=row.textContent.toLowerCase();
row.hidden=!words.every(word=>text.includes(word))})}}
const value=cell=>cell.dataset.value===undefined?cell.textContent:+cell.dataset.value;
all('table.sort th').forEach(head=>{const b=document.createElement('button');
b.append(...head.childNodes);head.append(b);b.onclick=()=>{
const down=head.getAttribute('aria-sort')!=='descending',at=head.cellIndex;
all('th',head.parentNode).forEach(other=>other.removeAttribute('aria-sort'));
head.setAttribute('aria-sort',down?'descending':'ascending');
const body=head.closest('table').tBodies[0];
const compare=(a,b)=>typeof a==='number'&&typeof b==='number'?a-b:String(a).localeCompare(b);
[...body.rows].sort((a,b)=>(down?-1:1)*compare(value(a.cells[at]),value(b.cells[at])))
.forEach(row=>body.append(row))}});
"""


def page(title: str, body: Iterable[str]) -> str:
    """The whole file."""
    digest = "sha256-" + base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src '{digest}'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)} - yuzu</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + f"\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def table(
    identity: str, head: Sequence[str], rows: Iterable[Sequence[Any]], kind: str = "sort"
) -> str:
    """A table; numbers are right-aligned and sorted as such, texts are HTML already."""
    lines, numeric = [], set()
    for row in rows:
        cells = []
        for at, value in enumerate(row):
            if isinstance(value, str):
                cells.append(f"<td>{value}</td>")
            else:
                numeric.add(at)
                cells.append(f'<td class="n" data-value="{value:.9g}">{number(value)}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    names = "".join(
        f'<th class="n">{name}</th>' if at in numeric else f"<th>{name}</th>"
        for at, name in enumerate(head)
    )
    return (
        f'<div class="wide"><table id="{identity}" class="{kind}"><thead><tr>{names}</tr></thead>\n'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def number(value: float) -> str:
    """Three digits, or all of a whole number."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def image(figure: Any, alt: str, identity: str) -> str:
    """A figure as a PNG in the page."""
    import matplotlib as mpl

    from yuzu_cli.results.plot.figure import STYLE as DRAWING

    buffer = io.BytesIO()
    with mpl.rc_context(DRAWING):
        figure.savefig(buffer, format="png", dpi=160)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<img id="{identity}" alt="{text(alt)}" src="data:image/png;base64,{data}">'


def text(value: object) -> str:
    """Anything as text of the page."""
    return html.escape(str(value))


def plural(count: int, noun: str) -> str:
    """`1 target`, `2 targets`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
