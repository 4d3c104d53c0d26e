// The button that copies the text of the upstream issue.
"use strict";
(() => {
  const box = document.getElementById("copy");
  const source = document.getElementById("issue-text");
  const status = box.querySelector("[role=status]");

  // Without permission, and in pages that some browsers open as files, only a selection can be copied.
  const copySelection = () => {
    source.closest("details").open = true;
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  };

  const copy = async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      status.textContent = "Copied.";
    } catch {
      status.textContent = copySelection() ? "Copied." : "Not copied: the text is selected, copy it with the keyboard.";
    }
  };

  box.querySelector("button").addEventListener("click", copy);
  box.hidden = false;
})();
