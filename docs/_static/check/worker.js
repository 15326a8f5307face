/* Python in a worker: it loads when it is first asked, and is ended from outside when it takes too long. */
"use strict";

let ready;

const stage = (text) => postMessage({ kind: "stage", text });

async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: ${response.status} ${response.statusText}`);
  return response;
}

async function load({ base, pybn, driver }) {
  stage("Loading Python (14 MB, once)…");
  importScripts(`${base}pyodide.js`);
  const python = await loadPyodide({ indexURL: base });
  stage("Loading NumPy (3 MB, once)…");
  await python.loadPackage("numpy", { messageCallback: () => {} });
  if (!("numpy" in python.loadedPackages)) throw new Error(`NumPy is not at ${base}`);
  stage("Loading pybn…");
  python.unpackArchive(await (await fetched(pybn)).arrayBuffer(), "zip");
  python.FS.writeFile("driver.py", await (await fetched(driver)).text());
  return python.pyimport("driver");
}

onmessage = async ({ data }) => {
  let driver;
  try {
    ready ??= load(data.settings);
    driver = await ready;
  } catch (error) {
    postMessage({ kind: "unavailable", text: String(error.message ?? error) });
    return;
  }
  stage(data.what === "check" ? "Checking…" : "Running…");
  postMessage({ kind: "began" });
  try {
    postMessage({ kind: "answer", answer: JSON.parse(driver[data.what](data.code)) });
  } catch (error) {  // Python itself broke down: too deep a recursion, no memory left
    postMessage({ kind: "broken", text: String(error.message ?? error) });
  }
};
