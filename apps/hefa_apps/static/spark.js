// Sparklines: the last hour of a tag as one line, moving as readings arrive. Hand-drawn SVG: sixty of them cost nothing.

import { now } from "./figures.js";

const HOUR = 3600_000;
const NS = "http://www.w3.org/2000/svg";

export class Spark {
  constructor(svg) {
    this.svg = svg;
    this.points = []; // [ms, value or null]
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    this.width = width;
    this.height = height;
    this.under = svg.appendChild(document.createElementNS(NS, "path"));
    this.under.setAttribute("class", "under");
    this.line = svg.appendChild(document.createElementNS(NS, "path"));
    this.line.setAttribute("class", "line");
  }

  fill(ts, values) {
    this.points = ts.map((micros, i) => [micros / 1000, values[i]]);
    this.draw();
  }

  push(ms, value) {
    const last = this.points.at(-1);
    if (last && ms <= last[0]) return;
    this.points.push([ms, value]);
    this.draw();
  }

  draw() {
    const to = now();
    const from = to - HOUR;
    while (this.points.length > 2 && this.points[1][0] < from) this.points.shift();
    const known = this.points.map(([, value]) => value).filter((value) => value !== null);
    if (known.length < 2) return;
    let low = Math.min(...known);
    let high = Math.max(...known);
    const room = (high - low) * 0.12 || Math.abs(high) * 0.02 || 1;
    low -= room;
    high += room;
    const x = (ms) => (((Math.max(ms, from) - from) / HOUR) * this.width).toFixed(2);
    const y = (value) => ((1 - (value - low) / (high - low)) * this.height).toFixed(2);
    const runs = [];
    let run = null;
    for (const [ms, value] of this.points) {
      if (value === null) run = null;
      else if (run) run.push([x(ms), y(value)]);
      else runs.push((run = [[x(ms), y(value)]]));
    }
    if (run && run.at(-1)) run.push([String(this.width), run.at(-1)[1]]); // the value holds until the next one
    const path = (r) => r.map(([px, py], i) => `${i ? "L" : "M"}${px} ${py}`).join("");
    this.line.setAttribute("d", runs.map(path).join(""));
    const area = (r) => `${path(r)}L${r.at(-1)[0]} ${this.height}L${r[0][0]} ${this.height}Z`;
    this.under.setAttribute("d", runs.map(area).join(""));
  }
}
