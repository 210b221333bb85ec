// Charts of every app in one look: the colours of app.css, the numbers of figures.js, drawn again when the theme or
// the size changes. A page says what to draw; where the data stands see templates/parts.html, `chart`.

import { colour, number, onTheme, time, unit } from "./figures.js";

const drawn = new Map();

function slug(text) {
  return text.toLowerCase().replace(/[^a-z0-9]/g, "-");
}

// A phone: labels at the edge stay inside, axes have fewer ticks.
export const narrow = () => matchMedia("(max-width: 760px)").matches;

// A tick of a value axis with as many decimals as it has: 0.5, 1, 1.5, 2.
export function tick(value) {
  const whole = (n) => Math.abs(value * 10 ** n - Math.round(value * 10 ** n)) < 1e-6;
  return number(value, [0, 1, 2].find(whole) ?? 3);
}

// What a chart may use: colours as the browser resolves them now, and parts of options in the house style.
function look() {
  const size = 0.76 * parseFloat(getComputedStyle(document.documentElement).fontSize); // grows with the wall
  const ink = colour("ink-3");
  const label = { color: ink, fontSize: size, fontFamily: "Inter, sans-serif" };
  const self = {
    size,
    colour,
    hue: (n, alpha = 1) => colour(`hue-${n}`, alpha),
    of: (subject, alpha = 1) => colour(getComputedStyle(document.documentElement).getPropertyValue(`--${slug(subject)}`) ? slug(subject) : "accent", alpha),
    base: () => ({
      animationDuration: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 250,
      textStyle: label,
      grid: { left: 8, right: 12, top: 3.6 * size, bottom: 4, containLabel: true },
      legend: { type: "scroll", top: 0, left: 4.4 * size, itemWidth: 11, itemHeight: 11, itemGap: 16, textStyle: { ...label, color: colour("ink-2") }, pageTextStyle: label },
      tooltip: {
        trigger: "axis", confine: true, transitionDuration: 0, borderWidth: 0, padding: 0,
        axisPointer: { type: "shadow", shadowStyle: { color: colour("ink", 0.05) }, lineStyle: { color: ink } },
        backgroundColor: "transparent", extraCssText: "box-shadow:none",
      },
    }),
    x: (labels, more = {}) => ({ type: "category", data: labels, axisLine: { lineStyle: { color: colour("rule") } }, axisTick: { show: false }, axisLabel: { ...label, hideOverlap: true, ...(narrow() && { alignMaxLabel: "right" }) }, ...more }),
    y: (ucum, more = {}) => ({
      type: "value", name: unit(ucum), nameTextStyle: { ...label, align: "right", padding: [0, 6, 0, 0] }, nameGap: 20,
      splitLine: { lineStyle: { color: colour("rule-2") } }, axisLine: { show: false },
      axisLabel: { ...label, formatter: tick }, ...more,
    }),
    // Time as a value axis, for points that do not stand in bars; ticks are those of the site's zone.
    t: (more = {}) => ({ ...self.y("", { type: "time", splitLine: { show: false }, axisLine: { lineStyle: { color: colour("rule") } } }), axisLabel: { ...label, hideOverlap: true, formatter: (ms) => stamp(ms) }, ...more }),
    // The box that a chart shows under the pointer: a title and lines of [name, text, colour].
    tip: (title, lines) => {
      const box = Object.assign(document.createElement("div"), { className: "tip" });
      box.append(Object.assign(document.createElement("h4"), { textContent: title }));
      for (const [name, text, tint, kind] of lines) {
        const row = Object.assign(document.createElement("div"), { className: kind ?? "" });
        if (tint) {
          const key = Object.assign(document.createElement("span"), { className: "key" });
          key.style.background = tint;
          row.append(key);
        }
        row.append(name, Object.assign(document.createElement("b"), { textContent: text }));
        box.append(row);
      }
      return box;
    },
  };
  return self;
}

// A moment as an axis writes it: the date where a day begins, else the clock.
export function stamp(ms) {
  const clock = time(ms, { hour: "2-digit", minute: "2-digit" });
  return clock === "00:00" ? time(ms, { day: "numeric", month: "short" }) : clock;
}

// The start of a bucket as a label of its step.
export function bucket(start, step) {
  const ms = Date.parse(start);
  if (step === "month") return time(ms, { month: "short", year: "numeric" });
  if (step === "1d" || step === "plantday") return time(ms, { weekday: "short", day: "numeric", month: "short" });
  const clock = time(ms, { hour: "2-digit", minute: "2-digit" });
  return step === "shift" || clock === "00:00" ? `${time(ms, { day: "numeric", month: "short" })}\n${clock}` : clock;
}

function draw(id) {
  const one = drawn.get(id);
  one.instance?.dispose();
  one.instance = window.echarts.init(one.place);
  one.instance.setOption(one.option(one.data, look()));
  one.after?.(one.instance, one.data);
  one.place.dataset.drawn = "";
}

// Draws into the part `chart(id, …)` of the page; `option(data, look)` returns what ECharts wants. `redraw` with new
// data draws again. Returns nothing where the page has no such chart.
export function chart(id, option, after) {
  const place = document.getElementById(id);
  if (!place) return undefined;
  const data = JSON.parse(document.getElementById(`${id}-data`).textContent);
  drawn.set(id, { place, option, after, data, instance: null });
  draw(id);
  new ResizeObserver(() => drawn.get(id).instance.resize()).observe(place);
  return { redraw: (fresh) => ((drawn.get(id).data = fresh), draw(id)) };
}

onTheme(() => [...drawn.keys()].forEach(draw));
