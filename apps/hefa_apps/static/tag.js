// The trend of one tag: mean with the band from least to greatest, gaps as gaps, new readings as they arrive.

import { colour, now, number, onTheme, time, unit, word, zone } from "./figures.js";
import { collect, onReading, watch } from "./live.js";
import { instant, send } from "./send.js";

const [tag] = collect();
const about = document.querySelector(".big").dataset;
const decimals = Number(about.decimals);
const limits = about.limits ? about.limits.split(",").map((text) => (text === "" ? null : Number(text))) : [];
const place = document.getElementById("plot");
const hue = getComputedStyle(place).getPropertyValue("--hue") ? hueName() : "accent";
const note = document.getElementById("plot-note");
const noted = note.textContent;
let span = document.querySelector("[data-span][aria-current]").dataset.span;
let answer = null;
let plot = null;
let live = [];

function hueName() {
  const holder = place.closest("[class*=hue-]");
  return holder.className.match(/hue-\d/)[0];
}

const HOURS = { "1h": 1, "24h": 24, "7d": 168 };

async function load() {
  const wanted = span;
  const response = await fetch(`/api/live/series?span=${wanted}&tag=${encodeURIComponent(tag)}`);
  if (!response.ok || wanted !== span) return;
  answer = await response.json();
  live = [];
  document.getElementById("step").textContent = word(`step_${answer.step}`);
  note.textContent = answer.step === "raw" ? word("note_raw") : noted;
  draw();
  fillTable();
}

function columns() {
  const series = answer.series[0];
  const x = series.ts.map((micros) => micros / 1e6);
  const value = [...series.value];
  const least = series.min ? [...series.min] : value.map(() => null);
  const most = series.max ? [...series.max] : value.map(() => null);
  for (const [ms, v] of live) {
    if (x.length && ms / 1000 <= x.at(-1)) continue;
    x.push(ms / 1000);
    value.push(v);
    least.push(null);
    most.push(null);
  }
  return [x, value, least, most];
}

function path() {
  if (about.kind === "counter") return uPlot.paths.bars({ size: [0.8, 60], align: 1 });
  if (about.kind !== "gauge" || answer.step === "raw") return uPlot.paths.stepped({ align: 1 });
  return uPlot.paths.linear();
}

function draw() {
  const data = columns();
  if (plot) plot.destroy();
  plot = null;
  if (!data[0].length) {
    place.replaceChildren(Object.assign(document.createElement("p"), { className: "none", textContent: word("no_data") }));
    return;
  }
  place.replaceChildren();
  const ink = colour("ink-3");
  const rule = colour("rule-2");
  const size = () => ({ width: place.clientWidth, height: Math.max(240, Math.min(innerHeight * 0.42, 34 * rem)) });
  const rem = parseFloat(getComputedStyle(document.documentElement).fontSize); // grows with the wall
  const axis = { stroke: ink, grid: { stroke: rule, width: 1 }, ticks: { stroke: rule, width: 1 }, font: `${0.76 * rem}px Inter` };
  const band = colour(hue, 0.16);
  plot = new uPlot(
    {
      ...size(),
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone),
      cursor: { points: { size: 7 }, drag: { x: true, y: false } },
      legend: { show: false },
      scales: { x: { time: true, range: () => [now() / 1000 - HOURS[span] * 3600, now() / 1000] }, y: { range: reach } },
      axes: [
        { ...axis, size: 3 * rem, values: clocks },
        { ...axis, size: 4.2 * rem, values: (_, splits) => splits.map((v) => number(v, splitDecimals(splits))) },
      ],
      series: [
        {},
        { stroke: colour(hue), width: about.kind === "counter" ? 0 : 1.75, fill: about.kind === "counter" ? colour(hue, 0.8) : undefined, paths: path(), points: { show: false }, spanGaps: false },
        { stroke: "transparent", points: { show: false }, spanGaps: false },
        { stroke: "transparent", points: { show: false }, spanGaps: false },
      ],
      bands: [{ series: [3, 2], fill: band }],
      hooks: { drawAxes: [drawLimits, drawNotes], setCursor: [tip] },
    },
    data,
    place,
  );
}

function splitDecimals(splits) {
  const gap = splits.length > 1 ? Math.abs(splits[1] - splits[0]) : 1;
  return Math.max(0, Math.min(4, -Math.floor(Math.log10(gap) + 1e-9)));
}

function reach(_, low, high) {
  if (low === null) return [0, 1];
  if (about.kind === "counter") return [Math.min(0, low), high * 1.06 || 1];
  const room = (high - low) * 0.1 || Math.abs(high) * 0.02 || 1;
  return [low - room, high + room];
}

function clocks(_, splits, __, ___, gap) {
  return splits.map((seconds) => {
    const ms = seconds * 1000;
    const clock = time(ms, { hour: "2-digit", minute: "2-digit", ...(gap < 60 ? { second: "2-digit" } : {}) });
    return gap >= 86400 || clock === "00:00" ? time(ms, { day: "numeric", month: "short" }) : clock;
  });
}

function drawLimits(u) {
  const { ctx } = u;
  ctx.save();
  ctx.setLineDash([4, 4]);
  ctx.font = `${11 * devicePixelRatio}px Inter`;
  limits.forEach((limit, i) => {
    if (limit === null || limit < u.scales.y.min || limit > u.scales.y.max) return;
    const y = Math.round(u.valToPos(limit, "y", true));
    ctx.strokeStyle = ctx.fillStyle = colour(i === 0 || i === 3 ? "bad" : "warn");
    ctx.beginPath();
    ctx.moveTo(u.bbox.left, y);
    ctx.lineTo(u.bbox.left + u.bbox.width, y);
    ctx.stroke();
    ctx.fillText(word(`standing_${["ll", "l", "h", "hh"][i]}`), u.bbox.left + 4, y - 4);
  });
  ctx.restore();
}

// A note is a line where it begins, shaded as far as it reaches.
function drawNotes(u) {
  const { ctx } = u;
  const left = u.bbox.left;
  const right = left + u.bbox.width;
  ctx.save();
  for (const note of document.querySelectorAll("#notes-shown [data-from]")) {
    const at = (text) => Math.min(Math.max(u.valToPos(Date.parse(text) / 1000, "x", true), left), right);
    const from = at(note.dataset.from);
    ctx.fillStyle = colour("accent", 0.1);
    if (note.dataset.to) ctx.fillRect(from, u.bbox.top, at(note.dataset.to) - from, u.bbox.height);
    ctx.fillStyle = colour("accent");
    ctx.fillRect(from, u.bbox.top, 1.5 * devicePixelRatio, u.bbox.height);
  }
  ctx.restore();
}

const box = Object.assign(document.createElement("div"), { className: "tip plot-tip", hidden: true });

function tip(u) {
  const i = u.cursor.idx;
  if (i === null || i === undefined || u.cursor.left < 0) {
    box.hidden = true;
    return;
  }
  if (box.parentElement !== u.over) u.over.append(box);
  const line = (name, value) => {
    const row = document.createElement("div");
    const strong = document.createElement("b");
    strong.textContent = value;
    row.append(name, strong);
    return row;
  };
  const at = time(u.data[0][i] * 1000, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
  const label = unit(answer.series[0].unit);
  const rows = [Object.assign(document.createElement("h4"), { textContent: at }), line(document.querySelector("#rows th:nth-child(2)").firstChild.textContent, `${number(u.data[1][i], decimals)} ${label}`)];
  if (u.data[2][i] !== null && u.data[2][i] !== undefined && about.kind === "gauge") {
    rows.push(line("", `${number(u.data[2][i], decimals)} … ${number(u.data[3][i], decimals)} ${label}`));
  }
  box.replaceChildren(...rows);
  box.hidden = false;
  const right = u.cursor.left > u.over.clientWidth / 2;
  box.style.left = right ? "" : `${u.cursor.left + 14}px`;
  box.style.right = right ? `${u.over.clientWidth - u.cursor.left + 14}px` : "";
}

function fillTable() {
  const series = answer.series[0];
  const body = document.querySelector("#rows tbody");
  const from = Math.max(0, series.ts.length - 500); // newest first, as many as anybody reads
  const rows = [];
  for (let i = series.ts.length - 1; i >= from; i--) {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = time(series.ts[i] / 1000, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
    row.append(head);
    const cover = series.coverage?.[i];
    for (const text of [
      number(series.value[i], decimals),
      number(series.min?.[i], decimals),
      number(series.max?.[i], decimals),
      cover === null || cover === undefined ? "–" : `${number(cover * 100, 0)}\u202f%`,
    ]) {
      row.append(Object.assign(document.createElement("td"), { className: "n", textContent: text }));
    }
    rows.push(row);
  }
  body.replaceChildren(...rows);
}

for (const link of document.querySelectorAll("[data-span]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    document.querySelector("[data-span][aria-current]").removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    span = link.dataset.span;
    history.replaceState(null, "", link.href);
    load();
    loadNotes();
  });
}

const notes = document.getElementById("notes-shown");

async function loadNotes() {
  const answer = await fetch(`/live/parts/notes?span=${span}&tag=${encodeURIComponent(tag)}`);
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  notes.replaceChildren(...page.body.childNodes);
  plot?.redraw();
}

const form = document.getElementById("note-form");

async function leave() {
  if (!form.reportValidity()) return;
  const said = form.querySelector(".said");
  const { text, from, to } = Object.fromEntries(new FormData(form));
  try {
    await send("POST", "/api/production/log", { text, subject: tag, from: instant(from, zone), to: instant(to, zone) });
    form.reset();
    said.textContent = "";
    said.classList.remove("wrong");
    await loadNotes();
  } catch (error) {
    said.textContent = error.message;
    said.classList.add("wrong");
  }
}

document.getElementById("note-save").addEventListener("click", leave);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  leave();
});

onReading((reading) => {
  if (!answer || !plot || about.kind === "counter") return;
  live.push([reading.ts, reading.quality < 64 ? null : reading.value]);
  plot.setData(columns());
});
addEventListener("resize", () => answer && draw());
onTheme(() => answer && draw());
watch([tag]);
load();
setInterval(() => document.visibilityState === "visible" && load(), 60_000);
