// Runs before the first paint, so that nobody sees the wrong colours or language for a moment.
try {
  const theme = localStorage.getItem("setsail.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden; the system's colours are used then.
}
