/** The keyboard: one letter each, wherever nothing is being typed. */

/** @param does {pause, search, clear, errors, move(step), help} */
export function listenToKeys(does) {
  const keys = new Map([
    ["/", does.search], ["p", does.pause], ["e", does.errors], ["?", does.help],
    ["j", () => does.move(1)], ["k", () => does.move(-1)],
  ]);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const hasDialog = document.querySelector("dialog[open]") !== null;
    const isTyping = event.target.matches("input:not([type=checkbox], [type=radio]), textarea, select");
    if (event.key === "Escape") {
      if (hasDialog) return; // it closes itself
      does.clear();
      if (isTyping) event.target.blur();
    } else if (!isTyping && !hasDialog && keys.has(event.key)) {
      event.preventDefault();
      keys.get(event.key)();
    }
  });
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the fragment holds what the viewer chose
    (document.getElementById("people-title") ?? document.getElementById("main")).focus();
  });
  const help = document.getElementById("help");
  help.querySelector("[data-close]").addEventListener("click", () => help.close());
  help.addEventListener("click", (event) => { if (event.target === help) help.close(); });
}
