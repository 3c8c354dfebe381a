// Runs before anything is drawn, so that no light page flashes where a dark one was chosen.
try {
  const chosen = localStorage.getItem("realtime-monitor-theme");
  document.documentElement.dataset.theme = ["light", "dark"].includes(chosen) ? chosen : "auto";
} catch {
  document.documentElement.dataset.theme = "auto";
}
