// Draws the cells with WebGL 2.

const VERTEX = `#version 300 es
precision highp float;
in vec2 place;
in float code;
in float state;
uniform vec2 centre;
uniform vec2 scale;
uniform float size;
uniform float alpha;
uniform float lift;
uniform bool plain;
uniform vec3 grey;
uniform highp sampler2D palette;
out vec4 colour;
void main() {
  gl_PointSize = size;
  if (state < 0.5 || (place.x > 65534.5 && place.y > 65534.5)) {
    gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    return;
  }
  int k = int(code + 0.5);
  vec3 rgb = plain ? grey : texelFetch(palette, ivec2(k % 256, k / 256), 0).rgb;
  float strength = state < 1.5 ? 0.15 : 1.0;
  float height = lift * (k == 255 ? -0.01 : code / 256.0);
  gl_Position = vec4((place - centre) * scale, -height, 1.0);
  colour = vec4(mix(vec3(1.0), rgb, strength), alpha);
}`;

const FRAGMENT = `#version 300 es
precision highp float;
uniform float size;
in vec4 colour;
out vec4 result;
void main() {
  float edge = 1.0;
  if (size > 2.5) {
    float distance = length(gl_PointCoord - 0.5) * size;
    edge = clamp(size * 0.5 - distance + 0.5, 0.0, 1.0);
    if (edge <= 0.0) discard;
  }
  result = vec4(colour.rgb, colour.a * edge);
}`;

const ROW = 256;
const ATTRIBUTES = ["place", "code", "state"];
const FAST_FRAME = 70;

/** Return a compiled program. */
function linked(gl) {
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  ATTRIBUTES.forEach((name, i) => gl.bindAttribLocation(program, i, name));
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}

/** Return red, green and blue from 0 to 255 of a colour such as "#0072b2". */
function rgbOf(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

/** Return the numbers from start to end in an order that looks random, the same at each call. */
function mixedOrder(order, start, end) {
  let seed = 1;
  for (let i = start; i < end; i++) order[i] = i;
  for (let i = end - 1; i > start; i--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const j = start + Math.floor((seed / 4294967296) * (i - start + 1));
    const other = order[i];
    order[i] = order[j];
    order[j] = other;
  }
}

/** A view of the cells: what part of the plane is seen, and how it is drawn. */
class Plot {
  constructor(canvas, data) {
    this.canvas = canvas;
    this.data = data;
    const options = { alpha: false, antialias: false, preserveDrawingBuffer: true };
    this.gl = canvas.getContext("webgl2", options);
    if (!this.gl) throw new Error("no WebGL 2");
    this.share = 1;
    this.plainReference = false;
    this.lift = 0;
    this.view = { x: 0, y: 0, scale: 1 };
    this.prepare();
  }

  prepare() {
    const { gl, data } = this;
    this.program = linked(gl);
    gl.useProgram(this.program);
    const names = ["centre", "scale", "size", "alpha", "lift", "plain", "grey"];
    this.at = Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(this.program, name)]));
    gl.uniform3fv(this.at.grey, rgbOf(data.grey).map((value) => value / 255));
    this.buffers = ATTRIBUTES.map(() => gl.createBuffer());
    // Cells in a mixed order, so that no category hides another, and the first part of them is a sample.
    const order = new Uint32Array(data.n);
    mixedOrder(order, 0, data.reference);
    mixedOrder(order, data.reference, data.n);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, order, gl.STATIC_DRAW);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthFunc(gl.LEQUAL);
    gl.clearColor(1, 1, 1, 1);
  }

  /** Give the cells new places, codes or states, one or two integers for each. */
  setAttribute(name, values) {
    const { gl } = this;
    const i = ATTRIBUTES.indexOf(name);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[i]);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    gl.enableVertexAttribArray(i);
    const type = values.BYTES_PER_ELEMENT === 2 ? gl.UNSIGNED_SHORT : gl.UNSIGNED_BYTE;
    gl.vertexAttribPointer(i, name === "place" ? 2 : 1, type, false, 0, 0);
  }

  /** Set the colour of each code. */
  setPalette(colours) {
    const { gl } = this;
    const rows = Math.ceil(colours.length / ROW);
    const pixels = new Uint8Array(ROW * rows * 4);
    colours.forEach((hex, i) => pixels.set([...rgbOf(hex), 255], 4 * i));
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, ROW, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  }

  /** Take over the size of the canvas in the page. Return whether it changed. */
  resize() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const pixels = [Math.round(width * ratio), Math.round(height * ratio)];
    if (!width || (pixels[0] === canvas.width && pixels[1] === canvas.height)) return false;
    [canvas.width, canvas.height] = pixels;
    [this.width, this.height, this.ratio] = [width, height, ratio];
    return true;
  }

  /** Show all places. */
  fit(places) {
    let [left, right, low, high] = [NO_PLACE, 0, NO_PLACE, 0];
    for (let i = 0; i < places.length; i += 2) {
      const [x, y] = [places[i], places[i + 1]];
      if (x === NO_PLACE && y === NO_PLACE) continue;
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < low) low = y;
      if (y > high) high = y;
    }
    this.extent = [Math.max(right - left, 1), Math.max(high - low, 1)];
    this.home = this.homeScale();
    this.view = { x: (left + right) / 2, y: (low + high) / 2, scale: this.home };
  }

  /** Return the scale at which all cells are in view. */
  homeScale() {
    return 0.92 * Math.min(this.width / this.extent[0], this.height / this.extent[1]);
  }

  /** Show the same part of the cells in a picture of another size. */
  refit() {
    const zoomed = this.view.scale / this.home;
    this.home = this.homeScale();
    this.view.scale = this.home * zoomed;
  }

  toPlane(x, y) {
    const { view } = this;
    return [view.x + (x - this.width / 2) / view.scale, view.y - (y - this.height / 2) / view.scale];
  }

  toScreen(x, y) {
    const { view } = this;
    return [this.width / 2 + (x - view.x) * view.scale, this.height / 2 - (y - view.y) * view.scale];
  }

  pan(dx, dy) {
    this.view.x -= dx / this.view.scale;
    this.view.y += dy / this.view.scale;
  }

  /** Zoom so that the place at a point of the screen stays there. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const [px, py] = this.toPlane(x, y);
    this.view.scale = Math.min(Math.max(this.view.scale * factor, this.home / 4), this.home * 400);
    const [nx, ny] = this.toPlane(x, y);
    this.view.x += px - nx;
    this.view.y += py - ny;
  }

  /** Return the diameter of a cell in pixels of the page. */
  pointSize() {
    const base = Math.sqrt((this.width * this.height) / this.data.n) * 0.45;
    const zoomed = Math.min(Math.max(base, 1.5), 6) * (this.view.scale / this.home) ** 0.4;
    return Math.min(Math.max(zoomed, 1), 16);
  }

  draw() {
    const { gl, data, view } = this;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    gl.uniform2f(this.at.centre, view.x, view.y);
    gl.uniform2f(this.at.scale, (2 * view.scale) / this.width, (2 * view.scale) / this.height);
    gl.uniform1f(this.at.alpha, data.n > 200000 ? 0.7 : 0.85);
    const size = this.pointSize() * this.ratio;
    this.drawPart(0, data.reference, size, this.plainReference);
    // A query over a grey reference stands out.
    this.drawPart(data.reference, data.n, this.plainReference ? 1.3 * size : size, false);
  }

  drawPart(start, end, size, plain) {
    const { gl } = this;
    if (start === end) return;
    // The highest values of a gene lie on top.
    const lift = plain ? 0 : this.lift;
    gl[lift ? "enable" : "disable"](gl.DEPTH_TEST);
    gl.uniform1f(this.at.size, size);
    gl.uniform1f(this.at.lift, lift);
    gl.uniform1i(this.at.plain, plain ? 1 : 0);
    gl.drawElements(gl.POINTS, Math.ceil((end - start) * this.share), gl.UNSIGNED_INT, 4 * start);
  }
}
