// Ways to teach, which teaching and comparing both show: cards that say what each is for and takes here, and their settings.
import { about, html, size, useAnswer, useRef } from "./studio.js";

/** The methods with their settings, and the base's advice: null until they are there. A base that does not answer leaves what the last one said, with {error}. */
export const useMethods = (base) => {
  const told = useAnswer(`/api/methods?base=${encodeURIComponent(base)}`, undefined, { keep: true });
  const good = useRef(null);
  if (told && !told.error) good.current = told;
  return told?.error ? { ...good.current, error: told.error } : told;
};

/** What each method would take on this machine: {method: {...}, picture_seconds}, or {error}; asked anew with a pause. */
export const useEstimate = (asked, ready) => {
  const told = useAnswer(ready ? "/api/estimate" : null, asked, { pause: 500 });
  if (!told || told.error) return told;
  return { ...Object.fromEntries(told.methods.map((it) => [it.method, it])), picture_seconds: told.picture_seconds, busy: told.busy };
};

const Takes = ({ method, seen, estimate }) => {
  if (!estimate) return html`<dl><dt class="waiting" role="status">measuring here …</dt><dd></dd></dl>`;
  if (!seen) return null;
  if (seen.problem) return html`<p class="problem">${seen.problem}</p>`;
  return html`<dl><dt>Time</dt><dd>${method.trains ? `about ${about(seen.seconds)}` : "none"}</dd>
    ${method.trains && html`<dt>Memory</dt><dd>${size(seen.memory)} more</dd>`}<dt>File</dt><dd>${size(seen.bytes)}</dd></dl>`;
};

/** A card with a box to tick. */
export const Way = ({ method, ticked, tick, badge, estimate }) => html`<label class="way">
  <input type="checkbox" checked=${ticked} onChange=${(e) => tick(e.target.checked)} />
  <h3>${method.title}</h3>${badge && html`<span class="badge">${badge}</span>`}
  <p>${method.for || method.summary}</p><${Takes} method=${method} seen=${estimate?.[method.name]} estimate=${estimate} /></label>`;

const kind = (schema) => {
  const parts = schema.anyOf ?? [schema];
  const names = parts.map((it) => it.type);
  const from = parts.find((it) => it.minimum !== undefined || it.exclusiveMinimum !== undefined) ?? schema;
  const choices = schema.enum ?? parts.find((it) => it.enum)?.enum;
  const whole = names.includes("integer");
  return { choices, yes: names.includes("boolean"), number: !names.includes("string") && (whole || names.includes("number")), whole, optional: names.includes("null"), from };
};

const said = (value) => (value == null ? "" : typeof value === "boolean" ? (value ? "yes" : "no") : String(value));
const named = (key) => { const words = key.replaceAll("_", " "); return words[0].toUpperCase() + words.slice(1); };
const plain = (text) => (text ?? "").replace(/`/g, "").replace(/\s+/g, " ");

const Field = ({ setting, usual, value, set }) => {
  const { choices, yes, number, whole, from } = kind(setting);
  const changed = value !== undefined && value !== "" && said(value) !== said(usual);
  const props = { value: value ?? "", onChange: (e) => set(e.target.value) };
  let input;
  if (choices || yes) {
    const every = yes ? [["true", "yes"], ["false", "no"]] : choices.filter((it) => it !== null).map((it) => [it, it]);
    input = html`<select ...${props}><option value="">${said(usual) || "as it comes"}</option>${every.filter(([it]) => said(it) !== said(usual)).map(([it, text]) => html`<option value=${it}>${text}</option>`)}</select>`;
  } else {
    const least = from.minimum ?? from.exclusiveMinimum;
    input = html`<input ...${props} type=${number ? "number" : "text"} step=${whole ? 1 : "any"} min=${least} max=${from.maximum} maxlength="80" placeholder=${said(usual) || "empty"} />`;
  }
  return html`<label class="field ${changed ? "changed" : ""}"><span>${named(setting.key)}</span>${input}<small>${plain(setting.description)}</small></label>`;
};

/** Every setting of a method, in groups that open; what is not changed stays as the method or the base has it. */
export const Settings = ({ method, advice, groups, values, set, find }) => {
  const known = new Map(method.settings.map((it) => [it.key, it]));
  const shared = new Set(Object.values(groups).flat());
  const wanted = (it) => !find || `${it.key} ${it.description}`.toLowerCase().includes(find.toLowerCase());
  const parts = [
    [`Of ${method.title}`, method.settings.filter((it) => it.own)],
    ...Object.entries(groups).map(([title, keys]) => [title, keys.map((key) => known.get(key)).filter(Boolean)]),
    ["More", method.settings.filter((it) => !it.own && !shared.has(it.key))],
  ].map(([title, list]) => [title, list.filter(wanted)]).filter(([, list]) => list.length);
  const changed = (list) => list.filter((it) => values[it.key] !== undefined && values[it.key] !== "").length;
  return html`<div class="groups">${parts.map(([title, list], place) => html`<details open=${Boolean(find) || place === 0}>
    <summary>${title}<span class="soft">${changed(list) ? `${changed(list)} changed` : `${list.length} settings`}</span></summary>
    <div class="fields">${list.map((it) => html`<${Field} key=${it.key} setting=${it} usual=${advice?.[it.key] ?? it.default} value=${values[it.key]} set=${(value) => set(it.key, value)} />`)}</div></details>`)}</div>`;
};
