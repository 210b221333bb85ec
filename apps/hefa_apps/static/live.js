// Keeps the values of a page moving: one stream of server-sent events for the tags that the page shows.
//
// An element with data-tag (see templates/parts.html, `moving`) holds a value, its standing and what is needed to
// judge the next one. Nothing is moved that did not change, and a value that stays away turns stale by itself.

import { age, now, number, outside, word } from "./figures.js";

const shown = new Map();
const listeners = [];

// Elements that were swapped out are forgotten; may be called again after a swap.
export function collect() {
  shown.clear();
  for (const element of document.querySelectorAll("[data-tag]")) {
    const { tag, limits, heartbeat, decimals, ts, kind } = element.dataset;
    const item = {
      element,
      kind,
      limits: limits ? limits.split(",").map((text) => (text === "" ? null : Number(text))) : null,
      heartbeat: Number(heartbeat) * 1000,
      decimals: Number(decimals),
      ts: ts ? Number(ts) : 0,
      value: element.querySelector(".value"),
      mark: element.querySelector(".standing"),
    };
    if (!shown.has(tag)) shown.set(tag, []);
    shown.get(tag).push(item);
  }
  return [...shown.keys()];
}

// Calls back with each reading that arrives: {tag, ts (ms), value, quality, state}.
export function onReading(callback) {
  listeners.push(callback);
}

function stand(item, standing) {
  if (item.element.dataset.standing === standing) return;
  item.element.dataset.standing = standing;
  if (!item.mark) return;
  item.mark.dataset.standing = standing;
  item.mark.className = `mark-${standing} standing`;
  item.mark.textContent = word(`standing_${standing}`);
  item.mark.hidden = standing === "ok";
}

function judge(item, reading) {
  if (reading.value === null || reading.quality < 64) return "bad";
  if (now() - reading.ts > 2 * item.heartbeat) return "stale";
  const beyond = item.limits && outside(reading.value, item.limits);
  return beyond || (reading.quality < 192 ? "uncertain" : "ok");
}

function take(reading) {
  for (const item of shown.get(reading.tag) ?? []) {
    if (reading.ts < item.ts) continue; // an older one that was late
    item.ts = reading.ts;
    const text = reading.state ?? number(reading.value, item.decimals);
    if (item.value && item.value.textContent !== text) {
      item.value.textContent = text;
      item.element.classList.remove("moved");
      requestAnimationFrame(() => item.element.classList.add("moved"));
    }
    stand(item, judge(item, reading));
  }
  for (const listener of listeners) listener(reading);
}

function grow() {
  const moment = now();
  for (const items of shown.values()) {
    for (const item of items) {
      if (item.ts && moment - item.ts > 2 * item.heartbeat && item.element.dataset.standing !== "bad") stand(item, "stale");
      const seen = item.element.querySelector("[data-age]");
      if (seen && item.ts) seen.textContent = age((moment - item.ts) / 1000);
    }
  }
}

let asked = "";
let source = null;

// A stream that is refused: by a session that has ended, which the page itself answers with the sign-in, or by a
// platform that is away.
async function again() {
  const answer = await fetch("/api/live/search?q=").catch(() => null);
  if (answer?.status === 401) location.reload();
  else open();
}

function open() {
  const line = document.getElementById("link");
  source?.close(); // a timer and a page that comes back may both open it
  source = new EventSource(`/api/live/stream?${asked}`);
  let lost = 0;
  source.addEventListener("latest", (event) => {
    for (const item of JSON.parse(event.data).items) take({ ...item, ts: Date.parse(item.ts) });
  });
  source.addEventListener("open", () => {
    clearTimeout(lost);
    if (line && !line.hidden) {
      line.textContent = word("back");
      setTimeout(() => (line.hidden = true), 2500);
    }
  });
  source.addEventListener("error", () => {
    clearTimeout(lost); // a reconnect within three seconds is nobody's business
    lost = setTimeout(() => {
      if (!line) return;
      line.textContent = word("lost");
      line.hidden = false;
    }, 3000);
    if (source.readyState === EventSource.CLOSED) setTimeout(again, 5000); // refused, not only broken
  });
}

// A whole area where one is given, else the tags by name while they fit into a URL, else everything that changes.
export function watch(tags, area) {
  const query = tags.map((tag) => `tag=${encodeURIComponent(tag)}`).join("&");
  setInterval(grow, 1000);
  if (!area && !tags.length) return;
  asked = area ? `area=${encodeURIComponent(area)}` : tags.length <= 200 && query.length < 12000 ? query : "";
  open();
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => event.persisted && open());
}
