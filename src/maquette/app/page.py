"""The report's page: its look, and the pieces of HTML it is put together from."""

from html import escape

STYLE = """
:root { --ground:#fbfbfa; --card:#ffffff; --ink:#1d2126; --soft:#69717b; --line:#e3e5e8; --accent:#b35c00;
  --curve:#1f6fb5; --held:#c2410c; --sphere:#0284c7;
  --p0:#1f6fb5; --p1:#2a9d8f; --p2:#e9a23b; --p3:#d1603d; --p4:#7a5195; --p5:#6b7785; }
@media (prefers-color-scheme: dark) {
  :root { --ground:#14171a; --card:#1c2024; --ink:#e7eaed; --soft:#98a2ad; --line:#2e343a; --accent:#f0a94e;
    --curve:#62b0f4; --held:#ff9466; --sphere:#53c4ff;
    --p0:#62b0f4; --p1:#4fc4b5; --p2:#f0bd69; --p3:#ee8a69; --p4:#b58bd0; --p5:#98a2ad; } }
* { box-sizing:border-box; }
body { margin:0; background:var(--ground); color:var(--ink); line-height:1.5;
  font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif; }
main { max-width:1120px; margin:0 auto; padding:40px 24px 80px; }
header h1 { font-size:30px; font-weight:650; letter-spacing:-.015em; margin:0; }
header p, .soft { color:var(--soft); margin:4px 0 0; }
h2 { font-size:19px; font-weight:620; margin:52px 0 4px; letter-spacing:-.01em; }
h2 + p { color:var(--soft); margin:0 0 16px; max-width:72ch; }
.tiles { display:grid; grid-template-columns:repeat(auto-fit,minmax(140px,1fr)); gap:12px; margin-top:28px; }
.tile { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:14px 16px; }
.tile b { display:block; font-size:20px; font-weight:620; letter-spacing:-.01em; white-space:nowrap; }
.tile span { display:block; color:var(--soft); font-size:12.5px; line-height:1.35; margin-top:3px; }
.row { display:grid; gap:12px; grid-template-columns:repeat(auto-fill,minmax(220px,1fr)); }
.row.four { grid-template-columns:repeat(4,1fr); } .row.three { grid-template-columns:repeat(3,1fr); }
.row.six { grid-template-columns:repeat(6,1fr); }
.row.two { grid-template-columns:repeat(2,minmax(0,1fr)); align-items:start; }
.row.one { grid-template-columns:1fr; }
@media (max-width:760px) { .row.four { grid-template-columns:1fr 1fr; }
  .row.six { grid-template-columns:repeat(3,1fr); }
  .row.two,.row.three { grid-template-columns:1fr; } }
figure { margin:0; } figure img { display:block; width:100%; border-radius:8px; border:1px solid var(--line); }
figcaption { color:var(--soft); font-size:12.5px; margin-top:5px; font-variant-numeric:tabular-nums; }
figure.free img { border:0; max-width:720px; margin:0 auto; } h3 { margin:0 0 8px; font-size:15px; }
.card { background:var(--card); border:1px solid var(--line); border-radius:10px; padding:16px; }
.charts { display:grid; gap:12px; grid-template-columns:repeat(auto-fill,minmax(250px,1fr)); }
svg { display:block; width:100%; height:auto; } svg text { font:11px system-ui,sans-serif; fill:var(--soft); }
svg .name { font-weight:600; fill:var(--ink); font-size:12px; } svg .value { font-size:12px; fill:var(--curve); }
svg .grid { stroke:var(--line); stroke-width:1; } svg .raw { fill:none; stroke:var(--curve); opacity:.22; }
svg .curve { fill:none; stroke:var(--curve); stroke-width:1.8; stroke-linejoin:round; }
svg .sphere { fill:var(--sphere); fill-opacity:.08; stroke:var(--sphere); stroke-width:1.4; }
svg path.learnt, svg polygon.learnt { stroke:var(--ink); stroke-opacity:.75; fill:none; stroke-width:.8; }
svg path.held, svg polygon.held { stroke:var(--held); fill:var(--held); fill-opacity:.18; stroke-width:1; }
.p0{fill:var(--p0)} .p1{fill:var(--p1)} .p2{fill:var(--p2)}
.p3{fill:var(--p3)} .p4{fill:var(--p4)} .p5{fill:var(--p5)}
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; }
td, th { text-align:left; padding:6px 10px; border-bottom:1px solid var(--line); font-weight:400; }
th { color:var(--soft); font-size:13px; } td:nth-child(2) { text-align:right; font-weight:600; white-space:nowrap; }
th:nth-child(2) { text-align:right; }
code { font:12.5px ui-monospace,SFMono-Regular,Menlo,monospace; color:var(--soft); }
ul.notes { color:var(--soft); padding-left:18px; margin:0 0 12px; font-size:14px; }
footer { color:var(--soft); font-size:13px; margin-top:64px; border-top:1px solid var(--line); padding-top:14px; }
"""


def page(title: str, subtitle: str, body: str, footer: str) -> str:
    """The whole file: nothing is loaded from elsewhere."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - Maquette</title><style>{STYLE}</style></head><body><main>"
        f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>{body}"
        f"<footer>{escape(footer)}</footer></main></body></html>\n"
    )


def section(title: str, what: str, body: str) -> str:
    """A heading, one line that says what one sees, and the content; nothing where there is no content."""
    return f"<section><h2>{escape(title)}</h2><p>{escape(what)}</p>{body}</section>" if body else ""


def figure(data: str, caption: str = "", free: bool = False) -> str:
    """A picture given as a data URI."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    kind = ' class="free"' if free else ""
    return f'<figure{kind}><img src="{data}" alt="{escape(caption)}" loading="lazy">{below}</figure>'


def row(items: list[str], kind: str = "") -> str:
    """Figures beside each other; `kind` two, three, four or six fixes their number."""
    return f'<div class="row {kind}">{"".join(items)}</div>' if items else ""


def tile(value: str, name: str) -> str:
    """A number people look for first."""
    return f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'


def table(rows: list[tuple[str, str, str]]) -> str:
    """Figure, value, key."""
    lines = "".join(
        f"<tr><td>{escape(a)}</td><td>{escape(b)}</td><td><code>{escape(c)}</code></td></tr>" for a, b, c in rows
    )
    return f"<table><tr><th>figure</th><th>value</th><th>key</th></tr>{lines}</table>"


def notes(lines: list[str]) -> str:
    """What the figures rest on."""
    return f'<ul class="notes">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>' if lines else ""
