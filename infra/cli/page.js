"use strict";
(() => {
  document.documentElement.classList.add("js");
  const table = document.getElementById("containers");
  const filter = document.getElementById("filter");
  const only = document.getElementById("only");
  const count = document.getElementById("count");
  const bodies = [...table.tBodies];
  const heads = [...table.tHead.querySelectorAll("[aria-sort]")];
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const currency = count.dataset.currency;
  // Read when they are first searched: of thousands of containers that takes a moment.
  const texts = new Map();

  function textOf(body) {
    if (!texts.has(body)) {
      const said = [".notes", ".words"].map((name) => body.querySelector(name)?.textContent ?? "");
      texts.set(body, [body.dataset.name, ...said].join(" ").toLowerCase());
    }
    return texts.get(body);
  }

  function sort(head) {
    const { key, kind } = head.querySelector("button").dataset;
    const first = kind === "text" ? "ascending" : "descending";
    const second = kind === "text" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    heads.forEach((each) => each.setAttribute("aria-sort", each === head ? order : "none"));
    const sign = order === "ascending" ? 1 : -1;
    const by = kind === "text"
      ? (a, b) => compare(a.dataset[key], b.dataset[key])
      : (a, b) => a.dataset[key] - b.dataset[key];
    bodies.sort((a, b) => sign * by(a, b) || compare(a.dataset.name, b.dataset.name));
    table.append(...bodies);
  }

  function show() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    let saving = 0;
    for (const body of bodies) {
      const fits = (!only.checked || "proposed" in body.dataset)
        && words.every((word) => word.startsWith("namespace=") ? body.dataset.space.toLowerCase() === word.slice(10) : textOf(body).includes(word));
      body.hidden = !fits;
      if (fits) {
        shown += 1;
        saving += Number(body.dataset.saving);
      }
    }
    const all = shown === bodies.length;
    count.textContent = `${all ? shown : `${shown} of ${bodies.length}`} ${bodies.length === 1 ? "container" : "containers"}, saving ${money.format(saving)} ${currency} a month`;
    document.getElementById("nothing").hidden = shown > 0;
  }

  function toggle(body) {
    const open = body.querySelector(".why").classList.toggle("shown");
    body.querySelector(".reason button").setAttribute("aria-expanded", String(open));
  }

  bodies.forEach((body) => body.querySelector(".reason button").setAttribute("aria-expanded", "false"));
  heads.forEach((head) => head.querySelector("button").addEventListener("click", () => sort(head)));
  table.addEventListener("click", (event) => {
    const row = event.target.closest("tr.main");
    if (row && !String(getSelection())) toggle(row.parentElement);
  });
  document.querySelectorAll(".pick").forEach((pick) => pick.addEventListener("click", () => {
    const word = `namespace=${pick.dataset.pick}`;
    filter.value = filter.value === word ? "" : word;
    show();
  }));
  filter.addEventListener("input", show);
  only.addEventListener("change", show);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target !== filter) {
      event.preventDefault();
      filter.focus();
    }
  });
  show();
})();
