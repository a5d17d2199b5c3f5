// What every page does: copy, times, dialogs, the live dot, and parts that change by themselves.
(() => {
  const say = (words) => {
    const place = document.getElementById("spoken");
    if (place) place.textContent = words;
  };

  // ---- times: relative, refreshed; the absolute one in the reader's own zone on hover ------------------------------
  const about = (ms) => {
    const s = ms / 1000;
    if (s < 60) return `${Math.max(1, Math.round(s))} s`;
    if (s < 3600) return `${Math.round(s / 60)} min`;
    if (s < 172800) return `${Math.round(s / 3600)} h`;
    return `${Math.round(s / 86400)} d`;
  };
  const relative = (at, plain) => {
    const distance = Date.now() - at;
    if (Math.abs(distance) < 5000) return plain ? "now" : "just now";
    if (plain) return about(Math.abs(distance));
    return distance > 0 ? `${about(distance)} ago` : `in ${about(-distance)}`;
  };
  const zone = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
  const short = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" });
  const times = () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const at = Date.parse(time.getAttribute("datetime"));
      if (Number.isNaN(at)) continue;
      const words = relative(at, "plain" in time.dataset);
      if (time.textContent !== words) time.textContent = words;
      if (!("zoned" in time.dataset)) {
        const part = short.formatToParts(at).find((p) => p.type === "timeZoneName");
        time.title = `${zone.format(at)} ${part ? part.value : ""}`.trim();
        time.dataset.zoned = "";
      }
    }
  };
  addEventListener("DOMContentLoaded", times);
  setInterval(() => document.hidden || times(), 5000);

  // ---- copy, dialogs, forms ----------------------------------------------------------------------------------------
  let opener = null;
  const sheet = () => document.getElementById("sheet");
  addEventListener("click", async (event) => {
    const copy = event.target.closest("[data-copy]");
    if (copy) {
      event.preventDefault();
      await navigator.clipboard?.writeText(copy.dataset.copy).catch(() => {});
      copy.dataset.done = ""; // the button shows a check for 1.2 s
      say(`Copied ${copy.dataset.copy}`);
      setTimeout(() => delete copy.dataset.done, 1200);
    }
    const dialog = event.target.closest("[data-dialog]");
    if (dialog) {
      dialog.closest("[popover]")?.hidePopover?.();
      document.getElementById(dialog.dataset.dialog)?.showModal();
    }
    const opens = event.target.closest("[data-opens-sheet]");
    if (opens) opener = opens;
    const closes = event.target.closest("dialog [data-closes-sheet]");
    if (closes) {
      event.preventDefault();
      closes.closest("dialog").close();
    }
    if (event.target === sheet()) sheet().close(); // a press beside the dialog
  });
  addEventListener("change", (event) => event.target.closest("form[data-submit-on-change]")?.requestSubmit());
  addEventListener("submit", (event) => {
    const button = event.submitter;
    if (!button || event.target.method === "dialog" || event.target.hasAttribute("hx-post") || button.hasAttribute("hx-post")) return;
    button.setAttribute("aria-busy", "true");
    setTimeout(() => (button.disabled = true)); // after the form has been gathered
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return; // back to a kept page: its buttons work again
    for (const button of document.querySelectorAll("[aria-busy]")) {
      button.removeAttribute("aria-busy");
      button.disabled = false;
    }
  });
  addEventListener("DOMContentLoaded", () => {
    sheet()?.addEventListener("close", () => opener?.focus());
    for (const toast of document.querySelectorAll("[data-toast]")) setTimeout(() => toast.remove(), 6000);
  });

  // ---- parts that change -------------------------------------------------------------------------------------------
  // A row whose state changed is tinted for 1.2 s; focus and what is typed survive the morph.
  let before = new Map();
  const states = () => new Map([...document.querySelectorAll("#live [data-at]")].map((row) => [row.id, row.dataset.at]));
  document.addEventListener("htmx:before:swap", () => (before = states()));
  document.addEventListener("htmx:after:swap", (event) => {
    times();
    for (const [id, at] of states())
      if (before.has(id) && before.get(id) !== at) {
        const row = document.getElementById(id);
        row.classList.remove("new");
        requestAnimationFrame(() => row.classList.add("new"));
      }
    const box = sheet();
    if (box && !box.open && opener && (event.detail?.ctx?.target === box || event.target === box)) {
      box.setAttribute("aria-labelledby", "rb-h");
      box.removeAttribute("aria-label");
      box.showModal();
      box.querySelector("[data-sheet-title]")?.focus();
    }
  });
  document.addEventListener("htmx:response:error", (event) => {
    const link = event.target.closest?.("a[href][hx-get]");
    if (link) location.href = link.href; // the whole page tells what is wrong
  });

  // ---- the live dot ------------------------------------------------------------------------------------------------
  const live = (on) => {
    const dot = document.getElementById("live-dot");
    const strip = document.getElementById("stale");
    if (!dot || !strip) return;
    const was = !dot.classList.contains("off");
    if (on === was) return;
    dot.classList.toggle("off", !on);
    dot.textContent = on ? "Live" : "Not live";
    strip.hidden = on;
    if (!on) {
      const now = new Date();
      document.getElementById("stale-since").textContent = now.toTimeString().slice(0, 8);
    }
  };
  let leaving = false;
  addEventListener("pagehide", () => (leaving = true));
  document.addEventListener("htmx:sse:after:connection", () => live(true));
  for (const name of ["htmx:sse:error", "htmx:error", "htmx:response:error"])
    document.addEventListener(name, (event) => {
      if (event.target.id !== "stream" || leaving) return;
      live(false);
      // The extension connects again by itself after a stream that ended, not after one that never began; with a stream it ignores this.
      setTimeout(() => event.target.dispatchEvent(new CustomEvent("again")), 3000 + 2000 * Math.random());
    });
  document.addEventListener("state", (event) => {
    const told = JSON.parse(event.detail?.data || "{}");
    live(told.live !== false);
    // What came between this page and its stream, or while the stream was away.
    if (told.sequence > Number(event.target.dataset.sequence)) event.target.dispatchEvent(new CustomEvent("changed"));
    event.target.dataset.sequence = told.sequence;
  });
  setInterval(() => {
    const moving = document.querySelector("#live[data-moving]");
    if (moving && !document.hidden) document.getElementById("stream")?.dispatchEvent(new CustomEvent("changed"));
  }, 2000);
})();
