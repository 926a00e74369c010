// What the page says of its work: what it does, how far it is, what went wrong.

import { $ } from "./dom.js";

export const say = (text) => ($("#status").textContent = text);

export function progress(part) {
  $("#progress").hidden = part === null;
  // Work of a single step shows only that it runs.
  if (part) $("#progress").value = Math.min(part, 1);
  else $("#progress").removeAttribute("value");
}

export function complain(message) {
  $("#error").hidden = !message;
  $("#error").textContent = message ?? "";
}

export function busy(is) {
  $("#compute").disabled = is;
  $("#stop").hidden = !is;
  if (!is) progress(null);
}
