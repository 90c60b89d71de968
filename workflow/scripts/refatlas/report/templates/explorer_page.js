// Builds the controls. Texts of the data only ever become text nodes.

/** Return a new element with properties, attributes (names with a hyphen, role) and children. */
function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Return a new element of a drawing. */
function drawn(tag, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  made.append(...children);
  return made;
}

/** Return a number with separators of thousands. */
function counted(n) {
  return n.toLocaleString("en");
}

let lastId = 0;

/** Return a label and its control, one above the other. */
function labelled(text, control) {
  control.id = `explorer-control-${++lastId}`;
  return element("div", { className: "explorer-field" }, element("label", { htmlFor: control.id }, text), control);
}

function toolButton(text, name, act) {
  return element("button", { type: "button", title: name, "aria-label": name, onclick: act }, text);
}

const HEADINGS = { cells: "Cells", reference: "Reference", genes: "Genes" };
const GENE_CHOICE = "gene";

/** Return the menu of columns, by group. */
function columnMenu(columns, choose) {
  const menu = element("select", { onchange: () => choose(menu.value) });
  for (const group of new Set(columns.map((column) => column.group))) {
    const part = element("optgroup", { label: HEADINGS[group] || group });
    columns.forEach((column, i) => {
      if (column.group === group) part.append(element("option", { value: String(i) }, column.name));
    });
    menu.append(part);
  }
  return menu;
}

const SUGGESTED = 40;

/** Return up to SUGGESTED numbers of genes whose names begin with a text, then of those that contain it. */
function genesLike(names, text) {
  const wanted = text.toLowerCase();
  const [first, then] = [[], []];
  names.forEach((name, i) => {
    const at = name.toLowerCase().indexOf(wanted);
    if (at >= 0) (at ? then : first).push(i);
  });
  return [...first, ...then].slice(0, SUGGESTED);
}

/** Return the field in which a gene is searched. */
function geneField(genes, choose, report) {
  const names = genes.map((gene) => gene[0]);
  const list = element("datalist", { id: `explorer-genes-${++lastId}` });
  const input = element("input", { type: "search", autocomplete: "off", placeholder: "name of a gene" });
  input.setAttribute("list", list.id);
  const suggest = () => {
    list.replaceChildren(...genesLike(names, input.value).map((i) => element("option", { value: names[i] })));
  };
  const take = () => {
    const text = input.value.trim();
    if (!text) return;
    const exact = names.indexOf(text);
    const i = exact >= 0 ? exact : names.findIndex((name) => name.toLowerCase() === text.toLowerCase());
    if (i >= 0) choose(i);
    else report(`No gene named ${text} among the ${counted(names.length)} genes of this page.`);
  };
  input.addEventListener("focus", suggest);
  input.addEventListener("input", () => {
    suggest();
    if (names.includes(input.value)) take();
  });
  input.addEventListener("change", take);
  return element("div", {}, labelled("Colour by a gene", input), list);
}

/** Return the switch between query, reference and both. */
function partSwitch(choose) {
  const name = `explorer-part-${++lastId}`;
  const options = ["both", "query", "reference"].map((value) => {
    const button = element("input", { type: "radio", name, value, checked: value === "both" });
    button.addEventListener("change", () => choose(value));
    return element("label", {}, button, element("span", {}, value));
  });
  const legend = element("legend", {}, "Cells shown");
  return element("fieldset", { className: "explorer-parts" }, legend, element("div", {}, ...options));
}

function checkbox(text, choose) {
  const box = element("input", { type: "checkbox" });
  box.addEventListener("change", () => choose(box.checked));
  return element("label", { className: "explorer-check" }, box, text);
}

const KEYS = "arrow keys move, plus and minus zoom, 0 shows all, L draws a lasso, Enter names the cell in the middle, Escape clears";

/** Build the frame of an explorer. Return its parts. */
function buildFrame(explorer) {
  const { data } = explorer;
  const canvas = element("canvas", {
    className: "explorer-canvas", tabIndex: 0, role: "application",
    "aria-label": `Embedding of ${counted(data.n)} cells: ${KEYS}`,
  });
  const outline = drawn("polygon");
  const ring = drawn("circle");
  const overlay = drawn("svg", outline, ring);
  overlay.setAttribute("class", "explorer-overlay");
  overlay.setAttribute("aria-hidden", "true");
  const tip = element("div", { className: "explorer-tip", hidden: true });
  const lasso = element("button", {
    type: "button", className: "explorer-lasso", title: "Draw around cells to choose them (key L)",
    "aria-pressed": "false", onclick: () => explorer.setLasso(!explorer.lassoOn),
  }, "Lasso");
  const tools = element("div", { className: "explorer-tools", role: "group", "aria-label": "View" },
    toolButton("+", "Zoom in", () => explorer.change(() => explorer.plot.zoom(1.5))),
    toolButton("\u2212", "Zoom out", () => explorer.change(() => explorer.plot.zoom(1 / 1.5))),
    toolButton("Reset", "Show all cells", () => explorer.reset()), lasso);
  const stage = element("div", { className: "explorer-stage" }, canvas, overlay, tools, tip);
  const legend = element("div", { className: "explorer-legend" });
  const side = element("div", { className: "explorer-side" }, ...buildControls(explorer), legend);
  const status = element("p", { className: "explorer-status", role: "status", "aria-live": "polite" });
  const chosen = element("div", { className: "explorer-chosen", hidden: true });
  const note = data.note ? element("p", { className: "explorer-note" }, data.note) : null;
  const frame = element("div", { className: "explorer-frame" },
    element("div", { className: "explorer-view" }, stage, side), status, note, chosen);
  return { frame, canvas, outline, ring, tip, lasso, stage, legend, status, box: chosen };
}

/** Return the controls beside the picture. */
function buildControls(explorer) {
  const { data } = explorer;
  const controls = [];
  explorer.menu = columnMenu(data.columns, (value) => {
    if (value !== GENE_CHOICE) explorer.colourBy(() => data.column(Number(value)));
  });
  controls.push(labelled("Colour by", explorer.menu));
  if (data.genes.length) {
    controls.push(geneField(data.genes, (i) => explorer.colourByGene(i), (text) => explorer.report(text)));
  }
  if (data.models.length > 1) {
    const models = element("select", { onchange: () => explorer.setModel(Number(models.value)) });
    data.models.forEach((model, i) => models.append(element("option", { value: String(i) }, model.name)));
    controls.push(labelled("Model", models));
  }
  if (data.hasBoth) {
    controls.push(partSwitch((part) => explorer.setPart(part)));
    controls.push(checkbox("Colour the reference too", (on) => explorer.setColouredReference(on)));
  }
  return controls;
}
