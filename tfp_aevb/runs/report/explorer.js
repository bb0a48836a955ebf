"use strict";
// Decodes latents in the page, with the weights of the run's decoder.
(function () {
  const record = JSON.parse(document.getElementById("explorer-data").textContent);
  const root = document.getElementById("explorer");
  const COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb",
                   "#882255", "#44aa99", "#ddaa33"];
  const LOW = record.low, HIGH = record.high;

  function bytes(text) {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  }

  // Half-precision floats, which not all browsers know.
  function halves(text) {
    const bits = new Uint16Array(bytes(text));
    return Float32Array.from(bits, (b) => {
      const sign = b & 0x8000 ? -1 : 1, exponent = (b >> 10) & 31, fraction = b & 1023;
      if (exponent === 0) return sign * fraction * 2 ** -24;
      if (exponent === 31) return fraction ? NaN : sign * Infinity;
      return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
    });
  }

  const layers = record.layers.map((layer) => ({
    kernel: halves(layer.kernel), bias: halves(layer.bias), inputs: layer.inputs,
  }));
  const ACTIVATIONS = {
    tanh: Math.tanh,
    relu: (v) => Math.max(v, 0),
    elu: (v) => (v > 0 ? v : Math.expm1(v)),
    softplus: (v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v))),
  };
  const sigmoid = (v) => 1 / (1 + Math.exp(-v));
  const MEANS = {
    linear: (v) => v,
    sigmoid: sigmoid,
    // E[x] = p / (2 p - 1) + 1 / (2 artanh(1 - 2 p)), with logits v kept within 30.
    continuous_bernoulli: (v) => {
      v = Math.min(Math.max(v, -30), 30);
      if (Math.abs(v) < 0.02) return 0.5 + v / 12;
      const p = sigmoid(v);
      return p / (2 * p - 1) - 1 / v;
    },
  };

  // The mean of p(x|z), one number for each pixel.
  function decode(z) {
    let hidden = Float32Array.from(z);
    layers.forEach((layer, i) => {
      const out = Float32Array.from(layer.bias), width = out.length;
      for (let j = 0; j < layer.inputs; j++) {
        const value = hidden[j], row = j * width;
        for (let k = 0; k < width; k++) out[k] += value * layer.kernel[row + k];
      }
      hidden = i < layers.length - 1 ? out.map(ACTIVATIONS[record.activation]) : out;
    });
    return hidden.map(MEANS[record.mean]);
  }

  function element(tag, className, parent) {
    const made = document.createElement(tag);
    made.className = className;
    parent.appendChild(made);
    return made;
  }

  const z = Float32Array.from(record.start);
  const [height, width, channels] = record.image_shape;
  let moved = function () {};

  const plane = record.latent_dim === 2 ? element("canvas", "plane", root) : null;
  const picture = element("canvas", "image", root);
  picture.width = width;
  picture.height = height;
  const context = picture.getContext("2d");

  function show() {
    const pixels = decode(z), image = context.createImageData(width, height);
    for (let i = 0; i < width * height; i++) {
      for (let c = 0; c < 3; c++) {
        const value = pixels[channels === 3 ? 3 * i + c : i];
        image.data[4 * i + c] = 255 * Math.min(Math.max(value, 0), 1);
      }
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    moved();
  }

  if (plane) {
    plane.width = plane.height = 440;
    const brush = plane.getContext("2d");
    const across = (v) => ((v - LOW[0]) / (HIGH[0] - LOW[0])) * plane.width;
    const down = (v) => ((HIGH[1] - v) / (HIGH[1] - LOW[1])) * plane.height;
    moved = function () {
      brush.fillStyle = "#fff";
      brush.fillRect(0, 0, plane.width, plane.height);
      record.codes.forEach((code, i) => {
        const label = record.labels ? record.labels[i] : 0;
        brush.fillStyle = COLOURS[label % COLOURS.length];
        brush.fillRect(across(code[0]) - 1.5, down(code[1]) - 1.5, 3, 3);
      });
      brush.strokeStyle = "#000";
      brush.lineWidth = 2;
      brush.beginPath();
      brush.arc(across(z[0]), down(z[1]), 7, 0, 2 * Math.PI);
      brush.stroke();
    };
    plane.addEventListener("pointermove", (event) => {
      const box = plane.getBoundingClientRect();
      z[0] = LOW[0] + ((event.clientX - box.left) / box.width) * (HIGH[0] - LOW[0]);
      z[1] = HIGH[1] - ((event.clientY - box.top) / box.height) * (HIGH[1] - LOW[1]);
      show();
    });
  } else {
    const sliders = element("div", "sliders", root);
    const inputs = record.shown.map((j) => {
      const line = element("label", "", sliders);
      element("span", "", line).textContent = "z" + (j + 1);
      const input = element("input", "", line);
      Object.assign(input, {
        type: "range", min: LOW[j], max: HIGH[j], step: (HIGH[j] - LOW[j]) / 120,
      });
      const value = element("span", "", line);
      input.addEventListener("input", () => { z[j] = Number(input.value); show(); });
      return { j, input, value };
    });
    moved = function () {
      inputs.forEach(({ j, input, value }) => {
        input.value = z[j];
        value.textContent = z[j].toFixed(2);
      });
    };
  }

  const buttons = element("div", "buttons", root);
  function button(text, latents) {
    let next = 0;
    const made = element("button", "", buttons);
    made.textContent = text;
    made.addEventListener("click", () => {
      z.set(latents[next++ % latents.length]);
      show();
    });
  }
  button("draw from the prior", record.prior_draws);
  button("next test image", record.codes);
  button("back to the start", [record.start]);
  show();
})();
