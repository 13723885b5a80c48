// The page: the conversation, the composer, the settings, and what the buttons do.

import { Answer, make } from "./answer.js";
import { listModels } from "./api.js";
import { remember, remembered, rememberKey, rememberedKey } from "./remember.js";
import { chooseLanguage, say, speak, switchLanguage } from "./words.js";

const $ = (id) => document.getElementById(id);
const page = $("conversation");
const question = $("question");

// Each turn: { text, answers: { tuned: Answer, base?: Answer } }.
let turns = [];
let models = [];
let comparing = false;
let following = true;

const running = () => turns.flatMap((turn) => Object.values(turn.answers)).filter((answer) => answer.running);

// What one model has seen before a turn: its own answers where it gave any, the other's where it was not asked.
function historyOf(role, turn) {
  const system = $("system").value.trim();
  const messages = system ? [{ role: "system", content: system }] : [];
  for (const earlier of turns.slice(0, turns.indexOf(turn))) {
    const answer = earlier.answers[role] ?? earlier.answers.tuned;
    if (!answer.text || answer.ended === "error") continue;
    messages.push({ role: "user", content: earlier.text }, { role: "assistant", content: answer.text });
  }
  return [...messages, { role: "user", content: turn.text }];
}

function options() {
  const longest = Number.parseInt($("max-tokens").value, 10);
  const temperature = Number($("temperature").value);
  return { temperature, ...(longest >= 1 ? { max_tokens: Math.min(longest, 1e9) } : {}) };
}

function follow() {
  if (following) page.scrollTop = page.scrollHeight;
  $("latest").hidden = following || !turns.length;
}

function showRunning() {
  const busy = running().length > 0;
  $("stop").hidden = !busy;
  $("send").hidden = busy;
  $("send").disabled = !question.value.trim() || !models.length;
}

async function ask(text) {
  const turn = { text, answers: {} };
  const answers = make("div", "answers");
  const who = make("span", "unseen");
  speak(who, "you");
  const element = make("section", "turn", make("div", "question", who, make("p", "", text)), answers);
  const asked = comparing && models.length > 1 ? { tuned: models[0], base: models[1] } : { tuned: models[0] };
  for (const [role, model] of Object.entries(asked)) {
    const answer = new Answer({ model, role, history: () => historyOf(role, turn), options, onChange: follow });
    answer.element.addEventListener("retry", () => run([answer]));
    turn.answers[role] = answer;
    answers.append(answer.element);
  }
  answers.dataset.count = Object.keys(asked).length;
  turns.push(turn);
  $("welcome").hidden = true;
  $("turns").append(element);
  following = true;
  await run(Object.values(turn.answers));
}

async function run(answers) {
  const finished = Promise.all(answers.map((answer) => answer.run()));
  $("status").textContent = say("thinking");
  showRunning();
  answers.forEach((answer) => answer.element.addEventListener("problem", showRunning, { once: true }));
  await finished;
  $("status").textContent = answers.some((answer) => answer.ended === "error") ? "" : say("finished");
  showRunning();
}

function stopAll() {
  running().forEach((answer) => answer.stop());
  question.focus();
}

function newChat() {
  stopAll();
  turns = [];
  $("turns").replaceChildren();
  $("welcome").hidden = false;
  $("status").textContent = "";
  following = true;
  follow();
  question.focus();
}

function submit(event) {
  event?.preventDefault();
  const text = question.value.trim();
  if (!text || running().length || !models.length) return;
  question.value = "";
  fitQuestion();
  ask(text);
}

function fitQuestion() {
  question.style.height = "auto";
  question.style.height = `${Math.min(question.scrollHeight, window.innerHeight * 0.4)}px`;
  showRunning();
}

function setComparing(on) {
  comparing = on && models.length > 1;
  $("compare").setAttribute("aria-checked", String(comparing));
  document.body.classList.toggle("comparing", comparing);
  remember("compare", comparing ? "yes" : null);
}

async function loadModels() {
  try {
    models = await listModels();
  } catch (problem) {
    const needsKey = problem.code === "invalid_api_key";
    speak($("about"), needsKey ? "keyNeeded" : "noModel");
    if (needsKey) openSettings($("key"));
    return;
  }
  speak($("about"), "about", { model: models[0].id });
  $("about").title = models[0].description;
  $("model").textContent = models[0].id;
  $("model").hidden = false;
  $("kept").hidden = !models[0].keeps_answers;
  $("compare").hidden = models.length < 2;
  setComparing(remembered("compare") === "yes");
  showRunning();
}

function openSettings(focused = $("system")) {
  if (!$("settings-panel").open) $("settings-panel").showModal();
  focused.focus();
}

function settingsClosed() {
  for (const id of ["system", "temperature", "max-tokens"]) remember(id, $(id).value);
  const key = $("key").value.trim();
  const changed = key !== (rememberedKey() ?? "");
  rememberKey(key);
  if (changed || !models.length) loadModels();
  question.focus();
}

function loadSettings() {
  for (const id of ["system", "temperature", "max-tokens"]) {
    const value = remembered(id);
    if (value !== null) $(id).value = value;
  }
  $("key").value = rememberedKey() ?? "";
  $("temperature-shown").value = $("temperature").value;
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  remember("theme", root.dataset.theme);
}

function questionKey(event) {
  // While an input method is open, Enter chooses a word.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  submit(event);
}

function anyKey(event) {
  if (event.key === "Escape" && !$("settings-panel").open && running().length) stopAll();
}

$("composer").addEventListener("submit", submit);
question.addEventListener("keydown", questionKey);
question.addEventListener("input", fitQuestion);
document.addEventListener("keydown", anyKey);
$("stop").addEventListener("click", stopAll);
$("new-chat").addEventListener("click", newChat);
$("compare").addEventListener("click", () => setComparing(!comparing));
$("open-settings").addEventListener("click", () => openSettings());
$("settings-panel").addEventListener("close", settingsClosed);
$("settings-panel").addEventListener("click", (event) => event.target === $("settings-panel") && $("settings-panel").close());
$("temperature").addEventListener("input", () => ($("temperature-shown").value = $("temperature").value));
$("toggle-theme").addEventListener("click", toggleTheme);
$("toggle-language").addEventListener("click", switchLanguage);
$("latest").addEventListener("click", () => {
  following = true;
  follow();
});
page.addEventListener("scroll", () => {
  following = page.scrollHeight - page.scrollTop - page.clientHeight < 48;
  $("latest").hidden = following || !turns.length;
});

chooseLanguage();
loadSettings();
fitQuestion();
loadModels();
