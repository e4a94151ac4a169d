// Which one to use under limits: asked anew of what was measured, as soon as a limit changes.
import { at, data, html, mistake, mount, size, time, useAnswer, useRef, useState } from "./studio.js";

const Choose = ({ given }) => {
  const [limits, setLimits] = useState({ at_most: "", within: "", memory: "", pictures: "100" });
  const [loads, setLoads] = useState([]);
  const told = useAnswer(`/api/comparisons/${at(given.name)}/choose?${new URLSearchParams({ ...limits, must_load: loads.join(",") })}`, undefined, { pause: 250, keep: true });
  const trouble = told?.error && mistake(told);
  const good = useRef(given.first);
  if (told && !trouble) good.current = told;
  const found = good.current;
  const field = (key, title, hint) => html`<label class="field"><span>${title}</span><input type="text" value=${limits[key]} placeholder=${hint} maxlength="20" onInput=${(e) => setLimits({ ...limits, [key]: e.target.value })} /></label>`;
  const list = (title, items) => items?.length > 0 && html`<section class="tight"><h2>${title}</h2><ul class="points" style=${{ marginTop: ".7rem" }}>${items.map((it) => html`<li>${it}</li>`)}</ul></section>`;
  return html`<div class="two" style=${{ marginTop: "1.6rem" }}>
    <div><div class="panel" aria-live="polite">${trouble ? html`<p class="note">${trouble}</p>` : html`<p class="big">${found.title ? html`Take <em>${found.title}</em>` : "No recommendation"}</p>
      ${found.tied_titles?.length > 0 && html`<p class="soft" style=${{ marginTop: ".4rem" }}>${found.title ? "It cannot be told from" : "These cannot be told apart:"} ${found.tied_titles.join(", ")}.</p>`}`}</div>
      ${list(found.title ? "Why" : "Why none", found.reasons)}${list("Left out", found.excluded?.map((it) => `${it.title}: ${it.why}`))}${list("Not tested", found.untested)}${list("What would decide", found.next ? [found.next] : [])}
      <section class="tight"><h2>What was measured</h2><div class="scroll-x" tabindex="0" role="region" aria-label="What was measured"><table class="plain"><thead><tr><th scope="col">Condition</th><th scope="col" class="num">Overall</th><th scope="col" class="num">Likeness</th><th scope="col" class="num">Prompt</th><th scope="col" class="num">Time</th><th scope="col" class="num">File</th></tr></thead>
      <tbody>${found.standings?.map((it) => html`<tr><th scope="row">${it.title}</th>${["composite", "fidelity", "prompt"].map((axis) => html`<td class="num">${it.axes[axis]?.toFixed(2) ?? "–"}</td>`)}<td class="num">${time(it.seconds) || "–"}</td><td class="num">${size(it.bytes) || "–"}</td></tr>`)}</tbody></table></div></section></div>
    <aside class="panel" aria-label="Your limits" style=${{ display: "grid", gap: "1rem" }}><h2>Your limits</h2>
      ${field("at_most", "The largest file", "1MB")}${field("within", "The longest teaching", "5min")}${field("memory", "The most memory for teaching", "8GB")}${field("pictures", "Pictures you will draw", "100")}
      <fieldset><legend>It must load in</legend><div class="ticks">${given.programs.map((name) => html`<label><input type="checkbox" checked=${loads.includes(name)} onChange=${(e) => setLoads(e.target.checked ? [...loads, name] : loads.filter((it) => it !== name))} />${name}</label>`)}</div></fieldset></aside>
  </div>`;
};

const given = data();
mount(given.first.error ? html`<p class="note">${given.first.error}</p>` : html`<${Choose} given=${given} />`, "#choose");
