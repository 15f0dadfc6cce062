"use strict";

// The page of docs/explorer.md: controls for a method, and its mask on a canvas.
document.addEventListener("DOMContentLoaded", () => {
  const page = document.getElementById("explorer");
  if (!page) return;
  const { METHODS, keyOf } = dropjaxMasks;
  const LARGEST = { examples: 16, channels: 8, heads: 8 };
  const OTHERS = 32;

  const part = (tag, parent, attributes = {}) => {
    const made = Object.assign(document.createElement(tag), attributes);
    parent.append(made);
    return made;
  };
  const controls = part("form", page, { className: "explorer-controls" });
  controls.addEventListener("submit", (event) => event.preventDefault());
  const canvas = part("canvas", page, { className: "explorer-mask" });
  canvas.setAttribute("role", "img");
  const legend = part("p", page, { className: "explorer-summary", role: "status" });
  const program = part("code", part("pre", page, { tabIndex: 0 }));
  program.parentElement.setAttribute("aria-label", "The same mask in Python");

  /** A slider with its name and value; `set` clips as the browser does. */
  function slider(name, least, most, step, value, parent = controls) {
    const label = part("label", parent);
    part("span", label, { textContent: name });
    const settings = { type: "range", min: least, max: most, step, value };
    const input = part("input", label, { ...settings, name });
    const output = part("output", label, { textContent: input.value });
    const show = () => {
      output.textContent = input.value;
    };
    input.addEventListener("input", () => {
      show();
      draw();
    });
    return {
      value: () => Number(input.value),
      limit: (highest) => {
        input.max = highest;
        show();
      },
      set: (next) => {
        input.value = next;
        show();
      },
    };
  }

  const choice = part("label", controls);
  part("span", choice, { textContent: "method" });
  const method = part("select", choice, { name: "method" });
  for (const name of Object.keys(METHODS)) {
    part("option", method, { value: name, textContent: name });
  }
  const rate = slider("rate", 0, 1, 0.01, 0.3);
  const seed = slider("seed", 0, 999, 1, 0);
  const shapes = part("fieldset", controls);
  let sizes = [];
  let block = null;

  /** Replaces the sliders of the shape by those of the chosen method. */
  function choose(given = []) {
    const { axes, sizes: usual, blockSize, highest = 1 } = METHODS[method.value];
    shapes.replaceChildren();
    part("legend", shapes, { textContent: "shape" });
    sizes = axes.map((axis, place) =>
      slider(axis, 1, LARGEST[axis] || OTHERS, 1, given[place] || usual[place], shapes),
    );
    block = blockSize ? slider("block_size", 1, 9, 1, blockSize, shapes) : null;
    rate.limit(highest);
  }

  /** Where an element is drawn: the panel's row and column, and the place within it. */
  function placed(index, shape) {
    const place = [];
    for (let axis = shape.length - 1, rest = index; axis >= 0; axis--) {
      place[axis] = rest % shape[axis];
      rest = Math.floor(rest / shape[axis]);
    }
    if (shape.length === 2) return [0, 0, ...place];
    if (shape.length === 3) return [0, ...place];
    const [first, ...others] = place;
    const panel = METHODS[method.value].axes.findIndex((it) => /channels|heads/.test(it)) - 1;
    const [across] = others.splice(panel, 1);
    return [first, across, ...others];
  }

  function paint(mask, maskShape, shape) {
    const style = getComputedStyle(page);
    const kept = style.getPropertyValue("--explorer-kept");
    const dropped = style.getPropertyValue("--explorer-dropped");
    const last = placed(shape.reduce((a, b) => a * b, 1) - 1, shape);
    const [panels, across, rows, columns] = last.map((it) => it + 1);
    const width = Math.max(page.clientWidth, 200);
    const gap = 8;
    const fits = (width - gap * (across - 1)) / (across * columns);
    const cell = Math.max(2, Math.min(22, Math.floor(fits)));
    const line = cell > 4 ? 1 : 0;
    const sharp = window.devicePixelRatio || 1;
    const size = [
      across * columns * cell + gap * (across - 1),
      panels * rows * cell + gap * (panels - 1),
    ];
    [canvas.width, canvas.height] = size.map((it) => Math.round(it * sharp));
    canvas.style.aspectRatio = `${size[0]} / ${size[1]}`;
    canvas.style.width = `${size[0]}px`;
    const context = canvas.getContext("2d");
    context.scale(sharp, sharp);
    eachElement(shape, maskShape, (index, entry) => {
      const [down, right, row, column] = placed(index, shape);
      const left = right * (columns * cell + gap) + column * cell;
      const top = down * (rows * cell + gap) + row * cell;
      context.fillStyle = mask[entry] ? kept : dropped;
      context.fillRect(left, top, cell - line, cell - line);
    });
  }

  /** Calls with each element's index and that of the mask entry it has. */
  function eachElement(shape, maskShape, call) {
    const total = shape.reduce((a, b) => a * b, 1);
    for (let index = 0; index < total; index++) {
      let [rest, entry, stride] = [index, 0, 1];
      for (let axis = shape.length - 1; axis >= 0; axis--) {
        if (maskShape[axis] > 1) entry += (rest % shape[axis]) * stride;
        rest = Math.floor(rest / shape[axis]);
        stride *= maskShape[axis];
      }
      call(index, entry);
    }
  }

  function draw() {
    const name = method.value;
    const chosen = METHODS[name];
    const shape = sizes.map((it) => it.value());
    const maskShape = chosen.maskShape(shape);
    const blockSize = block ? block.value() : 0;
    const mask = chosen.draw(keyOf(seed.value()), shape, rate.value(), blockSize);
    const lost = mask.filter((it) => !it).length;
    const share = ((100 * lost) / mask.length).toFixed(1);
    paint(mask, maskShape, shape);
    legend.textContent =
      `${mask.length} mask entries of shape (${maskShape.join(", ")}); ` +
      `${lost} of them, ${share}%, are dropped.`;
    canvas.setAttribute("aria-label", `Mask of ${name}: ${legend.textContent}`);
    program.textContent = written(name, shape, blockSize);
    remember(name, shape, blockSize);
    // For tests, and for whoever wants to copy it.
    page.dataset.mask = mask.map(Number).join("");
    page.dataset.maskShape = maskShape.join(",");
  }

  function written(name, shape, blockSize) {
    const first = name === "dropconnect" ? "jnp.ones(shape)" : "shape";
    const option = blockSize ? `, block_size=${blockSize}` : "";
    return [
      ...(name === "dropconnect" ? ["import jax.numpy as jnp"] : []),
      "import jax",
      "import dropjax as dj",
      "",
      `key = jax.random.key(${seed.value()}, impl=dj.fast_prng)`,
      `shape = (${shape.join(", ")})  # ${METHODS[name].axes.join(", ")}`,
      `mask = dj.${name}_mask(key, ${first}, ${rate.value()}${option})`,
    ].join("\n");
  }

  /** Keeps the settings in the address, which can be sent to others. */
  function remember(name, shape, blockSize) {
    const settings = { method: name, rate: rate.value(), seed: seed.value(), shape };
    if (blockSize) settings.block_size = blockSize;
    const query = new URLSearchParams(settings);
    window.history.replaceState(null, "", `?${query}${window.location.hash}`);
  }

  function recall() {
    const query = new URLSearchParams(window.location.search);
    if (query.get("method") in METHODS) method.value = query.get("method");
    choose((query.get("shape") || "").split(",").map(Number));
    if (query.has("rate")) rate.set(query.get("rate"));
    if (query.has("seed")) seed.set(query.get("seed"));
    if (block && query.has("block_size")) block.set(query.get("block_size"));
  }

  method.addEventListener("change", () => {
    choose();
    draw();
  });
  window.addEventListener("resize", draw);
  // The theme's switch between light and dark.
  const theme = { attributes: true, attributeFilter: ["data-theme", "data-mode"] };
  new MutationObserver(draw).observe(document.documentElement, theme);
  recall();
  draw();
});
