// Mouse, touch and keyboard on the picture.

const CLICK = 4;
const PICK_RADIUS = 10;
const STEP = 40;

/** Moves, zooms, points at cells and draws the lasso. */
class Pointer {
  constructor(explorer, canvas) {
    this.explorer = explorer;
    this.canvas = canvas;
    this.down = new Map();
    this.path = [];
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", (event) => this.release(event));
    canvas.addEventListener("pointerleave", () => this.explorer.point(null));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
    explorer.root.addEventListener("keydown", (event) => {
      if (event.key === "Escape") explorer.clear();
    });
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  press(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.down.set(event.pointerId, this.at(event));
    this.moved = this.down.size > 1;
    this.path = this.explorer.lassoOn ? [this.at(event)] : [];
    this.start = this.at(event);
  }

  move(event) {
    const now = this.at(event);
    const before = this.down.get(event.pointerId);
    if (!before) {
      this.explorer.point(now);
    } else if (this.down.size === 2) {
      this.pinch(event.pointerId, now);
    } else if (this.explorer.lassoOn) {
      this.extend(now);
    } else {
      this.drag(before, now, event.pointerId);
    }
  }

  drag(before, now, id) {
    if (Math.hypot(now[0] - this.start[0], now[1] - this.start[1]) > CLICK) this.moved = true;
    if (!this.moved) return;
    this.explorer.change(() => this.explorer.plot.pan(now[0] - before[0], now[1] - before[1]));
    this.down.set(id, now);
  }

  pinch(id, now) {
    const [other] = [...this.down].filter(([key]) => key !== id).map(([, point]) => point);
    const before = this.down.get(id);
    const distance = (point) => Math.max(Math.hypot(point[0] - other[0], point[1] - other[1]), 1);
    this.explorer.change(() => {
      this.explorer.plot.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      this.explorer.plot.zoom(distance(now) / distance(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    });
    this.down.set(id, now);
    this.path = [];
  }

  extend(now) {
    const last = this.path.at(-1);
    if (!last || Math.hypot(now[0] - last[0], now[1] - last[1]) < 3) return;
    this.path.push(now);
    this.explorer.drawOverlay(this.path);
  }

  release(event) {
    if (!this.down.delete(event.pointerId)) return;
    const path = this.path;
    this.path = [];
    if (path.length > 2 && event.type === "pointerup") this.explorer.choose(path);
    else if (!this.moved && !this.explorer.lassoOn && event.type === "pointerup") this.explorer.pin(this.at(event));
    this.explorer.drawOverlay();
  }

  wheel(event) {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : 1;
    const factor = Math.exp(-Math.max(Math.min(event.deltaY * unit, 200), -200) * 0.0025);
    this.explorer.change(() => this.explorer.plot.zoom(factor, ...this.at(event)));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { explorer } = this;
    const { plot } = explorer;
    const actions = {
      ArrowLeft: () => explorer.change(() => plot.pan(STEP, 0)),
      ArrowRight: () => explorer.change(() => plot.pan(-STEP, 0)),
      ArrowUp: () => explorer.change(() => plot.pan(0, STEP)),
      ArrowDown: () => explorer.change(() => plot.pan(0, -STEP)),
      "+": () => explorer.change(() => plot.zoom(1.25)),
      "=": () => explorer.change(() => plot.zoom(1.25)),
      "-": () => explorer.change(() => plot.zoom(0.8)),
      0: () => explorer.reset(),
      l: () => explorer.setLasso(!explorer.lassoOn),
      Enter: () => explorer.pin([plot.width / 2, plot.height / 2], 8 * PICK_RADIUS),
    };
    const act = actions[event.key] || actions[event.key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  }
}
