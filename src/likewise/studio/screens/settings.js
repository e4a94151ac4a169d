// What the doctor finds, asked again on a press, and how much each folder takes.
import { Button, ask, data, html, mount, one, useEffect, useState } from "./studio.js";

const Doctor = ({ first }) => {
  const [findings, setFindings] = useState(first);
  const look = async (anew) => { const told = await ask("/api/doctor", { anew }); setFindings(told.findings ?? [{ state: "bad", what: "doctor", found: told.error }]); };
  useEffect(() => { if (!first) look(false); }, []);
  if (!findings) return html`<p class="soft waiting" role="status">The doctor is looking at this machine …</p>`;
  const bad = findings.filter((it) => it.state !== "ok");
  return html`<div><p class="note ${bad.length ? "" : "good"}" style=${{ marginTop: ".9rem" }}>${bad.length ? `${bad.length} of ${findings.length} lines deserve a look.` : "Everything is as it should be."}</p>
    <table class="plain"><tbody>${findings.map((it) => html`<tr class=${it.state}><th scope="row">${it.what}</th><td>${it.found}${it.advice && html`<br /><span class="soft">${it.advice}</span>`}</td></tr>`)}</tbody></table>
    <p style=${{ marginTop: "1rem" }}><${Button} class="quiet" onClick=${() => look(true)}>Look again<//></p></div>`;
};

mount(html`<${Doctor} first=${data().findings} />`, "#doctor");
ask("/api/storage").then((sizes) => {
  for (const [name, text] of Object.entries(sizes)) {
    const cell = one(`[data-size="${name}"]`);
    if (cell) cell.textContent = text;
  }
}, () => {});
