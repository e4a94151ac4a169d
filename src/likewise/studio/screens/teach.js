// Teach: tick one way or several, see what they take here, change settings or leave them, and start.
import { Button, Command, about, ask, at, data, html, mount, plural, size, useAnswer, useState } from "./studio.js";
import { Settings, Way, useEstimate, useMethods } from "./ways.js";

const LENGTHS = { quick: ["Quick look", 0.4], usual: ["Usual", 1], long: ["Longer", 2] };

const Teach = ({ concept, start }) => {
  const [base, setBase] = useState("pocket");
  const found = useMethods(base);
  const [ticked, setTicked] = useState(start?.method ? [start.method] : []);
  const [length, setLength] = useState("usual");
  const [own, setOwn] = useState({});
  const [shown, setShown] = useState(null);
  const [find, setFind] = useState("");
  const [previews, setPreviews] = useState("a {}\na {} in the snow");
  const [seeds, setSeeds] = useState("1");
  const methods = found?.methods ?? [];
  const usual = (method, key) => found?.advice?.[method.name]?.[key] ?? method.settings.find((it) => it.key === key)?.default;
  const settings = Object.fromEntries(methods.filter((it) => ticked.includes(it.name)).map((it) => {
    const given = { ...(own[it.name] ?? {}) };
    if (it.trains && length !== "usual" && !given.steps && !given.epochs) given.steps = Math.max(10, Math.round((usual(it, "steps") ?? 0) * LENGTHS[length][1] / 10) * 10);
    return [it.name, given];
  }));
  const chosen = methods.filter((it) => ticked.includes(it.name));
  const open = chosen.find((it) => it.name === shown) ?? chosen[0];
  const first = useEstimate({ concept: concept.name, base, methods: methods.map((it) => it.name), given: {} }, methods.length > 0);
  const changes = open && Object.fromEntries(Object.entries(own[open.name] ?? {}).filter(([, value]) => value !== ""));
  const changed = changes && Object.keys(changes).length > 0;
  const second = useEstimate({ concept: concept.name, base, methods: [open?.name], given: changes }, Boolean(first && changed));
  const estimate = changed && first ? (second ? { ...first, ...second } : null) : first;
  const asked = { concept: concept.name, base, methods: ticked, settings, seeds, previews: previews.split("\n").map((it) => it.trim()).filter(Boolean) };
  const commands = useAnswer(ticked.length && methods.length ? "/api/teach/command" : null, asked, { keep: true })?.commands ?? [];
  const trouble = found?.error ?? estimate?.error;
  if (!found) return html`<p class="soft waiting" role="status">Asking what this machine can do …</p>`;
  if (!found.methods) return html`<p class="note">${found.error}</p>`;
  const tick = (name, yes) => setTicked(yes ? [...ticked, name] : ticked.filter((it) => it !== name));
  const begin = async () => {
    const told = await ask("/api/teach", asked);
    location.assign(told.runs.length === 1 ? `/runs/${at(told.runs[0])}` : "/queue");
  };
  const seconds = (it) => {
    const seen = estimate?.[it.name];
    return seen && seen.steps ? (seen.seconds * Number(settings[it.name]?.steps || seen.steps) * Number(seeds || 1)) / seen.steps : 0;
  };
  return html`<div>
    ${start && html`<p class="lead">${start.why} ${start.method ? html`For ${start.kind}, published tables say to start with <b>${methods.find((it) => it.name === start.method)?.title ?? start.method}</b>.` : ""} Tick several to see them side by side.</p>`}
    <fieldset><legend class="hush">Ways to teach</legend><div class="ways">${methods.map((it) => html`<${Way} key=${it.name} method=${it} ticked=${ticked.includes(it.name)} tick=${(yes) => tick(it.name, yes)} badge=${it.name === start?.method ? "start here" : ""} estimate=${estimate} />`)}</div></fieldset>
    ${trouble && html`<p class="note" role="alert" style=${{ marginTop: "1rem" }}>${trouble}</p>`}
    ${estimate?.busy && html`<p class="small-print" style=${{ marginTop: ".6rem" }}>Other work goes on, so the times were measured on a busy machine; alone it is quicker.</p>`}
    <section class="two"><div>
      <div class="line"><h2>How long</h2></div>
      <div class="choices" role="group" aria-label="How long to teach" style=${{ marginTop: ".7rem" }}>${Object.entries(LENGTHS).map(([key, [title]]) => html`<button type="button" aria-pressed=${length === key} onClick=${() => setLength(key)}>${title}</button>`)}</div>
      <section class="tight"><h2>What to draw meanwhile</h2>
      <label class="field"><span class="hush">Preview prompts, one in a line</span><textarea value=${previews} onInput=${(e) => setPreviews(e.target.value)}></textarea><small>A prompt in each line; {} is your ${concept.title}. They are drawn now and then, so that you see it learn.</small></label></section>
      <section class="tight"><details><summary>All settings<span class="soft">they are fine as they are</span></summary>
        <div style=${{ padding: ".6rem 0 1rem", display: "grid", gap: "1rem" }}>
        <div class="grid-of"><label class="field"><span>Model to teach</span><input type="text" value=${base} list="bases" onChange=${(e) => setBase(e.target.value.trim() || "pocket")} /><datalist id="bases"><option value="pocket"></option></datalist><small>pocket comes along. Else a folder, a .safetensors file, or an id of the Hugging Face Hub.</small></label>
        <label class="field"><span>Trainings</span><input type="number" min="1" max="16" value=${seeds} onInput=${(e) => setSeeds(e.target.value)} /><small>More than one teaches with other random numbers, in one batch.</small></label></div>
        ${chosen.length > 1 && html`<div class="choices" role="group" aria-label="Whose settings">${chosen.map((it) => html`<button type="button" aria-pressed=${it === open} onClick=${() => setShown(it.name)}>${it.title}</button>`)}</div>`}
        <label class="field"><span class="hush">Find a setting</span><input type="search" value=${find} placeholder="Find a setting" onInput=${(e) => setFind(e.target.value)} /></label>
        ${open && html`<${Settings} key=${open.name} method=${open} advice=${found.advice[open.name]} groups=${found.groups} values=${own[open.name] ?? {}} find=${find}
          set=${(key, value) => setOwn({ ...own, [open.name]: { ...own[open.name], [key]: value } })} />`}</div></details>
      <details><summary>Copy as command<span class="soft">the same, in a terminal</span></summary><div style=${{ padding: ".4rem 0 1rem", display: "grid", gap: ".6rem" }}>${commands.map((text) => html`<${Command} text=${text} />`)}</div></details></section>
    </div>
    <aside class="panel sum" aria-label="What starts">
      <h2>${chosen.length ? chosen.map((it) => it.title).join(", ") : "Nothing is ticked"}</h2>
      ${chosen.length > 0 && html`<dl><dt>Pictures</dt><dd>${concept.count}</dd>
        <dt>Time, about</dt><dd>${estimate && !estimate.error ? about(chosen.reduce((sum, it) => sum + seconds(it), 0)) || "none" : "…"}</dd>
        <dt>Files</dt><dd>${estimate && !estimate.error ? size(chosen.reduce((sum, it) => sum + (estimate[it.name]?.bytes ?? 0), 0) * Number(seeds || 1)) : "…"}</dd></dl>`}
      <${Button} class="main wide" disabled=${!chosen.length} onClick=${begin}>${chosen.length > 1 ? `Start ${plural(chosen.length, "training")}` : "Start teaching"}<//>
      <p class="small-print">It goes on when you close this page. You may stop it at any step and go on later.</p>
    </aside></section>
    ${start?.evidence?.length > 0 && html`<section class="tight"><details><summary>Why start there?<span class="soft">what published tables say</span></summary><ul class="points" style=${{ padding: ".4rem 0 1rem" }}>${start.evidence.map((it) => html`<li>${it.text} <span class="soft">${it.source}, ${it.strength}</span></li>`)}${start.notes.map((it) => html`<li>${it}</li>`)}</ul></details></section>`}
  </div>`;
};

const given = data();
mount(html`<${Teach} concept=${given.concept} start=${given.start} />`, "#teach");
