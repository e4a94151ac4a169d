// A run from its journal: loss, rate, speed, memory, time left, previews over steps on one slider; stop, go on, take the file.
import { Button, Chip, Command, ask, at, attempt, data, follow, html, mount, one, plural, say, size, time, useEffect, useMemo, useRef, useState } from "./studio.js";

const POINTS = 400;
const HEIGHT = 240;

/** What the events of a journal add up to. A start repeats what no checkpoint kept. */
export const summed = () => {
  const steps = new Map();
  const log = [];
  let total = 0;
  const add = (event) => {
    if (event.event === "stepped") {
      total = event.steps;
      steps.set(event.step, { step: event.step, loss: event.losses.reduce((a, b) => a + b, 0) / event.losses.length, rate: Object.values(event.rates)[0]?.[0], seconds: event.seconds, memory: event.memory });
      return;
    }
    if (event.event === "attached") for (const step of [...steps.keys()]) if (step > event.resumed) steps.delete(step);
    const words = {
      loaded: () => `loaded ${event.base} (${event.family})`, warned: () => event.text, noted: () => event.text,
      attached: () => `${plural(event.parameters, "number")} to learn${event.resumed ? `, going on after step ${event.resumed}` : ""}`,
      sampled: () => `drew a preview at step ${event.step}`, saved: () => `saved ${event.path.split(/[\\/]/).at(-1)}, ${size(event.bytes)}`,
      finished: () => "finished", stopped: () => event.message, failed: () => event.message,
    }[event.event];
    if (words) log.push({ time: event.time, text: words() });
  };
  return { steps, log, add, total: () => total };
};

export const Curve = ({ points, total, width = 760 }) => {
  const drawn = useMemo(() => {
    if (points.length < 2) return null;
    let mean = 0;
    let weight = 0;
    const smooth = points.map((it) => { mean = 0.97 * mean + it.loss; weight = 0.97 * weight + 1; return [it.step, mean / weight]; });
    const every = Math.max(1, Math.ceil(points.length / POINTS));
    const thin = (list) => list.filter((_, place) => place % every === 0 || place === list.length - 1);
    const sorted = points.map((it) => it.loss).sort((a, b) => a - b);
    const low = sorted[0];
    const high = Math.max(sorted[Math.floor(0.98 * (sorted.length - 1))], low * 1.05 + 1e-9);
    const x = (step) => 46 + ((width - 58) * step) / Math.max(total, 1);
    const y = (loss) => 12 + (HEIGHT - 44) * (1 - Math.min(1, (loss - low) / (high - low)));
    const path = (list) => list.map(([step, loss], place) => `${place ? "L" : "M"}${x(step).toFixed(1)} ${y(loss).toFixed(1)}`).join("");
    return { raw: path(thin(points.map((it) => [it.step, it.loss]))), smooth: path(thin(smooth)), last: smooth.at(-1), x, y, ticks: [low, (low + high) / 2, high], steps: [0, total / 2, total] };
  }, [points.length, points.at(-1)?.step, total, width]);
  if (!drawn) return html`<p class="empty">The curve begins with the second step.</p>`;
  return html`<svg class="curve" viewBox="0 0 ${width} ${HEIGHT}" role="img" aria-label="Loss over steps, now ${drawn.last[1].toFixed(4)} on average">
    ${drawn.ticks.map((it) => html`<path class="gridline" d="M46 ${drawn.y(it)}H${width - 12}" /><text x="40" y=${drawn.y(it) + 4} text-anchor="end">${it.toPrecision(2)}</text>`)}
    ${drawn.steps.map((it, place) => html`<text x=${drawn.x(it)} y=${HEIGHT - 8} text-anchor=${["start", "middle", "end"][place]}>${Math.round(it)}</text>`)}
    <path class="raw" d=${drawn.raw} /><path class="smooth" d=${drawn.smooth} /><circle class="dot" cx=${drawn.x(drawn.last[0])} cy=${drawn.y(drawn.last[1])} r="4" /></svg>`;
};

export const Film = ({ previews }) => {
  const [place, setPlace] = useState(previews.length - 1);
  const followed = useRef(true);
  useEffect(() => { if (followed.current) setPlace(previews.length - 1); }, [previews.length]);
  if (!previews.length) return html`<p class="empty">The first preview is drawn before the first step.</p>`;
  const shown = previews[Math.max(0, Math.min(place, previews.length - 1))];
  const move = (value) => { followed.current = value === previews.length - 1; setPlace(value); };
  return html`<div class="stage-of"><div class="filmed">${shown.pictures.map((it) => html`<figure><img src=${it.src} alt="${it.prompt}, after ${shown.step} steps" /><figcaption>${it.prompt}</figcaption></figure>`)}</div>
    <label class="scrub"><span>Step</span><input type="range" id="step" min="0" max=${previews.length - 1} value=${Math.max(0, place)} aria-valuetext="after ${shown.step} steps" onInput=${(e) => move(Number(e.target.value))} /><output>${shown.step}</output></label></div>`;
};

const Gauges = ({ points, total, status, spent }) => {
  const last = points.at(-1);
  if (!last || status !== "running") return spent.length > 0 && html`<dl class="gauges">${spent.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
  const recent = points.slice(-30);
  const each = recent.reduce((sum, it) => sum + it.seconds, 0) / recent.length;
  const loss = points.slice(-50).reduce((sum, it) => sum + it.loss, 0) / Math.min(50, points.length);
  const facts = [["Step", `${last.step} of ${total}`], ["Left", time((total - last.step) * each)], ["Loss", loss.toFixed(4)], ["Speed", each < 1 ? `${(1 / each).toFixed(1)} / s` : `${each.toFixed(1)} s each`], ["Rate", last.rate?.toPrecision(2) ?? ""], ["Memory", size(last.memory)]];
  return html`<dl class="gauges">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
};

/** The steps that were kept, and who may judge them: pictures that were not taught. */
const Kept = ({ seen }) => {
  const [judge, setJudge] = useState(seen.others[0] ?? "");
  const score = async () => location.assign(`/comparisons/${at((await ask(`/api/runs/${at(seen.run.name)}/steps`, { concept: judge })).name)}/live`);
  return html`<div class="panel" style=${{ marginTop: "1rem" }}><h2>Which step is the best?</h2>
    <p>${plural(seen.kept.length, "earlier step")} and the last are drawn and scored by pictures that were not taught.</p>
    ${seen.others.length ? html`<p class="actions" style=${{ marginTop: "1rem" }}><label class="soft">Pictures of <select aria-label="Pictures that were not taught" value=${judge} onChange=${(e) => setJudge(e.target.value)}>${seen.others.map((name) => html`<option value=${name}>${name}</option>`)}</select></label> <${Button} onClick=${score}>Score the steps<//></p>`
      : html`<p class="soft">Drop other pictures of it on the first page, as a concept of their own. They can judge.</p>`}</div>`;
};

const Ended = ({ seen, again }) => {
  const [more, setMore] = useState("100");
  const go = async (body) => { say((await ask(`/api/runs/${at(seen.run.name)}/resume`, body)).said); await again(); };
  if (seen.status === "done") {
    const file = seen.files[0];
    return html`<div class="panel"><h2>It is taught</h2><p>Say <b>“a ${seen.run.token} ${seen.run.noun}”</b> in a prompt.</p>
      <p class="actions" style=${{ marginTop: "1rem" }}>${file && html`<a class="button main" href="/draw?with=${at(file.id)}">Draw with it</a>`}
      ${seen.files.map((it) => html`<a class="button" href="/files/${at(it.id)}" download>Download ${seen.files.length > 1 ? it.name : ""} (${it.size})</a>`)}
      ${seen.concept && html`<a class="button" href="/compare?concept=${at(seen.concept)}">Compare methods</a>`}</p>
      ${seen.recipe.steps && html`<p class="actions" style=${{ marginTop: "1rem" }}><label class="soft" style=${{ display: "flex", gap: ".5rem", alignItems: "center" }}>Not enough yet? <input type="number" style=${{ width: "5.5rem" }} min="1" value=${more} aria-label="Further steps" onInput=${(e) => setMore(e.target.value)} /></label><${Button} onClick=${() => go({ more })}>Teach so many steps more<//></p>`}</div>
      ${seen.kept.length > 0 && html`<${Kept} seen=${seen} />`}`;
  }
  return html`<div class="note"><b>${seen.status === "stopped" ? "Stopped." : seen.status === "dead" ? "It ended unexpectedly." : "It failed."}</b> <span style=${{ whiteSpace: "pre-line" }}>${seen.why}</span><p class="actions"><${Button} class="main" onClick=${() => go({})}>Go on<//></p></div>`;
};

const Run = ({ first }) => {
  const [seen, setSeen] = useState(first);
  const [beat, setBeat] = useState(0);
  const [lost, setLost] = useState(false);
  const sum = useRef(summed());
  const status = seen.status;
  const again = async () => setSeen(await ask(`/api/runs/${at(first.run.name)}`));
  useEffect(() => {
    let timer;
    const later = () => { clearTimeout(timer); timer = setTimeout(() => attempt(again), 300); };
    const stop = follow(`/runs/${at(first.run.name)}/events`, {
      lines: (events) => {
        for (const event of events) sum.current.add(event);
        if (events.some((event) => ["sampled", "saved", "finished", "failed", "stopped", "attached"].includes(event.event))) later();
        setBeat((value) => value + 1);
      },
      state: later,
      anew: () => { sum.current = summed(); setBeat((value) => value + 1); },
      lost: setLost,
    });
    const slow = setInterval(() => { if (["waiting", "starting"].includes(one(".head-line")?.dataset.status)) later(); }, 2500);
    return () => { clearTimeout(timer); clearInterval(slow); stop(); };
  }, []);
  const points = useMemo(() => [...sum.current.steps.values()].sort((a, b) => a.step - b.step), [beat]);
  const total = sum.current.total() || seen.recipe.steps || 0;
  const busy = ["running", "starting", "waiting"].includes(status);
  const share = total && points.length ? points.at(-1).step / total : 0;
  const stop = async () => { say((await ask(`/api/runs/${at(seen.run.name)}/stop`, { yes: true })).said); await again(); };
  const discard = async () => {
    if (!confirm("Move this run and its file to the trash folder?")) return;
    await ask(`/api/runs/${at(seen.run.name)}/discard`, { yes: true });
    location.assign("/");
  };
  return html`<div>
    <div class="head-line" data-status=${status}><span><${Chip} status=${status} /> <span class="soft">${lost ? "The studio does not answer. The run goes on; this page waits for it." : { waiting: "It waits for its turn.", starting: "Loading the model." }[status] ?? ""}</span></span>
      <span class="actions">${busy && html`<${Button} onClick=${stop}>${status === "waiting" ? "Take it out of the queue" : "Stop"}<//>`}${!busy && html`<${Button} class="plain" onClick=${discard}>Throw away<//>`}</span></div>
    ${status === "running" && html`<div class="meter" style=${{ marginTop: "1rem" }} role="progressbar" aria-label="How far" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(100 * share)}><i style=${{ width: `${100 * share}%` }}></i></div>`}
    <${Gauges} points=${points} total=${total} status=${status} spent=${seen.spent} />
    ${!busy && html`<section class="tight"><${Ended} seen=${seen} again=${again} /></section>`}
    <div class="halves">${(seen.previews.length > 0 || busy) && html`<section aria-labelledby="film-h" class="tight"><h2 id="film-h">What it draws</h2><div style=${{ marginTop: "1rem" }}><${Film} previews=${seen.previews} /></div></section>`}
    ${(points.length > 1 || busy) && seen.recipe.steps && html`<section aria-labelledby="loss-h" class="tight"><h2 id="loss-h">Loss</h2><p class="soft">Noisy by nature. Trust the pictures more than this line.</p><${Curve} points=${points} total=${total} width=${620} /></section>`}</div>
    <section class="tight"><details><summary>What happened<span class="soft">${plural(sum.current.log.length, "event")}</span></summary><ul class="log" tabindex="0" aria-label="What happened">${sum.current.log.map((it) => html`<li><time>${new Date(1000 * it.time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" })}</time><span>${it.text}</span></li>`)}</ul></details>
    ${Object.keys(seen.recipe).length > 0 && html`<details><summary>Settings<span class="soft">${plural(Object.keys(seen.recipe).length, "setting")}</span></summary><div class="scroll-x"><table class="plain"><tbody>${Object.entries(seen.recipe).map(([key, value]) => html`<tr><th scope="row">${key.replaceAll("_", " ")}</th><td>${String(value)}</td></tr>`)}</tbody></table></div></details>`}
    ${seen.command && html`<details><summary>Copy as command</summary><div style=${{ padding: ".4rem 0 1rem" }}><${Command} text=${seen.command} /></div></details>`}</section>
  </div>`;
};

if (one("#run")) mount(html`<${Run} first=${data()} />`, "#run");
