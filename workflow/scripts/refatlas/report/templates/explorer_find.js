// Finds cells by their place: the nearest one, and those within a polygon.

const BINS = 256;

/** Cells by squares of the plane. */
class PlaceIndex {
  constructor(places) {
    this.places = places;
    const n = places.length / 2;
    this.starts = new Uint32Array(BINS * BINS + 1);
    for (let i = 0; i < n; i++) this.starts[this.binOf(i) + 1]++;
    for (let bin = 0; bin < BINS * BINS; bin++) this.starts[bin + 1] += this.starts[bin];
    const next = this.starts.slice();
    this.cells = new Uint32Array(n);
    for (let i = 0; i < n; i++) this.cells[next[this.binOf(i)]++] = i;
  }

  binOf(cell) {
    return (this.places[2 * cell + 1] >> 8) * BINS + (this.places[2 * cell] >> 8);
  }

  /** Call `visit` with each cell in the squares that meet a rectangle. */
  within(left, low, right, high, visit) {
    const bound = (value) => Math.min(Math.max(Math.floor(value / 256), 0), BINS - 1);
    for (let row = bound(low); row <= bound(high); row++) {
      const from = this.starts[row * BINS + bound(left)];
      const to = this.starts[row * BINS + bound(right) + 1];
      for (let i = from; i < to; i++) visit(this.cells[i]);
    }
  }

  hasPlace(cell) {
    return this.places[2 * cell] !== NO_PLACE || this.places[2 * cell + 1] !== NO_PLACE;
  }

  /** Return the cell nearest to a place, or -1. A cell of the query may be twice as far, because it lies on top. */
  nearest(x, y, radius, states, reference) {
    let [best, least] = [-1, radius * radius];
    this.within(x - radius, y - radius, x + radius, y + radius, (cell) => {
      if (!states[cell] || !this.hasPlace(cell)) return;
      const [dx, dy] = [this.places[2 * cell] - x, this.places[2 * cell + 1] - y];
      const distance = (dx * dx + dy * dy) * (cell < reference ? 1 : 0.25);
      if (distance <= least && dx * dx + dy * dy <= radius * radius) [best, least] = [cell, distance];
    });
    return best;
  }

  /** Return the visible cells within a polygon, in order. */
  inPolygon(polygon, states) {
    const strips = new PolygonStrips(polygon);
    const found = [];
    this.within(strips.left, strips.low, strips.right, strips.high, (cell) => {
      if (!states[cell] || !this.hasPlace(cell)) return;
      if (strips.contains(this.places[2 * cell], this.places[2 * cell + 1])) found.push(cell);
    });
    return Uint32Array.from(found).sort();
  }
}

const STRIPS = 512;

/** A polygon whose edges are kept by horizontal strips, so that few of them are tested for each cell. */
class PolygonStrips {
  constructor(points) {
    const [xs, ys] = [points.map((point) => point[0]), points.map((point) => point[1])];
    [this.left, this.right] = [Math.min(...xs), Math.max(...xs)];
    [this.low, this.high] = [Math.min(...ys), Math.max(...ys)];
    this.height = Math.max(this.high - this.low, 1e-9) / STRIPS;
    this.strips = Array.from({ length: STRIPS }, () => []);
    points.forEach((start, i) => this.addEdge(start, points[(i + 1) % points.length]));
  }

  stripOf(y) {
    return Math.min(Math.floor((y - this.low) / this.height), STRIPS - 1);
  }

  addEdge(start, end) {
    const [low, high] = start[1] < end[1] ? [start, end] : [end, start];
    for (let i = this.stripOf(low[1]); i <= this.stripOf(high[1]); i++) this.strips[i].push([...low, ...high]);
  }

  contains(x, y) {
    if (x < this.left || x > this.right || y < this.low || y > this.high) return false;
    let inside = false;
    for (const [ax, ay, bx, by] of this.strips[this.stripOf(y)]) {
      if (ay > y !== by > y && x < ax + ((y - ay) / (by - ay)) * (bx - ax)) inside = !inside;
    }
    return inside;
  }
}
