// Every word that the page says, in English and Chinese. The invariant: both tables have the same keys.

import { remember, remembered } from "./remember.js";

export const WORDS = {
  en: {
    about: "Answers come from your own model, {model}. This page loads nothing from anywhere else.",
    bad: "A bad answer",
    base: "base",
    busy: "The server is busy: all its places are taken. Try again in {seconds} s.",
    close: "Close",
    compare: "Compare with base",
    compareShort: "Base",
    connectionLost: "The connection was lost. Is the server still running?",
    copied: "Copied",
    copy: "Copy the answer",
    copyCode: "Copy the code",
    cutOff: "longest answer reached",
    deadline: "The answer took too long, and the server stopped it.",
    done: "Done",
    engineDown: "The model is being restarted. Try again in a moment.",
    engineFailed: "The model stopped in the middle of the answer. It is being restarted.",
    finished: "The answer is finished.",
    firstToken: "first after {seconds} s",
    good: "A good answer",
    kept: "Questions and answers are kept on this server, to improve the model.",
    key: "API key",
    keyHint: "Only if the server asks for one; kept until this tab is closed",
    keyNeeded: "The server asks for an API key. Enter it in the settings.",
    keys: "Enter sends · Shift+Enter new line · Esc stops",
    latest: "Latest",
    leaving: "The server is shutting down.",
    maxTokens: "Longest answer, in tokens",
    maxTokensHint: "As many as the server allows",
    newChat: "New chat",
    noModel: "The server could not be reached.",
    notKept: "This could not be kept: {message}",
    otherError: "The server refused: {message}",
    placeholder: "Ask something…",
    question: "Your question",
    retry: "Try again",
    send: "Send",
    settings: "Settings",
    skip: "Skip to the question",
    speed: "{rate} tokens/s",
    starting: "The base model is starting…",
    stop: "Stop",
    stopped: "stopped",
    system: "System prompt",
    systemHint: "Left empty, the model's own is used",
    temperature: "Temperature",
    temperatureHint: "0 always gives the likeliest answer",
    theme: "Light or dark",
    thinking: "Answering…",
    tokens: "{count} tokens",
    tooLong: "The conversation is longer than the model can read. Start a new chat or shorten the question.",
    tools: "Tools",
    tuned: "tuned",
    welcome: "Where shall we sail?",
    you: "You",
  },
  zh: {
    about: "回答来自您自己的模型 {model}。此页面不从任何其他地方加载内容。",
    bad: "回答不好",
    base: "原模型",
    busy: "服务器繁忙，名额已满。请在 {seconds} 秒后重试。",
    close: "关闭",
    compare: "与原模型对比",
    compareShort: "对比",
    connectionLost: "连接中断。服务器还在运行吗？",
    copied: "已复制",
    copy: "复制回答",
    copyCode: "复制代码",
    cutOff: "已达到最长回答",
    deadline: "回答用时过长，服务器已将其停止。",
    done: "完成",
    engineDown: "模型正在重新启动，请稍后重试。",
    engineFailed: "模型在回答途中停止，正在重新启动。",
    finished: "回答完毕。",
    firstToken: "首词 {seconds} 秒",
    good: "回答很好",
    kept: "问题和回答会留存在这台服务器上，用来改进模型。",
    key: "API 密钥",
    keyHint: "仅在服务器要求时填写；关闭此标签页后即清除",
    keyNeeded: "服务器要求 API 密钥，请在设置中填写。",
    keys: "Enter 发送 · Shift+Enter 换行 · Esc 停止",
    latest: "最新",
    leaving: "服务器正在关闭。",
    maxTokens: "最长回答（词元数）",
    maxTokensHint: "服务器允许的上限",
    newChat: "新对话",
    noModel: "无法连接服务器。",
    notKept: "未能记录：{message}",
    otherError: "服务器拒绝了请求：{message}",
    placeholder: "请输入问题……",
    question: "您的问题",
    retry: "重试",
    send: "发送",
    settings: "设置",
    skip: "跳到输入框",
    speed: "{rate} 词元/秒",
    starting: "原模型正在启动……",
    stop: "停止",
    stopped: "已停止",
    system: "系统提示",
    systemHint: "留空则使用模型自带的提示",
    temperature: "温度",
    temperatureHint: "为 0 时总是给出可能性最大的回答",
    theme: "浅色或深色",
    thinking: "正在回答……",
    tokens: "{count} 个词元",
    tooLong: "对话超出了模型能读取的长度。请开始新对话，或缩短问题。",
    tools: "工具",
    tuned: "微调后",
    welcome: "今天驶向何方？",
    you: "您",
  },
};

let language = "en";

export function say(key, values = {}) {
  const text = WORDS[language][key];
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// Gives an element words that follow the language: as its text, its label (and tooltip) or its placeholder.
export function speak(element, key, values = {}, where = "text") {
  const suffix = { text: "t", label: "tLabel", placeholder: "tPlaceholder" }[where];
  element.dataset[suffix] = key;
  element.dataset.values = JSON.stringify(values);
  translate(element);
}

function translate(element) {
  const { t, tLabel, tPlaceholder } = element.dataset;
  const values = JSON.parse(element.dataset.values ?? "{}");
  if (t) element.textContent = say(t, values);
  if (tLabel) element.ariaLabel = element.title = say(tLabel, values);
  if (tPlaceholder) element.placeholder = say(tPlaceholder, values);
}

export function translateAll() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.querySelectorAll("[data-t], [data-t-label], [data-t-placeholder]").forEach(translate);
  const other = document.getElementById("toggle-language");
  other.textContent = language === "zh" ? "EN" : "中文";
  other.lang = language === "zh" ? "en" : "zh";
  other.ariaLabel = other.title = language === "zh" ? "Switch to English" : "切换到中文";
}

export function chooseLanguage() {
  const wanted = remembered("language") ?? (navigator.languages ?? [navigator.language])[0] ?? "en";
  language = wanted.toLowerCase().startsWith("zh") ? "zh" : "en";
  translateAll();
}

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  remember("language", language);
  translateAll();
}
