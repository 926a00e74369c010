// A map over levels and tokens: a table whose cells can be chosen by click and by keys.

import { element, short, visible } from "./dom.js";
import { placed, state } from "./state.js";

// Shows an array [level, token] as a table whose cells can be chosen.
export function grid(table, { values, labels, name, diverging }) {
  const tokens = labels.length;
  const levels = values.length / tokens;
  const most = values.reduce((m, x) => Math.max(m, Math.abs(x)), 0) || 1;
  const body = element("tbody");
  const active = state.place ? placed() : [levels - 1, tokens - 1];
  for (let level = levels - 1; level >= 0; level--) {
    const row = element("tr", { role: "row", "data-level": level }, element("th", { scope: "row" }, `h${level}`));
    for (let token = 0; token < tokens; token++) {
      const x = values[level * tokens + token];
      const cell = element("td", {
        role: "gridcell",
        "data-place": `${level},${token}`,
        "aria-label": `level ${level}, token ${token} ${visible(labels[token])}: ${name} ${x.toPrecision(4)}`,
        "aria-selected": state.place === `${level},${token}`,
        tabindex: level === active[0] && token === active[1] ? 0 : -1,
      }, short(x));
      const part = diverging ? Math.abs(x) / most : Math.sqrt(Math.abs(x) / most);
      const colour = diverging ? (x < 0 ? "cool" : "warm") : "strong";
      cell.style.background = `color-mix(in oklab, var(--${colour}) ${(60 * part).toFixed(1)}%, var(--void))`;
      row.append(cell);
    }
    body.append(row);
  }
  const names = labels.map((text, i) => element("th", { scope: "col", title: `${i} ${visible(text)}` }, visible(text)));
  table.replaceChildren(body, element("tfoot", {}, element("tr", {}, element("td"), ...names)));
  table.onkeydown = (event) => {
    const at = event.target.dataset?.place?.split(",").map(Number);
    const step = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!at) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      event.target.click();
    } else if (step) {
      event.preventDefault();
      const to = cellAt(table, `${at[0] + step[0]},${at[1] + step[1]}`);
      if (!to) return;
      event.target.tabIndex = -1;
      to.tabIndex = 0;
      to.focus();
    }
  };
}

// Scrolls a wide table, which a phone shows in part, so that a cell of it is in the middle.
export function reveal(cell) {
  const view = cell?.closest(".scroll");
  if (view) view.scrollLeft = cell.offsetLeft + (cell.offsetWidth - view.clientWidth) / 2;
}

export const cellAt = (table, place) => table.querySelector(`[data-place="${place}"]`);
