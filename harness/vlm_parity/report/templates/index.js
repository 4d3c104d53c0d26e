// The verdicts of the index: filters, search, order, groups and pages. The state is the fragment of the address,
// so a link reproduces it and the back button works. Texts of the table are untrusted: only textContent takes them.
"use strict";
(() => {
  const table = globalThis.verdictTable;
  const form = document.getElementById("filters");
  const rows = document.getElementById("rows");
  if (!table || !form) return; // the rows of the page stay

  const PAGE_ROWS = 100;
  const NUMERIC = ["limit_ratio", "kl"];
  const SEARCHED = ["case", "model", "label", "entry_point", "kind", "stage", "cause", "reason"];
  const selects = [...form.querySelectorAll("select")];
  const headings = [...rows.querySelectorAll("th[data-sort]")];
  const pager = document.getElementById("pager");
  const section = document.getElementById("verdicts");
  const keys = document.getElementById("keys");
  const columns = Object.fromEntries(
    Object.entries(table.columns).map(([name, column]) => [
      name,
      column.values ? column.rows.map((index) => column.values[index]) : column.rows,
    ]),
  );
  const count = columns.kind.length;

  // State: the fields of the fragment, all texts.

  const readState = () => Object.fromEntries(new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : ""));

  const formatLink = (state) => {
    const fields = Object.entries(state).filter(([, value]) => value);
    return `#${new URLSearchParams(fields)}`;
  };

  const changeState = (changes, { replace = false } = {}) => {
    const link = formatLink({ ...readState(), page: "", ...changes });
    if (link === location.hash) return;
    history[replace ? "replaceState" : "pushState"](null, "", link);
    show();
  };

  // Selection: indices of rows.

  const haystacks = [];
  const getHaystack = (row) => (haystacks[row] ??= SEARCHED.map((name) => columns[name][row]).join("\n").toLowerCase());

  const selectRows = (state) => {
    const wanted = selects.map((select) => select.name).filter((name) => state[name]);
    const words = (state.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    return [...Array(count).keys()].filter(
      (row) =>
        wanted.every((name) => columns[name][row] === state[name]) &&
        words.every((word) => getHaystack(row).includes(word)),
    );
  };

  const compareValues = (left, right) =>
    typeof left === "number" && typeof right === "number" ? left - right : String(left).localeCompare(String(right));
  const isMissing = (value) => value === null || value === "";
  const toComparable = (value) => ({ inf: Infinity, "-inf": -Infinity })[value] ?? value;

  const sortRows = (found, key) => {
    const descends = key.startsWith("-");
    const values = columns[key.replace("-", "")];
    if (!values) return found;
    const order = table.columns[key.replace("-", "")].values ? (value) => value : toComparable;
    return found.sort((left, right) => {
      const missing = isMissing(values[left]) - isMissing(values[right]);
      const sign = descends ? -1 : 1;
      return missing || sign * compareValues(order(values[left]), order(values[right])) || left - right;
    });
  };

  // The groups with the most rows first; rows keep their order within a group.
  const groupRows = (found) => {
    const groups = Map.groupBy(found, (row) => columns.cause[row]);
    return [...groups].sort(([, left], [, right]) => right.length - left.length);
  };

  // Elements.

  const make = (tag, className = "", text = "", ...children) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.textContent = text;
    element.append(...children);
    return element;
  };
  const makeHidden = (text) => {
    const element = make("span", "", text);
    element.setAttribute("aria-hidden", "true");
    return element;
  };

  const makeKind = (kind) => {
    const [style, symbol] = table.kinds[kind];
    return make("span", `kind ${style}`, "", makeHidden(symbol), ` ${kind}`);
  };

  const makeLights = (row) => {
    const list = make("ul", "lights");
    list.setAttribute("aria-label", "stages");
    [...columns.lights[row]].forEach((code, index) => {
      const [stage, symbol] = table.stages[index];
      const light = table.lights[code.charCodeAt(0) - "a".charCodeAt(0)];
      const text = `${stage}: ${light.label}`;
      const first = stage === columns.stage[row] ? " first" : "";
      const item = make("li", light.style + first, "", makeHidden(symbol), make("span", "sr", text));
      item.title = text;
      list.append(item);
    });
    return list;
  };

  const makeCase = (row) => {
    const link = make("a", "case", columns.case[row]);
    link.href = columns.page[row];
    const cell = make("th", "", "", link);
    cell.scope = "row";
    return cell;
  };

  const formatNumber = (value) => (typeof value === "number" ? String(Number(value.toPrecision(3))) : value ?? "");

  const makeRow = (row) => {
    const cause = columns.cause[row];
    const why = make("td", "why", "", make("b", "cause", cause), " ", make("span", "reason", columns.reason[row]));
    const greedy = columns.greedy[row];
    return make(
      "tr",
      "",
      "",
      make("td", "", "", makeKind(columns.kind[row])),
      makeCase(row),
      make("td", "", columns.model[row]),
      make("td", "", columns.label[row]),
      ...(columns.change ? [make("td", "", columns.change[row])] : []),
      make("td", "", "", makeLights(row)),
      make("td", "number limit", formatNumber(columns.limit_ratio[row])),
      make("td", "number kl", formatNumber(columns.kl[row])),
      make("td", greedy === "changed" ? "greedy changed" : "greedy", greedy),
      why,
    );
  };

  const makeGroupHeading = (cause, size) => {
    const cell = make("th", "", cause || "without a cause", make("span", "muted", ` ${size}`));
    cell.colSpan = headings.length;
    cell.scope = "rowgroup";
    return make("tr", "group", "", cell);
  };

  // Pages of rows.

  const drawRows = (found, state, first) => {
    const groups = state.group === "cause" ? groupRows(found) : [["", found]];
    let start = 0;
    for (const body of [...rows.tBodies]) body.remove();
    for (const [cause, group] of groups) {
      const shown = group.slice(Math.max(first - start, 0), Math.max(first + PAGE_ROWS - start, 0));
      start += group.length;
      if (!shown.length) continue;
      const body = make("tbody");
      if (state.group === "cause") body.append(makeGroupHeading(cause, group.length));
      body.append(...shown.map(makeRow));
      rows.append(body);
    }
  };

  const drawPager = (found, state, page, pages) => {
    const [previous, next] = pager.querySelectorAll("a");
    pager.hidden = pages < 2;
    pager.querySelector("span").textContent = `page ${page} of ${pages}`;
    previous.href = formatLink({ ...state, page: page > 2 ? page - 1 : "" });
    next.href = formatLink({ ...state, page: page + 1 });
    previous.hidden = page === 1;
    next.hidden = page === pages;
  };

  const drawForm = (state, found) => {
    for (const select of selects) {
      select.value = state[select.name] ?? "";
      if (state[select.name] && !select.value) select.add(new Option(state[select.name], state[select.name], false, true));
    }
    const search = form.elements.q;
    if (search.value !== (state.q ?? "")) search.value = state.q ?? "";
    form.elements.group.checked = state.group === "cause";
    form.elements.shown.value = `${found.length.toLocaleString("en")} of ${count.toLocaleString("en")}`;
    for (const heading of headings) {
      const name = heading.dataset.sort;
      const order = { [name]: "ascending", [`-${name}`]: "descending" }[state.sort];
      if (order) heading.ariaSort = order;
      else heading.removeAttribute("aria-sort");
    }
  };

  const show = () => {
    const state = readState();
    const found = sortRows(selectRows(state), state.sort ?? "");
    const pages = Math.max(Math.ceil(found.length / PAGE_ROWS), 1);
    const page = Math.min(Math.max(Number.parseInt(state.page ?? "1", 10) || 1, 1), pages);
    drawForm(state, found);
    drawRows(found, state, (page - 1) * PAGE_ROWS);
    drawPager(found, state, page, pages);
  };

  const showLinked = () => {
    show();
    if (Object.keys(readState()).length) section.scrollIntoView();
  };

  // Input.

  const clear = () => changeState(Object.fromEntries(Object.keys(readState()).map((name) => [name, ""])));

  const makeSortButton = (heading) => {
    const name = heading.dataset.sort;
    const [first, second] = NUMERIC.includes(name) ? [`-${name}`, name] : [name, `-${name}`];
    const button = make("button", "", heading.textContent);
    button.type = "button";
    button.addEventListener("click", () => {
      const next = { [first]: second, [second]: "" };
      changeState({ sort: next[readState().sort] ?? first });
    });
    heading.replaceChildren(button);
  };

  const moveFocus = (step) => {
    const links = [...rows.querySelectorAll("a.case")];
    const current = links.indexOf(document.activeElement);
    links[Math.min(Math.max(current + step, 0), links.length - 1)]?.focus();
  };

  const handleKey = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { activeElement: active } = document;
    const search = form.elements.q;
    const inRows = active === search || rows.contains(active);
    if (event.key === "/" && keys.querySelector("input").checked && !/^(INPUT|SELECT)$/.test(active.tagName)) search.focus();
    else if (event.key === "Escape" && (inRows || form.contains(active))) clear();
    else if (event.key === "ArrowDown" && inRows) moveFocus(1);
    else if (event.key === "ArrowUp" && inRows && active !== search) moveFocus(-1);
    else return;
    event.preventDefault();
  };

  const fillSelect = (select) => {
    const { values } = table.columns[select.name];
    const named = values.filter(Boolean).sort(compareValues);
    select.append(...named.map((value) => new Option(value, value)));
    select.parentElement.hidden = values.length < 2;
  };

  selects.forEach(fillSelect);
  headings.forEach(makeSortButton);
  for (const select of selects) select.addEventListener("change", () => changeState({ [select.name]: select.value }));
  form.elements.group.addEventListener("change", (event) => changeState({ group: event.target.checked ? "cause" : "" }));
  form.elements.q.addEventListener("input", (event) => changeState({ q: event.target.value }, { replace: true }));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    clear();
  });
  document.addEventListener("keydown", handleKey);
  addEventListener("popstate", showLinked);
  form.hidden = keys.hidden = false;
  document.getElementById("excerpt").hidden = true;
  showLinked();
})();
