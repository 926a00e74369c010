// Elements of the page, and names and numbers as it shows them.

export const $ = (selector) => document.querySelector(selector);
export const element = (name, attributes = {}, ...children) => {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

export const visible = (text) => text.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "→");
export const short = (x) => (x === 0 ? "0" : Math.abs(x) < 0.005 ? "0.00" : x.toFixed(2));

export const named = (writer) => {
  const [, block, head] = writer.match(/^[am](\d+)(?:\.h(\d+))?$/) ?? [];
  if (block === undefined) return "embedding";
  return head === undefined ? `MLP ${block}` : `head ${head} of block ${block}`;
};
