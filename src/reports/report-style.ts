/**
 * Style of the page: light and dark, readable on a phone. Colours are Okabe and Ito's, which
 * colour-blind readers can distinguish.
 */
export const palette = `
:root {
  color-scheme: light dark;
  --page: #fbfbfa; --card: #ffffff; --text: #1d2125; --soft: #5b646d; --line: #dfe2e5; --bar: #c9d8e6;
  --blue: #0072b2; --orange: #c25100; --grey: #7a838c; --green: #00875f; --purple: #a8507f; --sky: #2b8cbe;
  --brown: #7a5230; --red: #b3122d; --olive: #6b7500; --good: #00694b; --bad: #b03a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15181b; --card: #1c2024; --text: #e4e7ea; --soft: #a3adb7; --line: #343a41; --bar: #2f4a61;
    --blue: #56b4e9; --orange: #f0a03c; --grey: #9aa4ae; --green: #2fc795; --purple: #e39cc3; --sky: #8fd3f4;
    --brown: #c89b6e; --red: #ff8793; --olive: #d3d45c; --good: #4fd0a5; --bad: #ff9b6b;
  }
}
`;

export const reportStyle = `${palette}* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .5rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; }
.soft, figcaption { color: var(--soft); }
.tables { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); align-items: start; }
.scroll { overflow-x: auto; }
table.figures { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem; }
table.figures :is(th, td) { text-align: right; padding: .3rem .5rem; border-bottom: 1px solid var(--line); font-weight: 400; }
table.figures :is(th, td):first-child { text-align: left; padding-left: 0; }
table.figures thead th { color: var(--soft); vertical-align: bottom; }
.plots { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); }
figure, .response { margin: 0; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 8px; min-width: 0; }
figcaption { font-size: .9rem; margin-top: .4rem; }
.plot { width: 100%; min-height: 270px; }
.plot .u-legend th { font-weight: 500; }
.plot .u-legend { font-size: .85rem; text-align: left; margin: .25rem 0 0; }
.plot .u-legend .u-series > * { padding: 2px 3px; }
.plot .u-select { background: color-mix(in srgb, var(--grey) 25%, transparent); }
details { margin-top: .5rem; font-size: .9rem; }
summary { cursor: pointer; color: var(--soft); }
details .scroll { max-height: 18rem; overflow-y: auto; }
.response { margin-top: 1rem; }
.response .problem, .segment .text, .segment .rationale { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: .84rem; overflow-wrap: anywhere; white-space: pre-wrap; }
.problem { margin: 0 0 .6rem; color: var(--soft); max-width: none; }
.mark { display: inline-block; padding: 0 .5rem; border-radius: 1rem; border: 1px solid currentColor; font-size: .82rem; font-weight: 600; }
.right { color: var(--good); } .wrong { color: var(--bad); }
.segment { display: grid; grid-template-columns: minmax(4.5rem, 9rem) 8.5rem 4.5rem 1fr; gap: .2rem .8rem; padding: .3rem 0; border-top: 1px solid var(--line); align-items: center; }
.segment.head { color: var(--soft); font-size: .82rem; border-top: 0; }
.value { position: relative; height: 1.35rem; border-radius: 3px; border: 1px solid var(--line); overflow: hidden; font-variant-numeric: tabular-nums; font-size: .82rem; }
.value i { position: absolute; inset: 0 auto 0 0; background: var(--bar); }
.value b { position: relative; font-weight: 400; padding-left: .4rem; }
.advantage { font-variant-numeric: tabular-nums; text-align: right; font-size: .88rem; }
.rationale { color: var(--soft); }
@media (max-width: 40rem) {
  .segment { grid-template-columns: 1fr 6.5rem 5rem; }
  .segment.head .rationale { display: none; }
  .segment .rationale { grid-column: 1 / -1; }
}
`;
