// Cells chosen with the lasso: counts, a table, and a csv file.

const SHOWN_ROWS = 200;
const CSV_ROWS = 20000;

/** Return a text as a field of a csv file. Spreadsheets must not take it for a formula. */
function csvField(text, isNumber = false) {
  const safe = !isNumber && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Return a table of texts; numbers of columns in `numeric` are set to the right. */
function tableOf(caption, header, rows, numeric = []) {
  const kind = (i) => (numeric.includes(i) ? "explorer-number" : "");
  const head = element("tr", {}, ...header.map((text, i) => element("th", { scope: "col", className: kind(i) }, text)));
  const body = rows.map((row) => element("tr", {}, ...row.map((text, i) => element("td", { className: kind(i) }, text))));
  const table = element("table", {}, element("caption", {}, caption),
    element("thead", {}, head), element("tbody", {}, ...body));
  const name = { role: "region", tabIndex: 0, "aria-label": caption };
  return element("div", { className: "explorer-table", ...name }, table);
}

/** The panel of the chosen cells. */
class Selection {
  constructor(explorer, box) {
    this.explorer = explorer;
    this.box = box;
  }

  partOf(cell) {
    return cell < this.explorer.data.reference ? "reference" : "query";
  }

  /** Show some cells: numbers of cells, in order. */
  async show(cells) {
    const { data } = this.explorer;
    const first = cells.findIndex((cell) => cell >= data.reference);
    this.nQuery = first < 0 ? 0 : cells.length - first;
    // Cells of the query first.
    this.cells = first > 0 ? [...cells.subarray(first), ...cells.subarray(0, first)] : cells;
    const columns = await Promise.all(data.columns.map((_, i) => data.column(i)));
    const shown = this.explorer.column;
    this.columns = columns.includes(shown) ? columns : [shown, ...columns];
    this.nameOf = await data.barcodes();
    this.box.replaceChildren(this.head(), this.counts(), this.rows());
    this.box.hidden = false;
  }

  clear() {
    this.box.hidden = true;
    this.box.replaceChildren();
  }

  head() {
    const n = this.cells.length;
    const parts = this.explorer.data.hasBoth ? ` (${counted(this.nQuery)} query, ${counted(n - this.nQuery)} reference)` : "";
    const title = element("p", { className: "explorer-title" }, `${counted(n)} cells chosen${parts}`);
    const save = element("button", { type: "button", className: "explorer-save", onclick: () => this.save() }, "Save as csv");
    const clear = element("button", { type: "button", onclick: () => this.explorer.clear() }, "Clear");
    return element("div", { className: "explorer-head" }, title, save, clear);
  }

  /** Return tables of counts by label, by status and by the column that is shown. */
  counts() {
    const wanted = [this.explorer.column, ...this.columns.filter((column) => /^(label|status)$/.test(column.name))];
    const columns = [...new Set(wanted)].filter((column) => column.kind === "category");
    return element("div", { className: "explorer-counts" }, ...columns.map((column) => this.countTable(column)));
  }

  countTable(column) {
    const { hasBoth } = this.explorer.data;
    const n = column.categories.length + 1;
    const counts = [0, 1].map(() => new Uint32Array(n));
    this.cells.forEach((cell, i) => counts[i < this.nQuery ? 0 : 1][column.codes[cell]]++);
    const total = (code) => counts[0][code] + counts[1][code];
    const codes = [...Array(n).keys()].filter(total).sort((a, b) => total(b) - total(a));
    const rows = codes.map((code) => {
      const name = code < n - 1 ? column.categories[code] : "no value";
      const numbers = hasBoth ? [counts[0][code], counts[1][code]] : [total(code)];
      return [name, ...numbers.map(counted)];
    });
    const header = [column.name, ...(hasBoth ? ["query", "reference"] : ["cells"])];
    return tableOf(`Chosen cells by ${column.name}`, header, rows, [1, 2]);
  }

  /** Return the fields of a cell. */
  fields(cell) {
    return [this.nameOf(cell), this.partOf(cell), ...this.columns.map((column) => textOf(column, cell))];
  }

  header() {
    return ["cell", "part", ...this.columns.map((column) => column.name)];
  }

  rows() {
    const rows = Array.from(this.cells.slice(0, SHOWN_ROWS), (cell) => this.fields(cell));
    const more = this.cells.length > SHOWN_ROWS ? `, the first ${SHOWN_ROWS} of ${counted(this.cells.length)}` : "";
    const numeric = this.columns.flatMap((column, i) => (column.kind === "number" ? [i + 2] : []));
    const table = tableOf(`Chosen cells${more}`, this.header(), rows, numeric);
    table.classList.add("explorer-cells");
    const hint = numeric.length ? "Numbers are rounded to 1/254 of their range, in this table and in the csv file." : "";
    return element("div", {}, table, element("p", { className: "explorer-hint" }, hint));
  }

  /** Save all chosen cells as a csv file. */
  save() {
    const isNumber = [false, false, ...this.columns.map((column) => column.kind === "number")];
    const line = (fields) => fields.map((text, i) => csvField(text, isNumber[i])).join(",") + "\n";
    const parts = [this.header().map((text) => csvField(text)).join(",") + "\n"];
    for (let start = 0; start < this.cells.length; start += CSV_ROWS) {
      parts.push(Array.from(this.cells.slice(start, start + CSV_ROWS), (cell) => line(this.fields(cell))).join(""));
    }
    const address = URL.createObjectURL(new Blob(parts, { type: "text/csv;charset=utf-8" }));
    const link = element("a", { href: address, download: `${this.explorer.data.file}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    this.explorer.report(`${counted(this.cells.length)} cells saved as ${this.explorer.data.file}.csv.`);
  }
}
