// Tables of class "sortable": sorting inside each body, and a filter. Without this script they are plain tables.
document.querySelectorAll(".sortable").forEach((part) => {
  const table = part.querySelector("table");
  const heads = [...table.tHead.rows[0].cells];
  const groups = [...table.tBodies].map((body) => {
    const rows = [...body.rows];
    return { body, head: rows[0]?.classList.contains("group") ? rows.shift() : null, rows };
  });

  const value = (row, column) => {
    const { dataset, textContent } = row.cells[column];
    return dataset.v === undefined ? textContent.trim() : dataset.v === "" ? NaN : Number(dataset.v);
  };
  const words = new Intl.Collator(document.documentElement.lang, { numeric: true }); // retrained 2 before retrained 10
  const compare = (a, b, sign) => {
    if (typeof a === "string" || typeof b === "string") return sign * words.compare(a, b);
    return Number.isNaN(a) - Number.isNaN(b) || sign * (a - b) || 0; // what is unknown comes last, in either direction
  };
  const sort = (column, way) => {
    const sign = way === "ascending" ? 1 : -1;
    for (const { body, rows } of groups) {
      const sorted = [...rows]; // the order of the page, which decides where values are equal
      if (way !== "none") sorted.sort((a, b) => compare(value(a, column), value(b, column), sign));
      body.append(...sorted);
    }
    heads.forEach((each, i) => each.setAttribute("aria-sort", i === column ? way : "none"));
  };
  const next = { none: "ascending", ascending: "descending", descending: "none" };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(column, next[head.getAttribute("aria-sort") || "none"]));
    head.append(button);
  });

  const [tools, box, said] = [".tools", "input", "output"].map((each) => part.querySelector(each));
  const all = groups.reduce((sum, { rows }) => sum + rows.length, 0);
  const filter = () => {
    const wanted = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { body, head, rows } of groups) {
      for (const row of rows) {
        const text = `${head?.textContent ?? ""} ${row.textContent}`.toLowerCase();
        row.hidden = !wanted.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      body.hidden = rows.every((row) => row.hidden);
    }
    said.textContent = said.dataset.said.replace("{}", shown).replace("{}", all);
  };
  box.addEventListener("input", filter);
  tools.hidden = false;
  filter();
});
