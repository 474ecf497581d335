"use strict";
// What the map is drawn from. Everything a stranger wrote reaches the page as textContent, never as HTML.

const data = JSON.parse(document.getElementById("map-data").textContent);

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

const encoders = data.encoders.map((encoder) => ({
  name: encoder.name,
  points: new Uint16Array(bytes(encoder.points).buffer),
  nearest: new Uint16Array(bytes(encoder.nearest).buffer),
  cosines: new Int8Array(bytes(encoder.cosines).buffer),
}));
const labels = data.labels.map((label) => ({ ...label, codes: bytes(label.codes) }));

function neighborsOf(encoder, i) {
  const from = i * data.k;
  return Array.from(encoder.nearest.subarray(from, from + data.k), (at, rank) => ({
    at,
    cosine: encoder.cosines[from + rank] / 100,
  }));
}

function find(text) {
  const wanted = text.trim().toLowerCase();
  const found = [];
  for (let i = 0; wanted && i < data.count; i++) {
    if (data.names[i].toLowerCase().includes(wanted) || data.keys[i].toLowerCase().includes(wanted)) found.push(i);
  }
  return found;
}

// A sheet is decoded when one of its thumbnails is first needed: all of them at once would take a phone's memory.
const sheets = data.sheets.map((source) => ({ source, image: null, loading: null }));
const perSheet = data.across * data.across;

function loadSheet(sheet) {
  sheet.loading ??= new Promise((resolve) => {
    const image = new Image();
    image.onload = () => resolve((sheet.image = image));
    image.src = sheet.source;
  });
  return sheet.loading;
}

// Draws an image's thumbnail, or starts to load it and calls `later` when it can be drawn.
function drawThumbnail(context, i, x, y, size, later) {
  const sheet = sheets[Math.floor(i / perSheet)];
  if (!sheet.image) {
    loadSheet(sheet).then(later);
    return false;
  }
  const place = i % perSheet;
  const left = (place % data.across) * data.side;
  const top = Math.floor(place / data.across) * data.side;
  context.drawImage(sheet.image, left, top, data.side, data.side, x, y, size, size);
  return true;
}

function thumbnail(i, size) {
  const canvas = document.createElement("canvas");
  const fine = Math.min(2, window.devicePixelRatio || 1);
  canvas.width = canvas.height = Math.round(size * fine);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", data.names[i]);
  const draw = () => {
    canvas.dataset.drawn = drawThumbnail(canvas.getContext("2d"), i, 0, 0, canvas.width, draw);
  };
  draw();
  return canvas;
}
