"""
The status page's style and script, and the policy that lets a browser run these two and nothing else.

Everything is in the page itself: a node may have no way out. It must not hold any text a person reads.
"""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root{color-scheme:light dark;--ground:#eef2f5;--card:#fff;--ink:#14212b;--soft:#4a5a67;--line:#c9d3db;--track:#dde5ea;
--some:#3b82c4;--full:#0b3c66;--bad:#9b1c1c;--badground:#fdecea;--warn:#7a4b00;--good:#1b5e3a;--link:#0b57a4;
--highground:#123a5e;--highink:#fff;--lowground:#e6eaed;--lowink:#33424e}
@media(prefers-color-scheme:dark){:root{--ground:#0e161d;--card:#17222b;--ink:#e8eef3;--soft:#a9b8c4;--line:#33434f;
--track:#2a3843;--some:#4f9be0;--full:#cfe6fb;--bad:#ff9d94;--badground:#3a1a18;--warn:#f0bf6a;--good:#86d6a6;
--link:#8cc4ff;--highground:#cfe6fb;--highink:#0b2740;--lowground:#2a3843;--lowink:#c3d0da}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.45 system-ui,sans-serif;overflow-wrap:anywhere}
a{color:var(--link)}h1,h2,h3,p,ul,table{margin:0}ul{padding:0;list-style:none}
header,main{max-width:1240px;margin:0 auto;padding:12px}
header{display:flex;flex-wrap:wrap;gap:4px 16px;align-items:center;padding-bottom:0}
header svg{width:34px;height:34px;flex:none;stroke:var(--ink);fill:none;stroke-width:2}
h1{font-size:1.3rem;line-height:1.2}h2{font-size:1rem;margin-bottom:8px}h3{font-size:.95rem;line-height:1.3}
nav{display:flex;gap:14px;margin-left:auto}nav a{padding:8px 0}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px;margin-bottom:12px}
.soft{color:var(--soft)}.small{font-size:.87rem}.lead{margin-bottom:12px}
.alert{background:var(--badground);border:1px solid var(--bad);border-left-width:6px;border-radius:8px;
padding:10px 12px;margin:0 0 12px}.alert strong{color:var(--bad)}
.list>li{padding:7px 0;border-top:1px solid var(--line)}.list>li:first-child{border-top:0;padding-top:0}
.list>li:last-child{padding-bottom:0}
.row{display:flex;gap:8px;justify-content:space-between;align-items:baseline}
.yes{color:var(--good)}.no{color:var(--warn)}.bad{color:var(--bad)}.yes,.no,.bad{font-weight:600;white-space:nowrap}
.tag{display:inline-block;border-radius:4px;padding:0 6px;font-size:.8rem;font-weight:600;border:1px solid var(--line)}
.high{background:var(--highground);color:var(--highink)}.low{background:var(--lowground);color:var(--lowink)}
.worst{font-weight:700;font-variant-numeric:tabular-nums;white-space:nowrap}
table{width:100%;border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.87rem;margin-top:6px}
th{text-align:left;font-weight:400;padding:2px 0}
td{padding:2px 0;text-align:right;vertical-align:bottom;white-space:nowrap;width:4.6em}
thead th,thead td{color:var(--soft);font-size:.8rem;padding:0}
th svg{display:block;width:100%;height:10px;margin:1px 0 4px;background:var(--track);border-radius:2px;overflow:hidden}
.s{fill:var(--some)}.f{fill:var(--full)}
.key svg{width:26px;height:12px;background:var(--track);border-radius:2px;vertical-align:-1px}
.pods{display:grid;gap:10px;grid-template-columns:minmax(0,1fr)}
.pods>li{border:1px solid var(--line);border-radius:6px;padding:9px 11px;min-width:0}
.ignored{border-left:3px solid var(--warn);padding-left:8px;margin-top:6px}
summary{cursor:pointer;padding:8px 0;color:var(--link)}details .list,details .pods{margin-top:4px}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
@media(min-width:960px){main.whole{display:grid;grid-template-columns:350px minmax(0,1fr);gap:0 14px;align-items:start}
main.whole>.lead,main.whole>.alerts{grid-column:1/-1}main.whole>.wide{grid-column:2;grid-row:3/span 9}
main.whole>section:not(.wide){grid-column:1}.pods{grid-template-columns:repeat(2,minmax(0,1fr))}}
"""

SCRIPT = """
(() => {
  const page = document.documentElement, stale = document.getElementById("stale");
  const wait = 1000 * Number(page.dataset.refresh);
  let good = new Date();
  const open = (root) => new Set([...root.querySelectorAll("details[open]")].map((each) => each.id));
  async function refresh() {
    const old = document.querySelector("main");
    if (!document.hidden && getSelection().isCollapsed) {
      try {
        const answer = await fetch(location.href, {cache: "no-store", signal: AbortSignal.timeout(10000)});
        const made = new DOMParser().parseFromString(await answer.text(), "text/html");
        const next = made.querySelector("main"), opened = open(old), focus = document.activeElement.id;
        for (const each of next.querySelectorAll("details")) each.open = opened.has(each.id);
        old.replaceWith(next);
        document.title = made.title;
        if (focus && document.activeElement.id !== focus) document.getElementById(focus)?.focus({preventScroll: true});
        good = new Date();
        stale.hidden = true;
      } catch {
        stale.querySelector("time").textContent = good.toLocaleTimeString();
        stale.hidden = false;
      }
    }
    setTimeout(refresh, wait);
  }
  setTimeout(refresh, wait);
})();
"""

# A circle with a line through it, as on a ship's side. Quotes and brackets are percent-encoded: it is an attribute.
ICON = (
    "data:image/svg+xml,%3Csvg xmlns=%27http://www.w3.org/2000/svg%27 viewBox=%270 0 34 34%27 fill=%27none%27 "
    "stroke=%27%233b82c4%27 stroke-width=%273%27%3E%3Ccircle cx=%2717%27 cy=%2717%27 r=%2711%27/%3E"
    "%3Cpath d=%27M1 17h32%27/%3E%3C/svg%3E"
)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(STYLE)}",
        f"script-src {_hash(SCRIPT)}",
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""One header value. Were a pod's text ever to become markup, the browser would still run none of it."""
