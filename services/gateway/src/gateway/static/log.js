// The log of a build: live lines, folding, search with n and N, errors with e, follow with f, links to lines.
(() => {
  const start = () => {
    const log = document.getElementById("log");
    const bar = document.querySelector("[data-log-bar]");
    if (!log || !bar) return;
    const part = (name) => bar.querySelector(`[data-log-${name}]`);
    const search = part("search");
    const follow = part("follow");
    let hits = [];
    let at = -1;
    let error = -1;
    let typing = 0;

    // ---- lines that are linked -----------------------------------------------------------------------------------
    const show = (line, smooth) => {
      line.closest("details").open = true;
      line.scrollIntoView({ block: "center", behavior: smooth ? "smooth" : "auto" });
    };
    const linked = () => {
      for (const old of log.querySelectorAll("li.at")) old.classList.remove("at");
      const line = /^#L\d+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
      if (!line) return;
      line.classList.add("at");
      following(false);
      show(line);
    };
    addEventListener("hashchange", linked);
    log.addEventListener("click", (event) => {
      const link = event.target.closest("li > a");
      if (!link) return;
      event.preventDefault(); // the line stays where it is
      history.replaceState(null, "", link.getAttribute("href"));
      const scroll = scrollY;
      linked();
      scrollTo(0, scroll);
    });

    // ---- search ----------------------------------------------------------------------------------------------------
    const clear = () => {
      for (const mark of log.querySelectorAll("mark")) mark.replaceWith(...mark.childNodes);
      for (const text of log.querySelectorAll("li > span")) text.normalize();
    };
    const look = () => {
      clear();
      hits = [];
      at = -1;
      const wanted = search.value.toLowerCase();
      if (wanted.length > 1)
        for (const text of log.querySelectorAll("li > span")) {
          const found = text.textContent.toLowerCase().indexOf(wanted);
          if (found < 0) continue;
          const range = document.createRange();
          const node = text.firstChild;
          if (!node || node.nodeType !== 3) continue;
          range.setStart(node, found);
          range.setEnd(node, found + wanted.length);
          const mark = document.createElement("mark");
          range.surroundContents(mark);
          hits.push(mark);
        }
      part("steps").hidden = !hits.length;
      count();
    };
    const count = () => {
      part("hits").textContent = search.value.length < 2 ? "" : hits.length ? `${Math.max(at, 0) + 1} of ${hits.length}` : "no hit";
    };
    const go = (forward) => {
      if (typing) {
        look(); // what was typed a moment ago
        if (!forward) at = 0; // back from the first is the last
        clearTimeout(typing);
        typing = 0;
      }
      if (!hits.length) return;
      hits[at]?.classList.remove("now");
      at = (at + (forward ? 1 : -1) + hits.length) % hits.length;
      hits[at].classList.add("now");
      following(false);
      show(hits[at].closest("li"));
      count();
    };
    search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => go(true), 120);
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        go(!event.shiftKey);
      }
    });
    part("prev").addEventListener("click", () => go(false));
    part("next").addEventListener("click", () => go(true));

    // ---- errors ----------------------------------------------------------------------------------------------------
    const errors = () => log.querySelectorAll("li.err");
    const countErrors = () => {
      const n = errors().length;
      part("error").hidden = !n;
      part("error").querySelector("span").textContent = `${n} ${n === 1 ? "error" : "errors"}`;
    };
    const nextError = () => {
      const all = errors();
      if (!all.length) return;
      error = (error + 1) % all.length;
      following(false);
      show(all[error]);
      history.replaceState(null, "", `#${all[error].id}`);
      linked();
    };
    part("error").addEventListener("click", nextError);

    // ---- toggles ---------------------------------------------------------------------------------------------------
    const pressed = (button, on) => button.setAttribute("aria-pressed", String(on));
    const following = (on) => {
      pressed(follow, on);
      if (on) scrollTo(0, document.documentElement.scrollHeight);
    };
    const isFollowing = () => follow.getAttribute("aria-pressed") === "true";
    follow.addEventListener("click", () => following(!isFollowing()));
    const toggle = (name, className, inverted) =>
      part(name).addEventListener("click", () => {
        const on = part(name).getAttribute("aria-pressed") !== "true";
        pressed(part(name), on);
        log.classList.toggle(className, inverted ? !on : on);
      });
    toggle("times", "no-times", true);
    toggle("wrap", "no-wrap", true);
    // A log follows only while its end is in view.
    addEventListener(
      "wheel",
      (event) => {
        if (event.deltaY < 0 && isFollowing()) following(false);
      },
      { passive: true },
    );

    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
      if (event.key === "n" || event.key === "N") go(event.key === "n");
      else if (event.key === "e") nextError();
      else if (event.key === "f" && !follow.hidden) following(!isFollowing());
    });

    // ---- live lines ------------------------------------------------------------------------------------------------
    const names = { clone: "Clone", analyse: "Analyse", build: "Build", push: "Push" };
    const svg = (id, className) => {
      const space = "http://www.w3.org/2000/svg";
      const picture = document.createElementNS(space, "svg");
      picture.setAttribute("class", className);
      picture.setAttribute("aria-hidden", "true");
      const use = document.createElementNS(space, "use");
      use.setAttribute("href", `${log.dataset.sprite}#${id}`);
      picture.append(use);
      return picture;
    };
    const stage = (key) => {
      let box = log.querySelector(`details[data-stage="${CSS.escape(key)}"]`);
      if (box) return box;
      const last = log.querySelector("details:last-of-type");
      if (last) shape(last, "s-ok", "ok");
      box = document.createElement("details");
      box.dataset.stage = key;
      box.open = true;
      const head = document.createElement("summary");
      const chevron = svg("i-chevron-right", "i chev");
      chevron.dataset.i = "";
      const name = document.createElement("b");
      name.textContent = names[key] || key || "Output";
      const grow = Object.assign(document.createElement("span"), { className: "grow" });
      const range = Object.assign(document.createElement("span"), { className: "meta" });
      range.dataset.range = "";
      head.append(chevron, svg("s-run", "i sh-run"), name, grow, range);
      box.append(head, document.createElement("ol"));
      log.append(box);
      return box;
    };
    const shape = (box, id, kind) => {
      const picture = box.querySelector("summary > svg:nth-of-type(2)");
      picture?.setAttribute("class", `i sh-${kind}`);
      picture?.firstElementChild?.setAttribute("href", `${log.dataset.sprite}#${id}`);
    };
    const line = ({ number, at: when, text, tone, stage: key }) => {
      if (document.getElementById(`L${number}`)) return;
      const box = stage(key);
      const row = document.createElement("li");
      row.id = `L${number}`;
      if (tone) row.className = tone;
      const link = document.createElement("a");
      link.href = `#L${number}`;
      link.tabIndex = -1;
      link.setAttribute("aria-label", `Line ${number}`);
      link.textContent = number;
      const time = document.createElement("time");
      time.textContent = when;
      const words = document.createElement("span");
      words.textContent = text;
      row.append(link, time, words);
      const list = box.querySelector("ol");
      list.append(row);
      const first = list.firstElementChild.id.slice(1);
      const range = box.querySelector("[data-range]");
      if (range) range.textContent = `lines ${first} to ${number}`;
    };
    const progress = ({ percent, stage: key, text }) => {
      const item = document.querySelector(`.stages [data-stage="${CSS.escape(key)}"]`);
      if (!item) return;
      const bar = item.querySelector(".prog");
      bar?.setAttribute("aria-valuenow", percent);
      bar?.querySelector(".done")?.setAttribute("width", `${percent}%`);
      const meta = item.querySelector(".meta");
      if (meta && text) meta.textContent = text;
      document.querySelector("[data-percent]")?.replaceChildren(` ${percent} %`);
    };
    if (log.dataset.live) {
      let next = Number(log.dataset.next);
      let source = null;
      const open = () => {
        source = new EventSource(`${log.dataset.live}?from=${next}`);
        source.addEventListener("lines", (event) => {
          for (const each of JSON.parse(event.data)) {
            line(each);
            next = Math.max(next, each.number);
          }
          countErrors();
          if (isFollowing()) scrollTo(0, document.documentElement.scrollHeight);
        });
        source.addEventListener("again", () => {
          log.replaceChildren(); // another attempt: the numbers begin again
          next = 0;
        });
        source.addEventListener("progress", (event) => progress(JSON.parse(event.data)));
        source.addEventListener("end", () => {
          source.close();
          const last = log.querySelector("details:last-of-type");
          if (last && !last.querySelector("li.err")) shape(last, "s-ok", "ok");
          follow.hidden = true;
          pressed(follow, false);
        });
        // The address says from where: the browser's own second try would begin at the start again.
        source.addEventListener("error", () => {
          source.close();
          setTimeout(open, 1000);
        });
      };
      open();
      addEventListener("pagehide", () => source?.close());
    }
    linked();
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
