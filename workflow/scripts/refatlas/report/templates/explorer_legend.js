// The legend: what the colours mean, and which categories are shown.

/** Return the number of cells with each code, among the cells from start to end. */
function countCodes(codes, start, end, n) {
  const counts = new Uint32Array(n);
  for (let i = start; i < end; i++) counts[codes[i]]++;
  return counts;
}

/** Return the colour of each code of a column. */
function coloursOf(column, data) {
  if (column.kind === "number") return [...data.numbers, data.missing];
  return [...column.categories.map((_, i) => data.palette[i % data.palette.length]), data.missing];
}

/** The legend of the column that is shown now. Hidden categories are kept in the explorer's filters. */
class Legend {
  constructor(explorer, box) {
    this.explorer = explorer;
    this.box = box;
  }

  show(column) {
    this.column = column;
    const title = element("p", { className: "explorer-title" }, column.name);
    const content = column.kind === "number" ? this.scale() : this.categories();
    this.others = element("div", { className: "explorer-others" });
    this.box.replaceChildren(title, ...content, this.others);
    this.update();
  }

  /** Return the colour bar of a number. */
  scale() {
    const { explorer, column } = this;
    const [start, end] = explorer.population();
    const missing = countCodes(column.codes, start, end, 256)[NO_NUMBER];
    const bar = element("div", { className: "explorer-bar" });
    bar.style.background = `linear-gradient(to right, ${explorer.data.numbers.filter((_, i) => i % 16 === 0).join(", ")})`;
    const ends = element("div", { className: "explorer-ends" },
      element("span", {}, shortNumber(column.min)), element("span", {}, shortNumber(column.max)));
    const notes = [];
    if (column.group === "genes") notes.push("Log-normalized expression.");
    if (column.scale === "logarithmic") notes.push("The scale is logarithmic.");
    if (missing) notes.push(`${counted(missing)} cells without a value are grey.`);
    return [bar, ends, element("p", { className: "explorer-hint" }, notes.join(" "))];
  }

  /** Return the list of categories, the largest first. */
  categories() {
    const { explorer, column } = this;
    const n = column.categories.length;
    const counts = countCodes(column.codes, ...explorer.population(), n + 1);
    const colours = coloursOf(column, explorer.data);
    this.codes = [...counts.keys()].filter((code) => counts[code]).sort((a, b) => counts[b] - counts[a]);
    this.buttons = this.codes.map((code) => this.button(code, colours[code], counts[code]));
    const all = element("button", { type: "button", onclick: () => this.setHidden([]) }, "All");
    const none = element("button", { type: "button", onclick: () => this.setHidden(this.codes) }, "None");
    const hint = ["Click to hide or show. Double click or Shift: only this."];
    if (n > explorer.data.palette.length) hint.push("There are more categories than colours, so colours repeat.");
    return [
      element("div", { className: "explorer-all", role: "group", "aria-label": "Categories shown" }, all, none),
      element("ul", {}, ...this.buttons.map((button) => element("li", {}, button))),
      element("p", { className: "explorer-hint" }, hint.join(" ")),
    ];
  }

  button(code, colour, count) {
    const name = code < this.column.categories.length ? this.column.categories[code] : "no value";
    const swatch = element("span", { className: "explorer-swatch" });
    swatch.style.backgroundColor = colour;
    const made = element("button", { type: "button", title: name }, swatch,
      element("span", { className: "explorer-name" }, name), " ",
      element("span", { className: "explorer-n" }, counted(count)));
    made.addEventListener("click", (event) => (event.shiftKey ? this.only(code) : this.toggle(code)));
    made.addEventListener("dblclick", () => this.only(code));
    return made;
  }

  hidden() {
    return this.explorer.filters.get(this.column.key)?.hidden || new Set();
  }

  toggle(code) {
    const hidden = new Set(this.hidden());
    if (!hidden.delete(code)) hidden.add(code);
    this.setHidden(hidden);
  }

  only(code) {
    this.setHidden(this.codes.filter((other) => other !== code));
  }

  setHidden(codes) {
    this.explorer.setFilter(this.column, new Set(codes));
  }

  /** Show which categories are hidden, in this column and in others. */
  update() {
    const hidden = this.hidden();
    if (this.column.kind === "category") {
      this.codes.forEach((code, i) => this.buttons[i].setAttribute("aria-pressed", String(!hidden.has(code))));
    }
    const others = [...this.explorer.filters].filter(([key]) => key !== this.column.key).map(([, filter]) => filter);
    const names = others.map((filter) => filter.column.name).join(", ");
    const clear = element("button", { type: "button", onclick: () => this.explorer.clearFilters() }, "Show all cells");
    this.others.replaceChildren(...(names ? [element("span", {}, `Cells are also hidden by ${names}. `), clear] : []));
  }
}
