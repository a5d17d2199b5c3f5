// Keyboard: / search, ? the map, g + letter to go, j k through rows, 1 to 4 the tabs of a service. No single key changes anything.
(() => {
  const places = { d: "/dashboard", s: "/services" };
  let before = "";
  let timer = 0;

  const rows = () => [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);
  const step = (forward) => {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(document.activeElement.closest("[data-row]"));
    const row = all[Math.min(all.length - 1, Math.max(0, at + (forward ? 1 : -1)))];
    const link = row.querySelector("a.go, .nm a") || row.querySelector("a, summary, button");
    link?.focus();
    row.scrollIntoView({ block: "nearest" });
  };

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (document.querySelector("dialog[open]")) return;
    const key = event.key;
    if (before === "g" && places[key]) location.href = places[key];
    else if (key === "/") {
      event.preventDefault();
      (document.querySelector("[data-log-search]") || document.getElementById("search"))?.focus();
    } else if (key === "?") document.getElementById("keys")?.showModal();
    else if (key === "j" || key === "k") step(key === "j");
    else if (/^[1-5]$/.test(key)) {
      const tab = document.querySelector(`[data-tab="${key}"]`);
      if (tab) location.href = tab.href;
    }
    before = key;
    clearTimeout(timer);
    timer = setTimeout(() => (before = ""), 1200);
  });
})();
