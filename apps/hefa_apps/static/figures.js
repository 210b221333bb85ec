// Numbers, ages and colours by the same rules as hefa_apps/figures.py, for values that arrive after the page.

const shell = JSON.parse(document.getElementById("shell-data").textContent);
export const zone = shell.zone;
const words = shell.words;

// The portal's clock: that of a wall may be minutes off, and would turn every value stale or fresh.
const ahead = shell.now - Date.now();
export const now = () => Date.now() + ahead;

// A name as it stands at a beginning: carriers are written small elsewhere.
export const capital = (name) => name.slice(0, 1).toUpperCase() + name.slice(1);

export function word(id, fields = {}) {
  return words[id].replace(/\{(\w+)\}/g, (_, name) => fields[name]);
}

const formats = new Map();

export function number(value, decimals) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const places = decimals ?? figures(value);
  if (!formats.has(places)) {
    const shape = { minimumFractionDigits: places, maximumFractionDigits: places };
    formats.set(places, new Intl.NumberFormat(shell.language, shape));
  }
  const text = formats.get(places).format(value);
  return (/[1-9]/.test(text) ? text : text.replace("-", "")).replace("-", "\u2212");
}

export function figures(value) {
  const size = Math.abs(value ?? 0);
  return size >= 1000 || size === 0 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : 3;
}

const units = {
  1: "", "%": "%", "[pH]": "pH", Cel: "°C", "kW.h": "kWh", "MW.h": "MWh", "kV.A{reactive}": "kvar", m3: "m³", "m3/h": "m³/h",
  "m3{n}": "Nm³", "m3{n}/h": "Nm³/h", "mg/m3": "mg/m³", "kg/m3": "kg/m³", "W/(m2.K)": "W/(m²·K)", "uS/cm": "µS/cm", "{NTU}": "NTU",
  "{count}": "", "m/s": "m/s",
};
export function unit(ucum) {
  if (!ucum) return "";
  if (ucum in units) return units[ucum];
  const [top, per, more] = ucum.split("/");
  if (per !== undefined && more === undefined && (top in units || per in units)) return `${unit(top)}/${unit(per)}`;
  return ucum.replaceAll(/[{}]/g, "").replaceAll(".", "·").replaceAll("m3", "m³").replaceAll("m2", "m²");
}

export function age(seconds) {
  if (seconds < 5) return word("age_now");
  if (seconds < 120) return word("age_s", { n: Math.floor(seconds) });
  if (seconds < 7200) return word("age_min", { n: Math.floor(seconds / 60) });
  if (seconds < 172800) return word("age_h", { n: Math.floor(seconds / 3600) });
  return word("age_d", { n: Math.floor(seconds / 86400) });
}

// Whether a value is beyond a limit; the same order as live/model.py: the outermost limit first.
export function outside(value, [ll, l, h, hh]) {
  if (hh !== null && value >= hh) return "hh";
  if (ll !== null && value <= ll) return "ll";
  if (h !== null && value >= h) return "h";
  if (l !== null && value <= l) return "l";
  return "";
}

// A colour of app.css as the browser resolves it in the theme of the moment: canvases cannot read variables.
const probe = document.createElement("i");
export function colour(name, alpha = 1) {
  if (!probe.isConnected) document.body.append(Object.assign(probe, { hidden: true }));
  probe.style.color = `var(--${name})`;
  const [r, g, b] = getComputedStyle(probe).color.match(/[\d.]+/g);
  return `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

export function time(ms, shape) {
  return new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...shape }).format(ms);
}

// Calls back when the colours change: by the button of the shell or by the system.
export function onTheme(callback) {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", callback);
  document.addEventListener("hefa:theme", callback);
}
