// One answer on the page: it streams, is stopped, fails and is tried again, is copied, and tells how fast it was.

import { rate, streamChat } from "./api.js";
import { renderMarkdown } from "./markdown.js";
import { speak } from "./words.js";

const PROBLEMS = {
  connection_lost: "connectionLost",
  context_length_exceeded: "tooLong",
  deadline_exceeded: "deadline",
  engine_down: "engineDown",
  engine_failed: "engineFailed",
  invalid_api_key: "keyNeeded",
  queue_full: "busy",
  shutting_down: "leaving",
};

export function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

function copyButton(key, text) {
  const button = make("button", "tool small copy", icon("copy"));
  button.type = "button";
  speak(button, key, {}, "label");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      return;
    }
    button.classList.add("copied");
    speak(button, "copied", {}, "label");
    setTimeout(() => {
      button.classList.remove("copied");
      speak(button, key, {}, "label");
    }, 1500);
  });
  return button;
}

// Two thumbs, of which one may be down; pressed again, or the other one, it is said anew.
function ratingButtons(id) {
  const group = make("span", "rating");
  for (const rating of ["up", "down"]) {
    const button = make("button", "tool small", icon(rating === "up" ? "good" : "bad"));
    button.type = "button";
    button.setAttribute("aria-pressed", "false");
    speak(button, rating === "up" ? "good" : "bad", {}, "label");
    button.addEventListener("click", async () => {
      try {
        await rate(id, rating);
      } catch (problem) {
        if (problem.name === "AbortError") throw problem;
        speak(button, "notKept", { message: problem.message }, "label");
        button.classList.add("failed");
        return;
      }
      for (const other of group.children) other.setAttribute("aria-pressed", String(other === button));
    });
    group.append(button);
  }
  return group;
}

export class Answer {
  // `history` is asked anew for each try; `onChange` is called after the page has changed.
  constructor({ model, role, history, options, onChange }) {
    this.model = model;
    this.text = "";
    this.running = null;
    this.ended = null;
    this.history = history;
    this.options = options;
    this.onChange = onChange;
    this.frame = null;
    this.body = make("div", "body");
    this.facts = make("p", "facts");
    this.element = make("article", "answer", this.heading(role), this.body, this.facts);
    this.element.dataset.role = role;
  }

  heading(role) {
    const tag = make("span", "tag");
    speak(tag, role);
    const name = make("span", "name", this.model.id);
    // The tag says it already.
    return name.textContent === role ? make("header", "who", tag) : make("header", "who", tag, name);
  }

  stop() {
    this.running?.abort();
  }

  async run() {
    this.text = "";
    this.running = new AbortController();
    this.element.setAttribute("aria-busy", "true");
    this.facts.replaceChildren();
    this.wait();
    const startedAt = performance.now();
    const clock = { startedAt, firstAt: null, numPieces: 0 };
    try {
      const end = await streamChat(
        { model: this.model.id, messages: this.history(), ...this.options() },
        { signal: this.running.signal, onText: (text) => this.add(text, clock) },
      );
      this.finish({ ...end, clock });
    } catch (error) {
      if (error.name === "AbortError") this.finish({ reason: "stopped", numTokens: clock.numPieces, clock });
      else this.fail(error);
    }
  }

  wait() {
    const dots = make("span", "dots", make("i"), make("i"), make("i"));
    this.body.replaceChildren(dots);
    if (this.model.state === "asleep") {
      const note = make("span", "note");
      speak(note, "starting");
      this.body.append(note);
    }
    this.onChange();
  }

  add(text, clock) {
    clock.firstAt ??= performance.now();
    clock.numPieces += 1;
    this.text += text;
    this.model.state = "ready";
    // At most one painting per frame, however fast the tokens come.
    this.frame ??= requestAnimationFrame(() => this.paint());
  }

  paint() {
    if (this.frame !== null) cancelAnimationFrame(this.frame);
    this.frame = null;
    if (this.text) this.body.replaceChildren(renderMarkdown(this.text));
    this.onChange();
  }

  finish({ id, reason, numTokens, clock }) {
    this.end(reason);
    this.paint();
    if (!this.text) this.body.replaceChildren(make("p", "empty", "—"));
    for (const block of this.body.querySelectorAll("pre")) {
      block.append(copyButton("copyCode", () => block.querySelector("code").textContent));
    }
    this.tell(reason, numTokens, clock);
    if (id && this.text && this.model.keeps_answers) this.facts.append(ratingButtons(id));
    this.onChange();
  }

  tell(reason, numTokens, { startedAt, firstAt }) {
    const facts = [["tokens", { count: numTokens }]];
    if (firstAt !== null) {
      const seconds = (performance.now() - firstAt) / 1000;
      if (numTokens > 1 && seconds > 0) facts.push(["speed", { rate: ((numTokens - 1) / seconds).toFixed(1) }]);
      facts.push(["firstToken", { seconds: ((firstAt - startedAt) / 1000).toFixed(2) }]);
    }
    if (reason === "length") facts.push(["cutOff", {}]);
    if (reason === "stopped") facts.push(["stopped", {}]);
    const figures = facts.map(([key, values]) => {
      const fact = make("span", "fact");
      speak(fact, key, values);
      return fact;
    });
    this.facts.replaceChildren(make("span", "figures", ...figures));
    if (this.text) this.facts.append(copyButton("copy", () => this.text));
  }

  fail(problem) {
    this.end("error");
    this.paint();
    const words = make("p", "words");
    const key = PROBLEMS[problem.code] ?? "otherError";
    speak(words, key, { seconds: problem.seconds ?? 1, message: problem.message });
    const retry = make("button", "retry");
    retry.type = "button";
    speak(retry, "retry");
    retry.addEventListener("click", () => this.element.dispatchEvent(new CustomEvent("retry", { bubbles: true })));
    const box = make("div", "problem", words, retry);
    box.setAttribute("role", "alert");
    if (this.text) this.body.append(box);
    else this.body.replaceChildren(box);
    this.onChange();
    this.element.dispatchEvent(new CustomEvent("problem", { bubbles: true, detail: problem }));
  }

  end(reason) {
    this.running = null;
    this.ended = reason;
    this.element.removeAttribute("aria-busy");
  }
}
