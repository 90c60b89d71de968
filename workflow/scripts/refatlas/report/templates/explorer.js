// One explorer: what is shown, and how its parts work together.

const SETTLED = 200;

class Explorer extends Pointing {
  constructor(root) {
    super();
    this.root = root;
    this.data = new CellData(root);
    this.part = "both";
    this.colouredReference = false;
    this.lassoOn = false;
    this.filters = new Map();
    this.chosen = null;
    this.states = new Uint8Array(this.data.n);
    this.asked = 0;
    this.model = 0;
  }

  /** Build the controls, and draw the first model in the colours of the first column. */
  async start() {
    Object.assign(this, buildFrame(this));
    this.root.classList.add("explorer-live");
    this.root.append(this.frame);
    this.plot = new Plot(this.canvas, this.data);
    this.plot.resize();
    this.legendBox = new Legend(this, this.legend);
    this.selection = new Selection(this, this.box);
    const [places, column] = await Promise.all([this.data.places(0), this.data.column(0)]);
    this.takePlaces(places);
    this.plot.fit(places);
    this.takeColumn(column);
    this.pointer = new Pointer(this, this.canvas);
    new ResizeObserver(() => this.resize()).observe(this.stage);
    this.canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    this.canvas.addEventListener("webglcontextrestored", () => this.restore());
    this.drawNow();
    this.reportCells();
    this.root.dataset.state = "ready";
  }


  report(text) {
    this.status.textContent = text;
  }

  reportCells() {
    const { n, reference } = this.data;
    if (this.data.hasBoth) this.report(`${counted(n - reference)} query cells over ${counted(reference)} reference cells.`);
    else this.report(`${counted(n)} ${reference ? "reference" : "query"} cells.`);
  }

  /** Carry out what needs data that may still have to be read; a later request replaces an earlier one. */
  async latest(read, take) {
    const ticket = ++this.asked;
    this.root.dataset.state = "busy";
    try {
      const content = await read();
      if (ticket === this.asked) take(content);
    } finally {
      if (ticket === this.asked) this.root.dataset.state = "ready";
    }
  }

  colourBy(read) {
    return this.latest(read, (column) => {
      this.takeColumn(column);
      this.drawNow();
      this.report(`Coloured by ${column.name}.`);
    });
  }

  /** Colour by a gene, and name it in the menu. */
  colourByGene(i) {
    let group = this.menu.querySelector("optgroup[data-genes]");
    if (!group) {
      group = element("optgroup", { label: HEADINGS.genes, "data-genes": "" });
      this.menu.append(group);
    }
    group.replaceChildren(element("option", { value: GENE_CHOICE }, this.data.genes[i][0]));
    this.menu.value = GENE_CHOICE;
    return this.colourBy(() => this.data.gene(i));
  }

  setModel(model) {
    return this.latest(() => this.data.places(model), (places) => {
      this.model = model;
      this.takePlaces(places);
      this.unpin();
      this.plot.fit(places);
      this.drawNow();
      this.report(`Embedding of ${this.data.models[model].name}.`);
    });
  }

  setPart(part) {
    this.part = part;
    this.takeColumn(this.column);
    this.drawNow();
  }

  setColouredReference(on) {
    this.colouredReference = on;
    this.takeColumn(this.column);
    this.drawNow();
  }

  takePlaces(places) {
    this.places = places;
    this.index = null;
    this.plot.setAttribute("place", places);
  }

  takeColumn(column) {
    this.column = column;
    this.plot.plainReference = this.isReferencePlain();
    this.plot.lift = column.group === "genes" ? 1 : 0;
    this.plot.setPalette(coloursOf(column, this.data));
    this.plot.setAttribute("code", column.codes);
    this.legendBox.show(column);
    this.updateStates();
  }

  /** Return whether the reference is grey: it is below a query that has values, unless the user wants its colours. */
  isReferencePlain() {
    const { data, column } = this;
    if (!data.hasBoth || this.part !== "both" || this.colouredReference) return false;
    const missing = column.kind === "number" ? NO_NUMBER : column.categories.length;
    return column.codes.subarray(data.reference).some((code) => code !== missing);
  }

  /** Return the first cell that has a colour, and the one after the last. */
  population() {
    const { data } = this;
    const start = this.part === "query" || this.plot.plainReference ? data.reference : 0;
    return [data.hasBoth ? start : 0, data.hasBoth && this.part === "reference" ? data.reference : data.n];
  }

  setFilter(column, hidden) {
    if (hidden.size) this.filters.set(column.key, { column, hidden });
    else this.filters.delete(column.key);
    this.filtersChanged();
  }

  clearFilters() {
    this.filters.clear();
    this.filtersChanged();
  }

  filtersChanged() {
    this.legendBox.update();
    this.updateStates();
    this.drawNow();
    const [start, end] = this.population();
    const shown = this.states.subarray(start, end).reduce((sum, state) => sum + (state > 0), 0);
    this.report(`${counted(shown)} of ${counted(end - start)} cells are shown.`);
  }

  /** Set for each cell whether it is hidden (0), faint because others are chosen (1), or shown (2). */
  updateStates() {
    const { states, data } = this;
    states.fill(2);
    if (data.hasBoth && this.part === "query") states.fill(0, 0, data.reference);
    if (data.hasBoth && this.part === "reference") states.fill(0, data.reference);
    const [start, end] = this.population();
    for (const { column, hidden } of this.filters.values()) {
      const isHidden = new Uint8Array(column.categories.length + 1);
      hidden.forEach((code) => (isHidden[code] = 1));
      for (let i = start; i < end; i++) if (isHidden[column.codes[i]]) states[i] = 0;
    }
    if (this.chosen) {
      const faint = new Uint8Array(data.n).fill(1);
      this.chosen.forEach((cell) => (faint[cell] = 0));
      for (let i = 0; i < data.n; i++) states[i] -= states[i] && faint[i];
    }
    this.plot.setAttribute("state", states);
  }

  /** Change the view, and draw it with the next frame. */
  change(act) {
    act();
    this.moving = performance.now();
    if (this.frameAsked) return;
    this.frameAsked = requestAnimationFrame((time) => this.drawMoving(time));
  }

  /** Draw while the view moves. Where a frame takes long, only a part of the cells is drawn until it rests. */
  drawMoving(time) {
    this.frameAsked = 0;
    const { plot } = this;
    const pause = time - (this.lastFrame || 0);
    if (pause > FAST_FRAME && pause < 1000 && this.frames++ > 1) plot.share = Math.max(plot.share / 2, 0.05);
    this.lastFrame = time;
    this.drawNow();
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.rest(), SETTLED);
  }

  rest() {
    this.frames = 0;
    this.lastFrame = 0;
    if (this.plot.share === 1) return;
    this.plot.share = 1;
    this.drawNow();
  }

  drawNow() {
    this.plot.draw();
    this.drawOverlay(this.pointer?.path);
    if (this.pinned !== undefined) this.placeTip(this.pinned);
  }

  reset() {
    this.plot.fit(this.places);
    this.drawNow();
    this.report("All cells are in view.");
  }

  resize() {
    if (!this.plot.resize()) return;
    this.plot.refit();
    this.drawNow();
  }

  restore() {
    this.plot.prepare();
    this.takePlaces(this.places);
    this.takeColumn(this.column);
    this.drawNow();
  }

  setLasso(on) {
    this.lassoOn = on;
    this.lasso.setAttribute("aria-pressed", String(on));
    this.stage.classList.toggle("explorer-drawing", on);
    this.report(on ? "Draw around the cells to choose." : "");
  }

  /** Choose the visible cells within a path on the screen. */
  async choose(path) {
    this.index ||= new PlaceIndex(this.places);
    const cells = this.index.inPolygon(path.map(([x, y]) => this.plot.toPlane(x, y)), this.states);
    this.setLasso(false);
    if (!cells.length) {
      this.clear();
      this.report("No cell is within the lasso.");
      return;
    }
    this.unpin();
    this.setChosen(cells);
    await this.selection.show(cells);
    this.report(`${counted(cells.length)} cells chosen. Counts and a table are below the picture.`);
  }

  setChosen(cells) {
    this.chosen = cells;
    this.updateStates();
    this.drawNow();
  }

  /** End what was chosen, pinned or begun. */
  clear() {
    this.unpin();
    this.setLasso(false);
    if (this.pointer) this.pointer.path = [];
    this.selection.clear();
    this.setChosen(null);
    this.reportCells();
  }

}

/** Start an explorer; where the browser cannot draw it, the still picture remains. */
async function startExplorer(root) {
  let explorer;
  try {
    explorer = new Explorer(root);
    await explorer.start();
  } catch (error) {
    explorer?.frame?.remove();
    root.classList.remove("explorer-live");
    const reason = "This browser cannot draw the embedding with WebGL 2, so this is a still picture of it";
    root.querySelector(".explorer-reason").textContent = `${reason} (${error.message}). `;
    root.dataset.state = "still";
  }
}

function startExplorers() {
  document.querySelectorAll(".explorer").forEach(startExplorer);
}

if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", startExplorers);
else startExplorers();
