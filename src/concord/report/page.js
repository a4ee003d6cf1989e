// Sorting tables and copying commands. Everything can be read without it, so the controls are made here.
"use strict";

const compare = (a, b, down) => {
  const [x, y] = [a.key, b.key];
  if (x === null || y === null) return (x === null) - (y === null) || a.at - b.at; // nothing goes last, either way
  const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en");
  return (down ? -order : order) || a.at - b.at;
};

const keyOf = (cell) => {
  if (cell.dataset.v !== undefined) {
    const value = { inf: Infinity, "-inf": -Infinity, nan: NaN }[cell.dataset.v] ?? Number(cell.dataset.v);
    return Number.isNaN(value) ? null : value;
  }
  const text = cell.querySelector("bdi")?.textContent.trim() ?? "";
  return text === "" ? null : text;
};

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row, at) => ({ row, at }));
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      // Numbers begin with the largest; a third click brings the first order back.
      const first = head.classList.contains("num") ? "descending" : "ascending";
      const second = first === "descending" ? "ascending" : "descending";
      const now = head.getAttribute("aria-sort");
      const next = now === first ? second : now === second ? null : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      const keyed = rows.map(({ row, at }) => ({ row, at, key: next ? keyOf(row.cells[column]) : 0 }));
      keyed.sort((a, b) => compare(a, b, next === "descending"));
      body.append(...keyed.map(({ row }) => row));
    });
  });
}

for (const command of document.querySelectorAll(".command")) {
  const code = command.querySelector("code");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-live", "polite");
  command.append(button);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}

// On paper nothing can be unfolded.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
});
