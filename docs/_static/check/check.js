/* "Check my code": the editor, the worker and its time limit, and the report. */
"use strict";

(() => {
  const LIMIT = 30;  // seconds for running and checking, not for loading
  const element = (id) => document.getElementById(id);
  const make = (tag, text, ...children) => {
    const made = document.createElement(tag);
    if (text) made.textContent = text;
    made.append(...children);
    return made;
  };
  const absolute = (address) => new URL(address, document.baseURI).href;
  const settings = {
    base: absolute(window.pyodideBase), pybn: absolute("_static/check/pybn.zip"), driver: absolute("_static/check/driver.py"),
  };
  let worker, timer;

  /** Why Python cannot run here, or nothing. */
  function obstacle() {
    const instead = " With Python on your machine, python -m pybn check layers does the same for a file layers.py.";
    if (location.protocol === "file:") {
      return "This page was opened as a file, and a browser starts no worker from a file. Serve the folder of the site, as by python -m http.server, and open it from there." + instead;
    }
    if (typeof WebAssembly !== "object") return "This browser has no WebAssembly, which Python needs to run in it." + instead;
    if (typeof Worker !== "function") return "This browser has no workers, in which Python runs." + instead;
    return undefined;
  }

  const say = (text) => { element("ck-status").textContent = text; };

  function busy(is) {
    for (const id of ["ck-check", "ck-run"]) element(id).disabled = is;
    element("ck-stop").disabled = !is;
  }

  function end(text) {
    clearTimeout(timer);
    busy(false);
    say(text);
  }

  /** The worker with all that runs in it is gone; the next press starts another. */
  function stop(text) {
    worker?.terminate();
    worker = undefined;
    end(text);
  }

  function ask(what) {
    busy(true);
    say("Starting…");
    element("ck-report").replaceChildren();
    if (!worker) {
      worker = new Worker(absolute("_static/check/worker.js"));
      worker.onmessage = ({ data }) => answers[data.kind](data);
      worker.onerror = (event) => stop(`The worker failed: ${event.message ?? "its script could not be loaded"}`);
    }
    worker.postMessage({ what, code: element("ck-code").value, settings });
  }

  const answers = {
    stage: ({ text }) => say(text),
    began: () => {
      timer = setTimeout(() => stop(`Your code had not come to an end after ${LIMIT} seconds and was ended: is there a loop that does not stop?`), LIMIT * 1000);
    },
    unavailable: ({ text }) => stop(`Python could not be loaded from ${settings.base} (${text}). Without a network, a copy of it beside the site helps: see docs/pyodide.py. With Python on your machine, python -m pybn check layers does the same for a file layers.py.`),
    broken: ({ text }) => stop(`Python broke down: ${text}`),
    answer: ({ answer }) => show(answer),
  };

  function show({ report, error, printed }) {
    const shown = element("ck-report");
    if (error) {
      end("Your code raised an error.");
      shown.append(make("h3", "It does not run"), make("pre", error));
    } else if (report) {
      end(report.ok ? "All that was handed in is right." : `${report.findings.length} ${report.findings.length === 1 ? "thing is" : "things are"} wrong.`);
      shown.append(...told(report));
    } else {
      end("It ran.");
    }
    if (printed) shown.append(make("h3", "What it printed"), make("pre", printed));
    shown.focus({ preventScroll: true });
    shown.scrollIntoView({ block: "nearest" });
  }

  function told(report) {
    const rows = Object.entries(report.parts).map(([part, { status, ok, points, possible }]) => {
      const row = make("tr", "", make("th", part), make("td", status), make("td", `${points} / ${possible}`));
      row.className = ok ? "ck-right" : "ck-wrong";
      return row;
    });
    const table = make("table", "", make("tbody", "", ...rows));
    const found = report.findings.map(({ part, what, where, evidence, example, rule }) => {
      const lines = [["Where", where], ["Seen", evidence], ["Smallest example", example], ["Right is", rule]].filter(([, text]) => text);
      return make("li", "", make("p", "", make("b", `${part}: ${what}.`)),
        make("dl", "", ...lines.flatMap(([name, text]) => [make("dt", name), make("dd", text)])));
    });
    const remarks = report.remarks.map(({ what }) => make("li", what));
    return [
      make("h3", report.ok ? "Right" : "What is wrong"), table, make("ol", "", ...found),
      ...(remarks.length ? [make("h3", "Remarks, which are no mistakes"), make("ul", "", ...remarks)] : []),
      make("p", `${report.points} of ${report.possible} points.`),
    ];
  }

  const why = obstacle();
  if (why) {
    element("ck-missing").textContent = why;
    element("ck-missing").hidden = false;
    return;
  }
  element("ck").hidden = false;
  element("ck-example").append(...Object.keys(EXAMPLES).map((name) => new Option(name)));
  const begin = () => { element("ck-code").value = EXAMPLES[element("ck-example").value]; };
  element("ck-example").addEventListener("change", begin);
  if (!element("ck-code").value) begin();
  element("ck").addEventListener("submit", (event) => { event.preventDefault(); ask("check"); });
  element("ck-run").addEventListener("click", () => ask("run"));
  element("ck-stop").addEventListener("click", () => stop("Stopped."));
})();
