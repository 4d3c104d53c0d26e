(() => {
  const form = document.getElementById("filters");
  const rows = [...document.querySelectorAll(".verdicts > li[data-kind]")];
  const names = ["model", "backend", "kind"];

  const apply = () => {
    for (const row of rows) {
      row.hidden = names.some((name) => form[name].value && form[name].value !== row.dataset[name]);
    }
    const shown = rows.filter((row) => !row.hidden).length;
    form.elements.shown.value = `${shown} of ${rows.length}`;
  };

  for (const link of document.querySelectorAll(".matrix a")) {
    link.addEventListener("click", () => {
      for (const name of names) form[name].value = link.dataset[name];
      apply();
    });
  }
  form.addEventListener("change", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.hidden = rows.length === 0;
  apply();
})();
