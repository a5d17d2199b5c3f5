// Loaded in <head> without defer, so that the theme is set before the first paint.
(() => {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem("theme") || "system";
    } catch {
      return "system"; // a private window
    }
  };
  const show = () => {
    for (const button of document.querySelectorAll("[data-theme-set][aria-pressed]"))
      button.setAttribute("aria-pressed", String(button.dataset.themeSet === stored()));
  };
  const apply = () => {
    const chosen = stored();
    root.dataset.theme = chosen === "system" ? (system.matches ? "dark" : "light") : chosen;
    show();
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", apply);
  addEventListener("DOMContentLoaded", show);
  addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-set]");
    if (!button) return;
    try {
      localStorage.setItem("theme", button.dataset.themeSet);
    } catch {
      root.dataset.theme = button.dataset.themeSet === "dark" ? "dark" : "light";
      return;
    }
    apply();
  });
})();
