// One encoder's map on a canvas: draws its points, and finds the one under the pointer.

const MARGIN = 14;
const CELLS = 64;
const PICTURES = 200; // so many points in view are drawn as their images
const PICTURE = 30;

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

class Panel {
  constructor(canvas, encoder) {
    this.canvas = canvas;
    this.encoder = encoder;
    this.base = document.createElement("canvas");
    this.size = 0;
    this.center = [0.5, 0.5];
    this.x = Float32Array.from({ length: data.count }, (_, i) => encoder.points[2 * i] / 65535);
    this.y = Float32Array.from({ length: data.count }, (_, i) => encoder.points[2 * i + 1] / 65535);
    this.cells = Array.from({ length: CELLS * CELLS }, () => []);
    for (let i = 0; i < data.count; i++) this.cells[this.cell(this.y[i]) * CELLS + this.cell(this.x[i])].push(i);
  }

  cell(value) {
    return Math.max(0, Math.min(CELLS - 1, Math.floor(value * CELLS)));
  }

  // Returns whether the canvas has another size than before.
  measure() {
    const size = Math.round(this.canvas.clientWidth);
    const fine = Math.min(2, window.devicePixelRatio || 1);
    if (!size || (size === this.size && fine === this.fine)) return false;
    this.size = size;
    this.fine = fine;
    for (const canvas of [this.canvas, this.base]) canvas.width = canvas.height = Math.round(size * fine);
    return true;
  }

  // Pixels for a position of 0 to 1.
  scale() {
    return (this.size - 2 * MARGIN) * view.zoom;
  }

  place(i) {
    const s = this.scale();
    return [(this.x[i] - this.center[0]) * s + this.size / 2, (this.y[i] - this.center[1]) * s + this.size / 2];
  }

  // By so many pixels, never beyond the points.
  drag(dx, dy) {
    const s = this.scale();
    this.center = [this.center[0] - dx / s, this.center[1] - dy / s].map((at) => Math.max(0, Math.min(1, at)));
  }

  // The nearest point within so many pixels, or -1.
  hit(px, py, radius) {
    const s = this.scale();
    const x = (px - this.size / 2) / s + this.center[0];
    const y = (py - this.size / 2) / s + this.center[1];
    let best = -1;
    let least = (radius / s) ** 2;
    for (let row = this.cell(y - radius / s); row <= this.cell(y + radius / s); row++) {
      for (let column = this.cell(x - radius / s); column <= this.cell(x + radius / s); column++) {
        for (const i of this.cells[row * CELLS + column]) {
          const distance = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
          if (distance < least) [best, least] = [i, distance];
        }
      }
    }
    return best;
  }

  // The nearest point to the left, right, above or below of another; what is aside counts as farther away.
  beside(i, dx, dy) {
    let best = -1;
    let least = Infinity;
    for (let j = 0; j < data.count; j++) {
      const x = this.x[j] - this.x[i];
      const y = this.y[j] - this.y[i];
      const along = x * dx + y * dy;
      const aside = Math.abs(x * dy) + Math.abs(y * dx);
      if (along > 0 && aside <= along && along + 2 * aside < least) [best, least] = [j, along + 2 * aside];
    }
    return best;
  }

  drawBase() {
    const context = this.base.getContext("2d");
    context.setTransform(this.fine, 0, 0, this.fine, 0, 0);
    context.clearRect(0, 0, this.size, this.size);
    const label = labels[view.label];
    const inView = [];
    for (let i = 0; i < data.count; i++) {
      const [x, y] = this.place(i);
      if (x > -PICTURE && y > -PICTURE && x < this.size + PICTURE && y < this.size + PICTURE) inView.push([i, x, y]);
    }
    const side = (data.count > 3000 ? 2.5 : data.count > 500 ? 4 : 6) * Math.min(2, view.zoom ** 0.4);
    const layers = new Map();
    for (const point of inView) {
      const code = label ? label.codes[point[0]] : 0;
      const faded = view.only >= 0 && code !== view.only;
      const look = faded ? "--faded" : !label || code < colors ? `--look-${code}` : "--rest";
      if (!layers.has(look)) layers.set(look, []);
      layers.get(look).push(point);
    }
    for (const look of [...layers.keys()].sort()) {
      context.fillStyle = color(look);
      context.globalAlpha = 0.8;
      for (const [, x, y] of layers.get(look)) context.fillRect(x - side / 2, y - side / 2, side, side);
    }
    context.globalAlpha = 1;
    if (view.zoom > 1 && inView.length <= PICTURES) {
      const later = () => redraw(true);
      for (const [i, x, y] of inView) drawThumbnail(context, i, x - PICTURE / 2, y - PICTURE / 2, PICTURE, later);
    }
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.base, 0, 0);
    context.setTransform(this.fine, 0, 0, this.fine, 0, 0);
    context.strokeStyle = context.fillStyle = color("--ink");
    if (view.pinned >= 0) {
      const [x, y] = this.place(view.pinned);
      for (const { at } of neighborsOf(this.encoder, view.pinned)) {
        const [u, v] = this.place(at);
        context.globalAlpha = 0.5;
        context.beginPath();
        context.moveTo(x, y);
        context.lineTo(u, v);
        context.stroke();
        context.globalAlpha = 1;
        this.ring(context, u, v, 4, 1.5);
      }
      this.ring(context, x, y, 8, 3);
    }
    if (view.hover >= 0) this.ring(context, ...this.place(view.hover), 7, 2);
  }

  ring(context, x, y, radius, width) {
    context.lineWidth = width;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}
