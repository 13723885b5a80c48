// A little Markdown as DOM nodes: fences, inline code, lists, headings, bold, italics. Text only ever becomes text nodes, so
// that nothing a model writes can become an element, a link or a script. What is not understood stays as it was written.

const FENCE = /^\s*(```|~~~)\s*([\w+#.-]*)\s*$/;
const HEADING = /^(#{1,6})\s+(.+)$/;
const BULLET = /^\s*[-*+]\s+(.*)$/;
const NUMBER = /^\s*(\d{1,9})[.)]\s+(.*)$/;
const INLINE = /`([^`\n]+)`|\*\*([^*\n]+(?:\*[^*\n]+)*)\*\*|\*([^\s*][^*\n]*)\*/g;

function make(name, ...children) {
  const element = document.createElement(name);
  element.append(...children);
  return element;
}

function inline(text) {
  const nodes = [];
  let done = 0;
  for (const found of text.matchAll(INLINE)) {
    if (found.index > done) nodes.push(text.slice(done, found.index));
    const [, code, bold, italic] = found;
    if (code !== undefined) nodes.push(make("code", code));
    else if (bold !== undefined) nodes.push(make("strong", ...inline(bold)));
    else nodes.push(make("em", italic));
    done = found.index + found[0].length;
  }
  if (done < text.length) nodes.push(text.slice(done));
  return nodes;
}

function paragraph(lines) {
  const element = document.createElement("p");
  lines.forEach((line, index) => {
    if (index) element.append(document.createElement("br"));
    element.append(...inline(line));
  });
  return element;
}

function fence(lines, start) {
  const [, mark, language] = lines[start].match(FENCE);
  let end = start + 1;
  while (end < lines.length && lines[end].trim() !== mark) end += 1;
  const code = make("code", lines.slice(start + 1, end).join("\n"));
  if (language) code.dataset.language = language;
  return [make("pre", code), end + 1];
}

function list(lines, start) {
  const numbered = NUMBER.test(lines[start]);
  const element = document.createElement(numbered ? "ol" : "ul");
  if (numbered) element.start = Number(lines[start].match(NUMBER)[1]);
  let at = start;
  for (; at < lines.length; at += 1) {
    const found = lines[at].match(numbered ? NUMBER : BULLET);
    if (found) element.append(make("li", ...inline(found[numbered ? 2 : 1])));
    else if (/^\s+\S/.test(lines[at]) && element.lastChild) element.lastChild.append(" ", ...inline(lines[at].trim()));
    else break;
  }
  return [element, at];
}

function startsBlock(line) {
  return !line.trim() || FENCE.test(line) || HEADING.test(line) || BULLET.test(line) || NUMBER.test(line);
}

export function renderMarkdown(text) {
  const lines = text.split("\n");
  const fragment = document.createDocumentFragment();
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    let block = null;
    if (!line.trim()) {
      at += 1;
      continue;
    }
    const heading = line.match(HEADING);
    if (FENCE.test(line)) [block, at] = fence(lines, at);
    else if (BULLET.test(line) || NUMBER.test(line)) [block, at] = list(lines, at);
    else if (heading) {
      block = make("h3", ...inline(heading[2]));
      at += 1;
    } else {
      const start = at;
      do at += 1;
      while (at < lines.length && !startsBlock(lines[at]));
      block = paragraph(lines.slice(start, at));
    }
    fragment.append(block);
  }
  return fragment;
}
