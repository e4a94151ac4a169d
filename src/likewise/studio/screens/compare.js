// Set a comparison up: tick methods and a size, see how many trainings and pictures and how long, and start.
import { Button, Command, about, ask, at, data, html, mount, plural, useAnswer, useState } from "./studio.js";
import { Way, useEstimate, useMethods } from "./ways.js";

const ANCHORS = 2; // the untaught base, and the base with a description

const Compare = ({ concept, sizes }) => {
  const [base, setBase] = useState("pocket");
  const found = useMethods(base);
  const [ticked, setTicked] = useState(null);
  const [size, setSize] = useState("quick");
  const [description, setDescription] = useState("");
  const [conditions, setConditions] = useState([]);
  const [tune, setTune] = useState(false);
  const methods = found?.methods ?? [];
  const names = ticked ?? methods.map((it) => it.name);
  const estimate = useEstimate({ concept: concept.name, base, methods: methods.map((it) => it.name), given: {} }, methods.length > 0);
  const extra = conditions.filter((it) => it.name.trim() && it.settings.trim()).map((it) => `${it.name.trim()}=${it.method},${it.settings.trim().replace(/\s+/g, ",")}`);
  const asked = { concept: concept.name, base, methods: names, size, description, conditions: extra, tune };
  const command = useAnswer(methods.length ? "/api/compare" : null, { ...asked, only: "command" }, { keep: true })?.command ?? "";
  const trouble = found?.error ?? estimate?.error;
  if (!found) return html`<p class="soft waiting" role="status">Asking what this machine can do …</p>`;
  if (!found.methods) return html`<p class="note">${found.error}</p>`;
  const plan = sizes.find((it) => it.name === size);
  const trained = (name) => methods.find((it) => it.name === name)?.trains;
  const lines = names.length + extra.length;
  const trainings = (names.filter(trained).length + extra.length) * plan.replicates;
  const pictures = (lines * plan.replicates + ANCHORS) * plan.prompts * plan.seeds;
  const seconds = (name) => (estimate?.[name]?.seconds ?? 0);
  const ready = estimate && !estimate.error;
  const whole = ready ? (names.reduce((sum, name) => sum + seconds(name), 0) + conditions.reduce((sum, it) => sum + seconds(it.method), 0)) * plan.replicates + pictures * estimate.picture_seconds : null;
  const tick = (name, yes) => setTicked(yes ? [...names, name] : names.filter((it) => it !== name));
  const edit = (place, change) => setConditions(conditions.map((it, other) => (other === place ? { ...it, ...change } : it)));
  const begin = async () => location.assign(`/comparisons/${at((await ask("/api/compare", asked)).name)}/live`);
  return html`<div>
    ${concept.count < 4 && html`<p class="note">A comparison keeps pictures back for judging, so it takes four at least. <a href="/concepts/${at(concept.name)}">Add some.</a></p>`}
    <section aria-labelledby="ways-h" class="tight"><h2 id="ways-h">What to compare</h2><div class="ways">${methods.map((it) => html`<${Way} key=${it.name} method=${it} ticked=${names.includes(it.name)} tick=${(yes) => tick(it.name, yes)} estimate=${estimate} />`)}</div></section>
    <section class="two tight"><div>
      <h2>How surely</h2>
      <fieldset><legend class="hush">Size</legend><div class="ways">${sizes.map((it) => html`<label class="way"><input type="radio" name="size" checked=${size === it.name} onChange=${() => setSize(it.name)} /><h3>${it.name[0].toUpperCase() + it.name.slice(1)}</h3><p>${it.decides}</p><dl><dt>Trainings each</dt><dd>${it.replicates}</dd><dt>Prompts, at most</dt><dd>${it.prompts}</dd><dt>Pictures each</dt><dd>${it.seeds}</dd></dl></label>`)}</div></fieldset>
      <section class="tight"><details><summary>More<span class="soft">other settings, the base, a description</span></summary><div style=${{ padding: ".6rem 0 1rem", display: "grid", gap: "1.1rem" }}>
        <label class="field"><span>Model</span><input type="text" value=${base} onChange=${(e) => setBase(e.target.value.trim() || "pocket")} /><small>pocket comes along. Else a folder, a .safetensors file, or an id of the Hugging Face Hub.</small></label>
        <label class="field"><span>The ${concept.title} in words</span><input type="text" maxlength="300" value=${description} placeholder="a small red mug with a chipped handle" onChange=${(e) => setDescription(e.target.value)} /><small>The untaught model is shown this description too. Where it comes close, teaching may not be needed.</small></label>
        <div><b>Further conditions</b> <span class="soft">the same method with other settings: one axis more</span>
          <div class="with" style=${{ marginTop: ".6rem" }}>${conditions.map((it, place) => html`<div style=${{ gridTemplateColumns: "1fr 1fr 1.4fr auto" }}><input type="text" aria-label="Its name" placeholder="big" value=${it.name} onInput=${(e) => edit(place, { name: e.target.value })} /><select aria-label="Its method" value=${it.method} onChange=${(e) => edit(place, { method: e.target.value })}>${methods.map((m) => html`<option value=${m.name}>${m.title}</option>`)}</select><input type="text" aria-label="Its settings" placeholder="rank=32 steps=400" value=${it.settings} onInput=${(e) => edit(place, { settings: e.target.value })} /><button type="button" class="quiet" aria-label="Remove this condition" onClick=${() => setConditions(conditions.filter((_, other) => other !== place))}>✕</button></div>`)}</div>
          <p style=${{ marginTop: ".6rem" }}><button type="button" class="quiet" onClick=${() => setConditions([...conditions, { name: "", method: methods[0].name, settings: "" }])}>Add one</button></p></div>
        <label class="ticks"><span><input type="checkbox" checked=${tune} onChange=${(e) => setTune(e.target.checked)} /> also look for each method’s best settings, with equal effort (takes several times as long)</span></label></div></details>
      <details><summary>Copy as command</summary><div style=${{ padding: ".4rem 0 1rem" }}>${command && html`<${Command} text=${command} />`}</div></details></section></div>
    <aside class="panel sum" aria-label="What starts"><h2>${plural(lines, "condition")}</h2>
      <dl><dt>Trainings</dt><dd>${trainings}</dd><dt>Pictures drawn, at most</dt><dd>${pictures.toLocaleString("en")}</dd><dt>Time, about</dt><dd>${whole === null ? "…" : `${tune ? "more than " : ""}${about(whole)}`}</dd></dl>
      ${trouble && html`<p class="note" role="alert">${trouble}</p>`}
      <${Button} class="main wide" disabled=${!lines || concept.count < 4} onClick=${begin}>Start comparing<//>
      <p class="small-print">${plan.replicates === 1 ? "One training each shows what methods can look like. It decides nothing." : "Methods take turns, so an early stop still leaves whole rounds."}</p></aside></section>
  </div>`;
};

const given = data();
mount(html`<${Compare} concept=${given.concept} sizes=${given.sizes} />`, "#compare");
