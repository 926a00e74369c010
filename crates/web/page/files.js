// Files to download: their links, whose addresses are forgotten when others take their place.

import { $, element } from "./dom.js";
import { answers } from "./state.js";

const urls = [];

// A link to a file, whose address is in a list so that it can be forgotten.
export function link(name, parts, type, list = urls) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  list.push(url);
  return element("a", { href: url, download: name }, name);
}

export const forget = (list) => list.splice(0).forEach((url) => URL.revokeObjectURL(url));

export function showFiles() {
  forget(urls);
  const items = Object.entries(answers).map(([name, answer]) => {
    const links = [
      link(`${name}.safetensors`, [answer.file], "application/octet-stream"),
      link(`${name}.json`, [answer.text], "application/json"),
      ...answer.figures.map((figure, i) => link(`${name}-${i + 1}.svg`, [figure.svg], "image/svg+xml")),
    ];
    return element("li", {}, ...links.flatMap((a, i) => (i ? [", ", a] : [a])));
  });
  $("#downloads").replaceChildren(...items);
  $("#elsewhere").hidden = items.length === 0;
}
