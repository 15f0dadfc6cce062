"use strict";

// The masks of dropjax for keys of its fast generator, bit for bit. The definitions are
// those of docs/streams.md; tests/test_explorer.py compares with the package.
const dropjaxMasks = (() => {
  const LEVELS = 2 ** 23;
  const GOLDEN = 0x9e3779b9;
  const ROUNDS = [
    [17, 0xed5ad4bb],
    [11, 0xac4c1b51],
    [15, 0x31848bab],
  ];
  const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24];

  const product = (sizes) => sizes.reduce((a, b) => a * b, 1);

  /** The block of the counter (0, low) under a key of two words, by Threefry-2x32. */
  function threefry([k0, k1], low) {
    const keys = [k0, k1, k0 ^ k1 ^ 0x1bd11bda];
    let a = keys[0];
    let b = (low + keys[1]) | 0;
    for (let step = 0; step < 20; step++) {
      const turn = ROTATIONS[step % 8];
      a = (a + b) | 0;
      b = ((b << turn) | (b >>> (32 - turn))) ^ a;
      if (step % 4 === 3) {
        const part = (step + 1) / 4;
        a = (a + keys[part % 3]) | 0;
        b = (b + keys[(part + 1) % 3] + part) | 0;
      }
    }
    return [a >>> 0, b >>> 0];
  }

  /** `jax.random.key(seed, impl=dropjax.fast_prng)`, for seeds below 2^32. */
  function keyOf(seed) {
    return [...threefry([0, seed], 0), ...threefry([0, seed], 1)];
  }

  /** The random word of an element, whose 64-bit index is given as two words. */
  function word(key, high, low) {
    const keys = [key[0] ^ GOLDEN, key[1] ^ Math.imul(high, GOLDEN), key[2]];
    let mixed = low;
    ROUNDS.forEach(([shift, factor], round) => {
      mixed ^= keys[round];
      mixed = Math.imul(mixed ^ (mixed >>> shift), factor);
    });
    return (mixed ^ (mixed >>> 14) ^ low) >>> 0;
  }

  function words(key, shape) {
    return Array.from({ length: product(shape) }, (_, index) => word(key, 0, index));
  }

  /** An entry is kept if the highest 23 bits of its word are less than this. */
  function threshold(rate) {
    return Math.ceil(Math.fround(1 - rate) * LEVELS);
  }

  const below = (key, shape, level) => words(key, shape).map((it) => it >>> 9 < level);

  const keepMask = (key, shape, rate) => below(key, shape, threshold(rate));

  /** How many of n a subset keeps: Python's round, and at least one below a rate of 1. */
  function keptCount(n, rate) {
    const exact = n * (1 - rate);
    const down = Math.floor(exact);
    const even = down + (down % 2);
    const nearest = exact - down === 0.5 ? even : Math.round(exact);
    return Math.max(nearest, rate < 1 && n > 0 ? 1 : 0);
  }

  /** True for the smallest words of each row; of equal ones the first. */
  function subsetMask(key, rows, size, rate) {
    const drawn = words(key, [rows, size]);
    const mask = new Array(rows * size).fill(false);
    for (let row = 0; row < rows; row++) {
      const places = Array.from({ length: size }, (_, place) => row * size + place);
      places.sort((a, b) => drawn[a] - drawn[b] || a - b);
      for (const place of places.slice(0, keptCount(size, rate))) mask[place] = true;
    }
    return mask;
  }

  /** How many blocks cover a position, with the share of the positions of each number. */
  function covers(sizes, sides) {
    let found = [[1, 1]];
    sizes.forEach((size, axis) => {
      const times = new Map();
      for (let position = 0; position < size; position++) {
        const first = Math.max(position - sides[axis] + 1, 0);
        const along = Math.min(position, size - sides[axis]) - first + 1;
        times.set(along, (times.get(along) || 0) + 1);
      }
      const own = [...times].sort((a, b) => a[0] - b[0]);
      found = found.flatMap(([blocks, share]) =>
        own.map(([along, count]) => [blocks * along, share * (count / size)]),
      );
    });
    const shares = new Map();
    for (const [blocks, share] of found) {
      shares.set(blocks, (shares.get(blocks) || 0) + share);
    }
    return [...shares].sort((a, b) => a[0] - b[0]);
  }

  /** The 2^23-fold of the probability that no block starts at a place. */
  function seedless(rate, sizes, sides) {
    const high = (a, b) => (a * b) >> 32n;
    const known = covers(sizes, sides);
    const wanted = BigInt(Math.floor(Math.fround(1 - rate) * 2 ** 31));
    const shareKept = (level) => {
      let sum = 0n;
      for (const [blocks, share] of known) {
        let kept = BigInt(Math.floor(share * 2 ** 31));
        let power = BigInt(level * 2 ** 9);
        for (let rest = blocks; rest > 0; rest = Math.floor(rest / 2)) {
          if (rest % 2) kept = high(kept, power);
          power = high(power, power);
        }
        sum += kept;
      }
      return sum;
    };
    let least = 0;
    for (let unit = 2 ** 23; unit >= 1; unit /= 2) {
      const trial = least + unit;
      if (trial <= LEVELS && shareKept(trial - 1) < wanted) least = trial;
    }
    return least;
  }

  /** The mask of drop block for (examples, height, width, channels). */
  function blockMask(key, shape, rate, blockSize) {
    const [examples, height, width, channels] = shape;
    const sides = [Math.min(blockSize, height), Math.min(blockSize, width)];
    const places = [height - sides[0] + 1, width - sides[1] + 1];
    const level = seedless(rate, [height, width], sides);
    const none = below(key, [examples, ...places, channels], level);
    const mask = new Array(product(shape)).fill(true);
    none.forEach((kept, index) => {
      if (kept) return;
      const channel = index % channels;
      const place = Math.floor(index / channels);
      const column = place % places[1];
      const row = Math.floor(place / places[1]) % places[0];
      const example = Math.floor(place / places[1] / places[0]);
      for (let i = row; i < row + sides[0]; i++) {
        for (let j = column; j < column + sides[1]; j++) {
          mask[((example * height + i) * width + j) * channels + channel] = false;
        }
      }
    });
    return mask;
  }

  const shared = (axes) => (shape) => shape.map((n, axis) => (axes.includes(axis) ? 1 : n));
  const sharing = (axes) => {
    const maskShape = shared(axes);
    const draw = (key, shape, rate) => keepMask(key, maskShape(shape), rate);
    return { maskShape, draw };
  };
  const subsets = (axes, rows, size) => ({
    maskShape: shared(axes),
    draw: (key, shape, rate) => subsetMask(key, rows(shape), size(shape), rate),
  });
  const SEQUENCE = { axes: ["examples", "tokens", "features"], sizes: [3, 8, 12] };
  const MAPS = { axes: ["examples", "height", "width", "channels"], sizes: [3, 12, 12, 5] };

  /** The methods by the name of their function. */
  const METHODS = {
    dropout: { ...SEQUENCE, ...sharing([]) },
    spatial_dropout: { ...MAPS, ...sharing([1, 2]) },
    drop_block: {
      ...MAPS,
      maskShape: (shape) => shape,
      draw: (key, shape, rate, blockSize) =>
        rate === 0 || rate === 1
          ? new Array(product(shape)).fill(rate === 0)
          : blockMask(key, shape, rate, blockSize),
      blockSize: 4,
    },
    variational_dropout: { ...SEQUENCE, ...sharing([1]) },
    word_dropout: { axes: ["examples", "tokens"], sizes: [8, 16], ...sharing([]) },
    embedding_dropout: { axes: ["words", "features"], sizes: [12, 16], ...sharing([1]) },
    drop_path: { ...SEQUENCE, sizes: [8, 4, 6], ...sharing([1, 2]) },
    drop_head: {
      axes: ["examples", "tokens", "heads", "features"],
      sizes: [3, 6, 5, 6],
      ...sharing([1, 3]),
    },
    attention_dropout: {
      axes: ["examples", "heads", "queries", "keys"],
      sizes: [2, 4, 10, 10],
      ...sharing([]),
    },
    dropconnect: { axes: ["inputs", "outputs"], sizes: [12, 20], ...sharing([]) },
    random_masking: {
      ...SEQUENCE,
      sizes: [4, 12, 6],
      ...subsets([2], (shape) => shape[0], (shape) => shape[1]),
    },
    subset_branch: {
      ...SEQUENCE,
      sizes: [8, 4, 6],
      highest: 0.99,
      ...subsets([1, 2], () => 1, (shape) => shape[0]),
    },
  };

  return { METHODS, keyOf, word, keepMask, threshold };
})();

if (typeof module !== "undefined") module.exports = dropjaxMasks;
