// Information on single cells: below the pointer, and pinned.

class Pointing {
  /** Return the visible cell nearest to a point of the picture, or -1. */
  cellAt([x, y], radius = PICK_RADIUS) {
    this.index ||= new PlaceIndex(this.places);
    const near = radius / this.plot.view.scale;
    return this.index.nearest(...this.plot.toPlane(x, y), near, this.states, this.data.reference);
  }

  /** Show what is known of the cell at a point; of none if it is null. */
  point(place) {
    if (this.pinned !== undefined) return;
    const cell = place && !this.lassoOn ? this.cellAt(place) : -1;
    this.showTip(cell);
  }

  async showTip(cell) {
    this.tipCell = cell;
    if (cell < 0) {
      this.tip.hidden = true;
      return;
    }
    const [lines, barcode] = await this.describe(cell);
    if (this.tipCell !== cell) return;
    this.tip.replaceChildren(element("strong", {}, barcode), ...lines.map((line) => element("span", {}, line)));
    this.tip.hidden = false;
    this.placeTip(cell);
  }

  /** Return lines about a cell, and its barcode. */
  async describe(cell) {
    const { data } = this;
    const barcode = (await data.barcodes())(cell);
    const label = data.columns.findIndex((column) => column.name === "label");
    const columns = new Set([this.column, ...(label < 0 ? [] : [await data.column(label)])]);
    const lines = [...columns].map((column) => `${column.name}: ${textOf(column, cell) || "no value"}`);
    if (data.hasBoth) lines.push(cell < data.reference ? "reference cell" : "query cell");
    return [lines, barcode];
  }

  placeTip(cell) {
    const { plot, tip } = this;
    const [x, y] = plot.toScreen(this.places[2 * cell], this.places[2 * cell + 1]);
    const left = Math.min(x + 12, plot.width - tip.offsetWidth - 4);
    const above = y + 12 + tip.offsetHeight > plot.height;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${Math.max(above ? y - tip.offsetHeight - 12 : y + 12, 4)}px`;
  }

  /** Keep the information on the cell at a point on the screen; a point without a cell ends this. */
  async pin(place, radius = PICK_RADIUS) {
    this.unpin();
    const cell = this.cellAt(place, radius);
    if (cell < 0) return;
    this.pinned = cell;
    this.tip.classList.add("explorer-pinned");
    this.drawOverlay();
    await this.showTip(cell);
    const [lines, barcode] = await this.describe(cell);
    this.report([barcode, ...lines].join(", "));
  }

  unpin() {
    this.pinned = undefined;
    this.tip.classList.remove("explorer-pinned");
    this.showTip(-1);
    this.drawOverlay();
  }

  /** Draw the lasso and the ring around the pinned cell. */
  drawOverlay(path = []) {
    const { plot, places, pinned } = this;
    this.outline.setAttribute("points", path.map((point) => point.join(",")).join(" "));
    this.ring.toggleAttribute("hidden", pinned === undefined);
    if (pinned === undefined) return;
    const [x, y] = plot.toScreen(places[2 * pinned], places[2 * pinned + 1]);
    this.ring.setAttribute("cx", x);
    this.ring.setAttribute("cy", y);
    this.ring.setAttribute("r", plot.pointSize() / 2 + 4);
  }
}
