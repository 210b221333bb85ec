// What every page has: the clock of the site's zone, the theme, the search, and pages that try again by themselves.

import { now, time, word } from "./figures.js";

const clock = document.getElementById("clock");
function tick() {
  const moment = now();
  clock.textContent = time(moment, { weekday: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  clock.dateTime = new Date(moment).toISOString();
  setTimeout(tick, 1000 - (moment % 1000));
}
if (clock) tick();

const root = document.documentElement;
document.getElementById("theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `hefa_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
  document.dispatchEvent(new Event("hefa:theme"));
});

// A page that waits for the platform looks again, as long as somebody looks at it.
const again = document.querySelector("[data-again]");
if (again) {
  setInterval(() => document.visibilityState === "visible" && location.reload(), again.dataset.again * 1000);
}

const box = document.getElementById("find");
if (box) {
  const list = document.getElementById("found");
  let asked = "";
  let chosen = -1;

  const close = () => {
    list.hidden = true;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
    chosen = -1;
  };

  const show = (items) => {
    list.replaceChildren(
      ...items.map((item, i) => {
        const link = document.createElement("a");
        link.href = `/live/tags/${encodeURIComponent(item.tag)}`;
        link.id = `found-${i}`;
        link.role = "option";
        link.tabIndex = -1;
        const [name, area, about] = ["b", "i", "span"].map((kind) => document.createElement(kind));
        name.textContent = item.tag;
        area.textContent = item.area ?? "";
        about.textContent = [item.name, item.description].filter(Boolean).join(" · ");
        link.append(name, area, about);
        return link;
      }),
    );
    if (!items.length) list.append(Object.assign(document.createElement("p"), { textContent: word("nothing") }));
    list.hidden = false;
    box.setAttribute("aria-expanded", "true");
    chosen = -1;
  };

  const ask = async () => {
    const text = box.value.trim();
    if (text === asked) return;
    asked = text;
    if (!text) return close();
    const answer = await fetch(`/api/live/search?q=${encodeURIComponent(text)}`);
    if (answer.ok && text === box.value.trim()) show((await answer.json()).items);
  };

  let later;
  box.addEventListener("input", () => {
    clearTimeout(later);
    later = setTimeout(ask, 120);
  });
  box.addEventListener("keydown", (event) => {
    const links = [...list.querySelectorAll("a")];
    if (event.key === "Escape") {
      close();
      box.blur();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && links.length && !list.hidden) {
      event.preventDefault();
      chosen = (chosen + (event.key === "ArrowDown" ? 1 : links.length - (chosen < 0 ? 0 : 1))) % links.length;
      links.forEach((link, i) => link.setAttribute("aria-selected", i === chosen));
      box.setAttribute("aria-activedescendant", links[chosen].id);
      links[chosen].scrollIntoView({ block: "nearest" });
    } else if (event.key === "Enter" && chosen >= 0 && !list.hidden) {
      event.preventDefault();
      links[chosen].click();
    }
  });
  document.addEventListener("click", (event) => event.target.closest(".find") || close());
}

// Shortcuts of one key, which a reader may turn off (a voice or a cat may press them).
const keys = document.getElementById("keys");
const on = document.getElementById("keys-on");
on.checked = localStorage.getItem("hefa_keys") !== "off";
on.addEventListener("change", () => localStorage.setItem("hefa_keys", on.checked ? "on" : "off"));
document.getElementById("keys-open")?.addEventListener("click", () => keys.showModal());

const shortcuts = {
  "/": () => box && (box.focus(), box.select()),
  "[": () => document.querySelector("a[rel=prev]")?.click(),
  "]": () => document.querySelector("a[rel=next]")?.click(),
  "?": () => keys.showModal(),
};
document.addEventListener("keydown", (event) => {
  if (!on.checked || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
  const act = shortcuts[event.key] ?? (/^[1-9]$/.test(event.key) ? () => document.querySelectorAll("nav.apps a")[event.key - 1]?.click() : null);
  if (!act) return;
  event.preventDefault();
  act();
});

// One popover open at a time, closed by a click beside it.
document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.custom[open]")) if (!open.contains(event.target)) open.open = false;
});
