// Draw with what was taught: several files with strengths, seeds that stay, and a grid over two settings.
import { Button, Chip, Command, ask, at, attempt, data, html, mount, plural, say, useAnswer, useEffect, useRef, useState } from "./studio.js";

const given = data();
const files = new Map(given.files.map((it) => [it.id, it]));

const With = ({ list, set }) => html`<div class="with">${list.map((it, place) => {
  const edit = (change) => set(list.map((other, where) => (where === place ? { ...other, ...change } : other)));
  return html`<div key=${place}><select aria-label="File ${place + 1}" value=${it.id} onChange=${(e) => edit({ id: e.target.value })}>${given.files.map((file) => html`<option value=${file.id}>${file.trigger ? `${file.trigger} ${file.noun}: ` : ""}${file.kind}, ${file.said}</option>`)}</select>
    <input type="number" step="0.05" aria-label="Its strength" value=${it.strength} onInput=${(e) => edit({ strength: Number(e.target.value) })} />
    <button type="button" class="quiet" aria-label="Leave it out" onClick=${() => set(list.filter((_, where) => where !== place))}>✕</button>
    <input type="range" min="0" max="1.5" step="0.05" aria-label="Its strength, as a slider" value=${it.strength} onInput=${(e) => edit({ strength: Number(e.target.value) })} /></div>`;
})}${given.files.length > 0 ? html`<p><button type="button" class="quiet" onClick=${() => set([...list, { id: given.files[0].id, strength: 1 }])}>Add a taught file</button></p>` : html`<p class="soft">Nothing is taught yet, so the untaught model draws.</p>`}</div>`;

const Figure = ({ it, below }) => html`<figure>${it ? html`<a href=${it.src.replace(/\d+$/, "1280")} target="_blank" rel="noopener"><img src=${it.src} alt="${it.prompt}, seed ${it.seed}" loading="lazy" /></a>` : html`<img alt="" />`}${below && html`<figcaption>${below}</figcaption>`}</figure>`;

const Shown = ({ seen }) => {
  const [x, y] = seen.axes;
  if (!x) return html`<div class="drawn">${seen.cells[0].map((it) => html`<${Figure} it=${it} below="${it.prompt} · seed ${it.seed}" />`)}</div>`;
  const cell = (column, row) => seen.cells[y ? column * y.values.length + row : column] ?? [];
  const rows = y ? y.values.map((value, row) => [`${y.name} ${value}`, (column) => cell(column, row)[0]])
    : [...Array(Math.max(1, ...seen.cells.map((it) => it.length))).keys()].map((place) => [seen.cells[0]?.[place] ? `${seen.cells[0][place].prompt} · seed ${seen.cells[0][place].seed}` : "", (column) => cell(column)[place]]);
  return html`<div class="scroll-x" tabindex="0" role="region" aria-label="Grid"><table class="xy"><thead><tr><td></td>${x.values.map((value) => html`<th scope="col">${x.name} ${value}</th>`)}</tr></thead>
    <tbody>${rows.map(([title, of]) => html`<tr><th scope="row">${title}</th>${x.values.map((_, column) => html`<td><${Figure} it=${of(column)} /></td>`)}</tr>`)}</tbody></table></div>`;
};

const Draw = () => {
  const first = files.get(given.chosen) ?? null;
  const [list, setList] = useState(first ? [{ id: first.id, strength: 1 }] : []);
  const [prompts, setPrompts] = useState(first?.trigger ? `a ${first.trigger} ${first.noun} in the snow`.replace(/\s+/g, " ") : "");
  const [facts, setFacts] = useState({ count: "4", seed: "0", steps: "", guidance: "", size: "", negative: "" });
  const [axes, setAxes] = useState([{ name: "", values: "" }, { name: "", values: "" }]);
  const [seen, setSeen] = useState(null);
  const timer = useRef();
  const chosen = list.map((it) => files.get(it.id)).filter(Boolean);
  const words = prompts.split("\n").map((it) => it.trim()).filter(Boolean);
  const missing = chosen.filter((it) => it.trigger && words.length && !words.some((text) => text.toLowerCase().includes(it.trigger.toLowerCase())));
  const asked = { prompts: words, with: list, axes, ...facts };
  const cells = axes.filter((it) => it.name).reduce((count, it) => count * Math.max(1, it.values.split(/[\s,;]+/).filter(Boolean).length), 1);
  const whole = words.length > 0 && !axes.some((it) => it.name && !it.values.trim());
  const commands = useAnswer(whole ? "/api/draw" : null, { ...asked, only: "command" }, { keep: true })?.commands ?? [];
  const look = (name) => {
    clearTimeout(timer.current);
    const again = async () => {
      const told = await attempt(() => ask(`/api/drawings/${at(name)}`));
      if (told) setSeen(told);
      if (!told || ["starting", "waiting"].includes(told.status)) timer.current = setTimeout(again, 1200);
    };
    again();
  };
  useEffect(() => {
    const open = () => { const name = decodeURIComponent(location.hash.slice(1)); if (name) look(name); };
    open();
    addEventListener("hashchange", open);
    return () => removeEventListener("hashchange", open);
  }, []);
  const begin = async () => {
    const { name } = await ask("/api/draw", asked);
    history.replaceState(null, "", `#${encodeURIComponent(name)}`);
    setSeen(null);
    look(name);
  };
  const set = (key) => (event) => setFacts({ ...facts, [key]: event.target.value });
  const number = (key, title, hint, more = {}) => html`<label class="field"><span>${title}</span><input type="number" value=${facts[key]} placeholder=${hint} onInput=${set(key)} ...${more} /></label>`;
  const axis = (place, title) => html`<div class="grid-of"><label class="field"><span>${title}</span><select value=${axes[place].name} onChange=${(e) => setAxes(axes.map((it, other) => (other === place ? { ...it, name: e.target.value } : it)))}>${Object.entries(given.axes).map(([key, text]) => html`<option value=${key}>${text}</option>`)}</select></label>
    <label class="field"><span>Values</span><input type="text" value=${axes[place].values} placeholder="0, 0.5, 1" disabled=${!axes[place].name} onInput=${(e) => setAxes(axes.map((it, other) => (other === place ? { ...it, values: e.target.value } : it)))} /></label></div>`;
  return html`<div class="two tools" style=${{ marginTop: "1.4rem" }}>
    <div style=${{ order: 2 }}>${seen ? html`<div class="head-line" style=${{ marginTop: 0 }}><span><${Chip} status=${seen.status === "starting" ? "running" : seen.status} /> <span class="soft">${plural(seen.cells.flat().length, "picture")}</span></span></div>${seen.said && html`<p class="note" style=${{ whiteSpace: "pre-line" }}>${seen.said}</p>`}<${Shown} seen=${seen} />` : html`<p class="empty">What you draw is shown here. The same seed starts from the same noise, so that only what you change differs.</p>`}</div>
    <aside class="panel" aria-label="What to draw" style=${{ display: "grid", gap: "1.1rem" }}>
      <label class="field"><span>Prompt</span><textarea value=${prompts} placeholder="a sks dog on a beach" onInput=${(e) => setPrompts(e.target.value)}></textarea><small>Several in lines of their own are drawn one below the other.</small></label>
      ${missing.map((it) => html`<p class="note">No prompt says “${it.trigger}”, which calls what ${it.name} was taught.</p>`)}
      <div><b>With</b><div style=${{ marginTop: ".5rem" }}><${With} list=${list} set=${setList} /></div></div>
      <div class="grid-of">${number("count", "Pictures", "4", { min: 1, max: 64 })}${number("seed", "First seed", "0", { min: 0 })}</div>
      <details><summary>More<span class="soft">steps, guidance, size</span></summary><div style=${{ display: "grid", gap: "1rem", padding: ".4rem 0 1rem" }}><div class="grid-of">${number("steps", "Steps", "usual")}${number("guidance", "Guidance", "usual", { step: "any" })}${number("size", "Side in pixels", "usual")}</div><label class="field"><span>What not to draw</span><input type="text" value=${facts.negative} onInput=${set("negative")} /></label></div></details>
      <details><summary>Grid<span class="soft">two settings against each other</span></summary><div style=${{ display: "grid", gap: "1rem", padding: ".4rem 0 1rem" }}>${axis(0, "Across")}${axis(1, "Down")}<p class="small-print">Strength is that of the first file.</p></div></details>
      <${Button} class="main wide" disabled=${!words.length} onClick=${begin}>Draw ${plural(cells * words.length * Number(facts.count || 1), "picture")}<//>
      ${commands.length > 0 && html`<details><summary>Copy as command</summary><div style=${{ display: "grid", gap: ".5rem", padding: ".4rem 0" }}>${commands.slice(0, 4).map((text) => html`<${Command} text=${text} />`)}${commands.length > 4 && html`<p class="soft">… and ${commands.length - 4} more, one per cell</p>`}</div></details>`}
    </aside></div>`;
};

mount(html`<${Draw} />`, "#draw");
if (!given.files.some((it) => it.id === given.chosen) && given.chosen) say("This file is not there any more.");
