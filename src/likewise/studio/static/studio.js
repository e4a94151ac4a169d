// What the scripts of all screens share: Preact with htm, requests to the studio, how numbers are said.
import { h, render } from "./vendor/preact.js";
import { useEffect, useMemo, useRef, useState } from "./vendor/hooks.js";
import htm from "./vendor/htm.js";

export const html = htm.bind(h);
export { render, useEffect, useMemo, useRef, useState };
export const one = (selector, within = document) => within.querySelector(selector);
export const data = () => JSON.parse(one("#data")?.textContent ?? "{}");

/** Put a component in the place of what the server drew there. */
export const mount = (component, selector) => {
  const place = one(selector);
  if (!place) return;
  place.replaceChildren();
  render(component, place);
};

const LOST = "The studio does not answer. Start likewise studio again: what is at work goes on, and this page comes back.";

/** What the studio says of a mistake: two sentences, what and what to do. */
export const mistake = ({ error, hint }) => [error, hint].filter(Boolean).map((it) => it[0].toUpperCase() + it.slice(1)).join(". ");

/** GET, or POST where there is something to send. Throws an Error with the studio's own words. */
export const ask = async (path, body) => {
  const options = body && {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json", "X-Likewise": "1" },
  };
  let answer;
  try { answer = await fetch(path, options); } catch { throw new Error(LOST); }
  const kind = answer.headers.get("content-type") ?? "";
  const said = kind.startsWith("application/json") ? await answer.json() : { error: (await answer.text()).trim() };
  if (!answer.ok) throw new Error(mistake(said) || `error ${answer.status}`);
  return said;
};

/**
 * What `path` answers: null until it has, {error} where it cannot. It is asked anew when the question changes, `pause` milliseconds
 * after the last change; an answer to an older question is dropped. `keep` shows the old answer until the new one is there. No path, no question.
 */
export const useAnswer = (path, body, { pause = 0, keep = false } = {}) => {
  const [answer, setAnswer] = useState(null);
  const question = path && JSON.stringify([path, body]);
  useEffect(() => {
    if (!keep || !question) setAnswer(null);
    if (!question) return undefined;
    let newest = true;
    const hear = (told) => { if (newest) setAnswer(told); };
    const timer = setTimeout(() => ask(path, body).then(hear, (error) => hear({ error: error.message })), pause);
    return () => { newest = false; clearTimeout(timer); };
  }, [question]);
  return answer;
};

/** Send a file as it is; `onPart` hears from 0 to 1 how much of it has gone. */
export const send = (path, file, onPart) => new Promise((resolve, reject) => {
  const request = new XMLHttpRequest();
  request.open("POST", path);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.setRequestHeader("X-Likewise", "1");
  request.setRequestHeader("X-Likewise-Name", encodeURIComponent(file.name));
  request.upload.onprogress = (event) => onPart?.(event.lengthComputable ? event.loaded / event.total : 0);
  request.onerror = () => reject(new Error(LOST));
  request.onload = () => {
    let told = {};
    try { told = JSON.parse(request.responseText); } catch { told = { error: request.responseText.trim() }; }
    if (request.status < 300) resolve(told);
    else reject(new Error(mistake(told)));
  };
  request.send(file);
});

/** Send every file to a concept; what was refused is told on its page. */
export const bring = async (name, files, onPart) => {
  const refused = [];
  let kept = 0;
  for (const [number, file] of files.entries()) {
    try {
      const told = await send(`/upload/${at(name)}`, file, (part) => onPart((number + part) / files.length));
      kept += told.kept.length;
      refused.push(...told.refused);
    } catch (error) {
      refused.push([file.name, error.message]);
    }
  }
  sessionStorage.setItem(`refused:${name}`, JSON.stringify(refused));
  return { kept, refused };
};

let gone;
/** A line at the bottom for some seconds, which a screen reader says. */
export const say = (words) => {
  let box = one(".toast");
  if (!box) {
    box = document.createElement("div");
    box.className = "toast";
    box.setAttribute("role", "status");
    document.body.append(box);
  }
  box.hidden = false;
  box.textContent = words instanceof Error ? words.message : words;
  clearTimeout(gone);
  gone = setTimeout(() => { box.hidden = true; }, 7000);
};

/** Do something, and say what goes wrong. */
export const attempt = async (work) => {
  try { return await work(); } catch (error) { say(error); return undefined; }
};

/** As `attempt` for a button: it is off while the work is done. */
export const Button = ({ onClick, children, ...rest }) => {
  const [busy, setBusy] = useState(false);
  const there = useRef(true);
  useEffect(() => () => { there.current = false; }, []);
  const press = async () => {
    setBusy(true);
    await attempt(onClick);
    if (there.current) setBusy(false);
  };
  return html`<button type="button" ...${rest} disabled=${busy || rest.disabled} onClick=${press}>${children}</button>`;
};

export const time = (seconds) => {
  if (seconds == null || !Number.isFinite(seconds)) return "";
  if (seconds < 1) return "under a second";
  if (seconds < 99.5) return `${Math.round(seconds)} s`;
  const [unit, rest, per] = seconds >= 3600 ? ["h", "min", 60] : ["min", "s", 1];
  const whole = Math.floor(Math.round(seconds / per) / 60);
  const left = Math.round(seconds / per) % 60;
  return left ? `${whole} ${unit} ${left} ${rest}` : `${whole} ${unit}`;
};
/** As `time`, without seconds that nobody knows beforehand. */
export const about = (seconds) => (seconds >= 600 ? time(60 * Math.round(seconds / 60)) : time(seconds < 20 ? seconds : 5 * Math.round(seconds / 5)));
export const size = (bytes) => {
  if (bytes == null) return "";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 999.5 && unit < 4) { value /= 1000; unit += 1; }
  return `${unit === 0 || value >= 9.95 ? Math.round(value) : value.toFixed(1).replace(/\.0$/, "")} ${units[unit]}`;
};
export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
export const at = (...parts) => parts.map(encodeURIComponent).join("/");
const WORDS = { dead: "ended unexpectedly", done: "finished" };
export const Chip = ({ status }) => html`<span class="chip ${status.split(":")[0]}">${WORDS[status] ?? status}</span>`;

/** A command with a button that copies it. */
export const Command = ({ text }) => {
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  };
  return html`<div class="copyable"><pre class="command" tabindex="0"><code>${text}</code></pre><${Button} class="quiet" onClick=${copy}>Copy<//></div>`;
};

/** Call `heard` with what the studio streams from `path`, over and over: the browser asks again from where it was cut off. */
export const follow = (path, { lines, state, anew, lost }, more = {}) => {
  let source;
  let last = "0";
  let timer;
  const open = () => {
    source = new EventSource(`${path}?${new URLSearchParams({ ...more, from: last })}`);
    source.addEventListener("lines", (event) => { last = event.lastEventId; lost?.(false); lines(JSON.parse(event.data)); });
    source.addEventListener("state", (event) => { lost?.(false); state?.(JSON.parse(event.data)); });
    source.addEventListener("anew", () => { last = "0"; anew?.(); });
    source.onopen = () => lost?.(false);
    source.onerror = () => {
      lost?.(true);
      if (source.readyState !== EventSource.CLOSED) return; // it asks again by itself, with Last-Event-ID
      clearTimeout(timer);
      timer = setTimeout(open, 2000);
    };
  };
  open();
  return () => { clearTimeout(timer); source.close(); };
};
