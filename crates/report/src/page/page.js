"use strict";
// Texts of marks follow the pointer at once, instead of appearing after a while as the browser's own do; on a touch screen,
// where there are none, a tap shows them. Without this script the browser's remain.
(() => {
  const root = document.documentElement, tip = document.getElementById("tip");
  for (const title of document.querySelectorAll("svg.plot title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove();
  }
  const show = (event) => {
    const mark = event.target.closest && event.target.closest("[data-tip]");
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.tip;
    const x = event.clientX + 14, y = event.clientY + 16;
    const left = Math.min(x, innerWidth - tip.offsetWidth - 8);
    const top = y + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 12 : y;
    tip.style.transform = `translate(${Math.max(left, 8)}px, ${top}px)`;
  };
  addEventListener("pointermove", show, { passive: true });
  addEventListener("pointerdown", show, { passive: true });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true, capture: true });
  document.addEventListener("pointerleave", () => { tip.hidden = true; });

  // Print what is folded away.
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });

  const button = document.getElementById("theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    root.dataset.theme = (root.dataset.theme || system) === "dark" ? "light" : "dark";
  });
})();
