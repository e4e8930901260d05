"""The style sheet of the page: no font, script or image from elsewhere; light and dark; a phone or a wide screen."""

SHEET = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --card: #ffffff; --ink: #1b2430; --soft: #5a6575; --line: #e2e0d9; --network: #0b5fa5;
  --baseline: #c8691c; --bar: #dfe6ee; --figure: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #11161d; --card: #19202a; --ink: #e4e8ee; --soft: #9aa6b5; --line: #2b3542; --network: #6db3f2;
    --baseline: #eea15c; --bar: #2b3542; --figure: #ffffff;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.6 -apple-system, BlinkMacSystemFont, "Segoe UI", Inter, Roboto, "Helvetica Neue", "DejaVu Sans",
    sans-serif;
}
main { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem 4rem; }
h1, h2, h3, .big {
  font-family: "Iowan Old Style", "Palatino Linotype", Palatino, "Source Serif 4", Georgia, "DejaVu Serif", serif;
  font-weight: 600; line-height: 1.2; letter-spacing: -0.01em;
}
h1 { font-size: clamp(2rem, 6vw, 3.1rem); margin: 0.2rem 0 0.6rem; overflow-wrap: anywhere; }
h2 { font-size: clamp(1.6rem, 4vw, 2.1rem); margin: 0 0 0.5rem; overflow-wrap: anywhere; }
h3 { font-size: 1.2rem; margin: 2.6rem 0 0.7rem; }
p { margin: 0 0 1rem; max-width: 44rem; }
a { color: var(--network); text-decoration-thickness: 1px; text-underline-offset: 0.18em; }
.kicker { font-size: 0.78rem; letter-spacing: 0.14em; text-transform: uppercase; color: var(--soft); margin: 0; }
.muted { color: var(--soft); font-size: 0.86em; }
.lead { font-size: 1.14rem; line-height: 1.55; max-width: 46rem; }
.network { color: var(--network); } .baseline { color: var(--baseline); }
.top { padding: 3.6rem 0 0; }
.cards, .tiles, .figures { display: grid; gap: 1.1rem; }
.cards { grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); margin: 1.6rem 0 1rem; }
.card, .tile {
  background: var(--card); border: 1px solid var(--line); border-radius: 0.7rem; padding: 1.1rem 1.25rem 1.2rem;
}
a.card { color: inherit; text-decoration: none; display: block; transition: border-color 0.15s; }
a.card:hover, a.card:focus-visible { border-color: var(--network); }
.card .name { font-weight: 600; overflow-wrap: anywhere; }
.big { font-size: 2.5rem; margin: 0.25rem 0 0; letter-spacing: -0.02em; }
.bars {
  display: grid; grid-template-columns: auto 1fr auto; gap: 0.3rem 0.7rem; align-items: center; margin-top: 0.9rem;
  font-size: 0.8rem; color: var(--soft); font-variant-numeric: tabular-nums;
}
.bars svg { width: 100%; height: 0.8rem; display: block; overflow: visible; }
.task { border-top: 1px solid var(--line); margin-top: 3rem; padding-top: 2.4rem; }
.figures { grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); margin-top: 1.8rem; }
figure {
  margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 0.7rem; overflow: hidden;
  display: flex; flex-direction: column;
}
figure.wide { grid-column: 1 / -1; }
.plate { background: var(--figure); flex: 1; display: flex; align-items: center; justify-content: center; }
.plate img { display: block; max-width: 100%; width: auto; height: auto; }
figcaption {
  padding: 0.8rem 1.15rem 1rem; font-size: 0.88rem; line-height: 1.5; color: var(--soft);
  border-top: 1px solid var(--line);
}
figcaption strong { color: var(--ink); display: block; font-size: 0.95rem; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr)); }
.tile { padding: 0.85rem 1.05rem 0.95rem; }
.tile dt { font-size: 0.82rem; color: var(--soft); }
.tile dd { margin: 0.1rem 0 0; font-size: 1.12rem; font-weight: 600; line-height: 1.35; overflow-wrap: anywhere; }
.tile dd.muted { font-weight: 400; font-size: 0.84rem; }
dl { margin: 0; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 0.7rem; background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
th, td { padding: 0.55rem 0.95rem; text-align: left; vertical-align: top; }
th { font-weight: 600; font-size: 0.82rem; color: var(--soft); white-space: nowrap; }
tbody tr { border-top: 1px solid var(--line); }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td .muted { display: block; }
td.meaning, .meaning { color: var(--soft); min-width: 15rem; }
code, pre {
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 0.86em;
}
pre {
  margin: 0; padding: 1.1rem 1.25rem; overflow-x: auto; background: var(--card); border: 1px solid var(--line);
  border-radius: 0.7rem; line-height: 1.5;
}
details { margin-top: 1.1rem; }
summary { cursor: pointer; font-weight: 600; margin-bottom: 0.7rem; }
ul.files { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 0.4rem 1.8rem; }
p.muted { margin-top: 0.7rem; }
.wrap { overflow-wrap: anywhere; }
@media (max-width: 40rem) { .top { padding-top: 2.2rem; } th, td { padding: 0.5rem 0.7rem; } }
@media print { body { background: #fff; } figure, .card, .tile, tr { break-inside: avoid; } a.card { color: #000; } }
"""
