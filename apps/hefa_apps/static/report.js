// The bars of a report, drawn from the data that the page carries; the table beside them says the same.

import "./rest.js";
import { narrow, tick } from "./chart.js";
import { colour, number, onTheme, time, unit, word } from "./figures.js";

const place = document.getElementById("chart");
let chart = null;

const SHADES = [1, 0.72, 0.5, 0.34, 0.86, 0.6];

function stamp(start, step) {
  const ms = Date.parse(start);
  if (step === "month") return time(ms, { month: "short", year: "numeric" });
  if (step === "1d" || step === "plantday") return time(ms, { weekday: "short", day: "numeric", month: "short" });
  const clock = time(ms, { hour: "2-digit", minute: "2-digit" });
  return step === "shift" || clock === "00:00" ? `${time(ms, { day: "numeric", month: "short" })}\n${clock}` : clock;
}

function tip(data, label, points) {
  const i = points[0].dataIndex;
  const bar = data.bars[i];
  const box = Object.assign(document.createElement("div"), { className: "tip" });
  const head = document.createElement("h4");
  const shape = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
  head.textContent = `${time(Date.parse(bar.start), shape)} – ${time(Date.parse(bar.end), { hour: "2-digit", minute: "2-digit" })}`;
  box.append(head);
  const line = (name, value, tint, kind) => {
    const row = document.createElement("div");
    if (kind) row.className = kind;
    if (tint) {
      const key = Object.assign(document.createElement("span"), { className: "key" });
      key.style.background = tint;
      row.append(key);
    }
    row.append(name, Object.assign(document.createElement("b"), { textContent: value }));
    box.append(row);
  };
  let sum = null;
  data.keys.forEach((key, k) => {
    const value = key.values[i];
    if (value !== null) sum = (sum ?? 0) + value;
    if (data.keys.length <= 14 || value) line(key.key === "unaccounted" ? word("unaccounted") : key.key, `${number(value)} ${label}`, points.find((p) => p.seriesIndex === k)?.color);
  });
  line(bar.whole ? word("total") : `${word("total")} (${word("part")})`, `${number(sum)} ${label}`, null, "sum");
  return box;
}

function draw() {
  const data = JSON.parse(document.getElementById("chart-data").textContent);
  const label = unit(data.unit);
  const ink = colour("ink-3");
  const rule = colour("rule-2");
  const fontSize = 0.76 * parseFloat(getComputedStyle(document.documentElement).fontSize); // grows with the wall
  const turn = {};
  const empty = data.bars.map((_, i) => data.keys.every((key) => key.values[i] === null));
  const series = data.keys.map((key) => {
    turn[key.hue] = (turn[key.hue] ?? -1) + 1;
    const rest = key.key === "unaccounted";
    const tint = colour(`hue-${key.hue}`, rest ? 0.55 : SHADES[turn[key.hue] % SHADES.length]);
    return {
      name: rest ? word("unaccounted") : key.key,
      type: "bar",
      stack: "use",
      barCategoryGap: data.bars.length > 40 ? "18%" : "28%",
      barMaxWidth: 56,
      color: tint,
      itemStyle: rest ? { decal: { symbol: "rect", rotation: Math.PI / 4, dashArrayX: [1, 0], dashArrayY: [2, 4], color: colour("card", 0.8) } } : {},
      emphasis: { disabled: true },
      data: key.values.map((value, i) => (data.bars[i].whole ? value : { value, itemStyle: { opacity: 0.45 } })),
    };
  });
  if (series.length && empty.some(Boolean)) {
    series[0].markArea = {
      silent: true,
      itemStyle: { color: colour("rule", 0.35) },
      data: empty.flatMap((none, i) => (none ? [[{ xAxis: i - 0.5 < 0 ? 0 : i }, { xAxis: i }]] : [])),
    };
  }
  // A remainder of nearly nothing may be negative: it is not worth a row of the grid below zero.
  const sums = data.bars.map((_, i) => data.keys.reduce((all, key) => all + Math.min(0, key.values[i] ?? 0), 0));
  const most = Math.max(...data.bars.map((_, i) => data.keys.reduce((all, key) => all + Math.max(0, key.values[i] ?? 0), 0)));
  const floor = Math.min(...sums) > -0.02 * most ? 0 : null;
  chart?.dispose();
  chart = window.echarts.init(place);
  chart.setOption({
    animationDuration: 250,
    textStyle: { fontFamily: "Inter, sans-serif", color: ink, fontSize },
    grid: { left: 8, right: 8, top: 3.6 * fontSize, bottom: 4, containLabel: true },
    legend: { type: "scroll", top: 0, left: 4.4 * fontSize, itemWidth: 11, itemHeight: 11, itemGap: 16, textStyle: { color: colour("ink-2"), fontSize }, pageTextStyle: { color: ink } },
    tooltip: {
      trigger: "axis", axisPointer: { type: "shadow", shadowStyle: { color: colour("ink", 0.05) } }, confine: true, transitionDuration: 0,
      borderWidth: 0, padding: 0, backgroundColor: "transparent", extraCssText: "box-shadow:none",
      formatter: (points) => tip(data, label, points),
    },
    xAxis: { type: "category", data: data.bars.map((bar) => stamp(bar.start, data.step)), axisLine: { lineStyle: { color: colour("rule") } }, axisTick: { show: false }, axisLabel: { color: ink, fontSize, hideOverlap: true, ...(narrow() && { alignMaxLabel: "right" }) } },
    yAxis: { type: "value", name: label, min: floor, nameTextStyle: { color: ink, fontSize, align: "right", padding: [0, 6, 0, 0] }, nameGap: 20, splitLine: { lineStyle: { color: rule } }, axisLabel: { color: ink, fontSize, formatter: tick } },
    series,
  });
}

// A running period grows: fetch the page again each minute and swap what changed, as long as somebody looks.
async function refresh() {
  const fresh = document.getElementById("fresh");
  if (!fresh?.dataset.running || document.visibilityState !== "visible" || document.querySelector("details.custom[open]")) return;
  const whole = new URL(location.href);
  whole.searchParams.set("rest", "1");
  const answer = await fetch(whole);
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const open = [...document.querySelectorAll(".by-step")].map((details) => details.open);
  const range = page.querySelector(".range");
  document.querySelector(".range").replaceWith(range);
  const next = page.getElementById("fresh");
  const canvas = next.querySelector("#chart");
  if (canvas) canvas.replaceWith(place); // the drawn chart moves over, so that nothing flickers
  fresh.replaceWith(next);
  document.querySelectorAll(".by-step").forEach((details, i) => (details.open = open[i]));
  if (canvas) draw();
}

draw();
new ResizeObserver(() => chart?.resize()).observe(place);
onTheme(draw);
setInterval(refresh, 60_000);
