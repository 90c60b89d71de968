// Reads the blocks of a page; refatlas/report/explorer_codes.py writes them.

const NO_PLACE = 65535;
const NO_NUMBER = 255;

/** Return the bytes of a text in base64. */
function bytesOfBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Return the content of a gzip stream. */
async function unpacked(text) {
  const stream = new Blob([bytesOfBase64(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Return n unsigned integers from their byte planes. */
function fromPlanes(bytes, n, width, start = 0) {
  if (width === 1) return bytes.subarray(start, start + n);
  const values = width === 2 ? new Uint16Array(n) : new Uint32Array(n);
  for (let plane = 0; plane < width; plane++) {
    const from = start + plane * n;
    for (let i = 0; i < n; i++) values[i] |= bytes[from + i] << (8 * plane);
  }
  return values;
}

/** Replace differences by the values. */
function addUp(values) {
  for (let i = 1; i < values.length; i++) values[i] += values[i - 1];
  return values;
}

/** The cells of one explorer. Each part is read when it is needed first, and kept. */
class CellData {
  constructor(root) {
    this.root = root;
    Object.assign(this, JSON.parse(this.block("about")));
    this.parts = new Map();
    this.hasBoth = this.reference > 0 && this.reference < this.n;
  }

  block(name) {
    return this.root.querySelector(`script[data-block="${name}"]`).textContent;
  }

  once(name, read) {
    if (!this.parts.has(name)) this.parts.set(name, read());
    return this.parts.get(name);
  }

  /** Return x and y of all cells in turn, as Uint16Array. */
  places(model) {
    return this.once(`places-${model}`, async () => {
      const bytes = await unpacked(this.block(`places-${model}`));
      const axes = [0, 1].map((axis) => fromPlanes(bytes, this.n, 2, axis * 2 * this.n));
      if (this.models[model].deltas) axes.forEach(addUp);
      const places = new Uint16Array(2 * this.n);
      for (let i = 0; i < this.n; i++) {
        places[2 * i] = axes[0][i];
        places[2 * i + 1] = axes[1][i];
      }
      return places;
    });
  }

  /** Return a column with its codes. */
  column(i) {
    return this.once(`column-${i}`, async () => {
      const about = this.columns[i];
      const codes = fromPlanes(await unpacked(this.block(`column-${i}`)), this.n, about.bytes);
      return { ...about, codes, key: `column-${i}` };
    });
  }

  /** Return a gene as a column of numbers. */
  gene(i) {
    return this.once(`gene-${i}`, async () => {
      const [name, max] = this.genes[i];
      const bytes = await unpacked((await this.geneLines())[i]);
      const measured = await this.once("measured", () => unpacked(this.block("measured")));
      const codes = measured.map((known) => (known ? 0 : NO_NUMBER));
      const n = bytes.length / 5;
      const rows = addUp(fromPlanes(bytes, n, 4));
      for (let j = 0; j < n; j++) codes[rows[j]] = bytes[4 * n + j];
      return { name, kind: "number", group: "genes", min: 0, max, scale: "linear", codes, key: `gene-${i}` };
    });
  }

  async geneLines() {
    return this.once("genes", () => this.block("genes").split("\n"));
  }

  /** Return a function from the number of a cell to its barcode. */
  barcodes() {
    return this.once("cells", async () => {
      const bytes = await unpacked(this.block("cells"));
      return this.nameBytes ? namesOfPlanes(bytes, this.n, this.nameBytes) : namesOfLines(bytes, this.n);
    });
  }
}

/** Return a function from the number of a name to the name, from planes of letters. */
function namesOfPlanes(bytes, n, width) {
  const decoder = new TextDecoder();
  const letters = new Uint8Array(width);
  return (i) => {
    let length = 0;
    while (length < width && bytes[length * n + i]) letters[length] = bytes[length++ * n + i];
    return decoder.decode(letters.subarray(0, length));
  };
}

/** Return a function from the number of a name to the name, from lines. */
function namesOfLines(bytes, n) {
  const decoder = new TextDecoder();
  const ends = new Uint32Array(n);
  let line = 0;
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) ends[line++] = at;
  ends[line] = bytes.length;
  return (i) => decoder.decode(bytes.subarray(i ? ends[i - 1] + 1 : 0, ends[i]));
}

/** Return the number that a code stands for, or NaN. */
function numberOfCode(column, code) {
  if (code === NO_NUMBER) return NaN;
  const share = code / (NO_NUMBER - 1);
  if (column.scale === "logarithmic") return column.min * (column.max / column.min) ** share;
  return column.min + share * (column.max - column.min);
}

/** Return a number with about three digits. */
function shortNumber(value) {
  if (!Number.isFinite(value)) return "";
  const size = Math.abs(value);
  return size >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}

/** Return the value of a cell as text; empty where it is missing. */
function textOf(column, cell) {
  const code = column.codes[cell];
  if (column.kind === "number") return shortNumber(numberOfCode(column, code));
  return code < column.categories.length ? column.categories[code] : "";
}
