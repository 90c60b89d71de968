// Tables that sort and filter. Without this script, they are plain tables.
(() => {
"use strict";

const ROWS_TO_FILTER = 10;

// A number at the start of a text: 1,040, -0.5, "98 % (90 % to 100 %)".
const NUMBER = /^[-+]?(\d[\d,]*(\.\d+)?|\.\d+)(e[-+]?\d+)?(?=$|[\s%])/i;
const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Return the number of a text, or null. */
function numberOf(text) {
  const found = NUMBER.exec(text);
  return found ? Number(found[0].replace(/,/g, "")) : null;
}

/** Return a function that compares texts of a column: as numbers where most of them are. */
function comparison(texts) {
  const filled = texts.filter((text) => text !== "");
  const numeric = filled.filter((text) => numberOf(text) !== null).length * 2 > filled.length;
  return (a, b) => {
    const [x, y] = numeric ? [numberOf(a), numberOf(b)] : [null, null];
    return x !== null && y !== null ? x - y : x !== null ? -1 : y !== null ? 1 : words.compare(a, b);
  };
}

function sortBy(table, column, header) {
  const descending = header.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => [row.cells[column].textContent.trim(), row]);
  const compare = comparison(rows.map((row) => row[0]));
  // Empty cells stay last in both orders.
  const empty = (row) => Number(row[0] === "");
  rows.sort((a, b) => empty(a) - empty(b) || (descending ? -1 : 1) * compare(a[0], b[0]));
  body.append(...rows.map((row) => row[1]));
}

function addSorting(table) {
  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sortBy(table, column, header));
    header.append(button);
  });
}

function addFilter(region, table) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  const count = document.createElement("span");
  label.className = "filter";
  input.type = "search";
  count.setAttribute("role", "status");
  label.append("Filter rows ", input);
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    count.textContent = wanted ? ` ${shown} of ${table.tBodies[0].rows.length} rows` : "";
  });
  label.append(count);
  region.before(label);
}

for (const region of document.querySelectorAll(".table")) {
  const table = region.querySelector("table");
  const n = table.tBodies[0].rows.length;
  if (n > 1) addSorting(table);
  if (n > ROWS_TO_FILTER) addFilter(region, table);
}

// What a link leads to is shown, even inside a closed part of the page.
function open() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target) target.closest("details")?.setAttribute("open", "");
}
window.addEventListener("hashchange", open);
open();

// Everything is printed, also what is closed on the screen.
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details:not([open])")) {
    part.dataset.closed = "";
    part.open = true;
  }
});
window.addEventListener("afterprint", () => {
  for (const part of document.querySelectorAll("details[data-closed]")) {
    part.open = false;
    delete part.dataset.closed;
  }
});
})();
