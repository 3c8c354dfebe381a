// Runs first. So no light page flashes where a dark one was chosen; and where a script or the style
// does not come, perhaps because the network has just become another one, the page does not stay
// as it is: it is loaded again, first soon, then less and less often.
{
  const LOADS = "realtime-monitor-loads"; // in a row, that lacked something
  const SOON_MS = 5000;
  const LONGEST_MS = 60000;
  let chosen = null;
  let loads = 3; // where that cannot be kept
  let isWhole = true;
  try {
    chosen = localStorage.getItem("realtime-monitor-theme");
    loads = Number(sessionStorage.getItem(LOADS));
  } catch {
    // as if nothing had been kept
  }
  document.documentElement.dataset.theme = ["light", "dark"].includes(chosen) ? chosen : "auto";

  const keep = (count) => {
    try {
      sessionStorage.setItem(LOADS, count);
    } catch {
      // then not
    }
  };

  const loadLater = () => {
    const waitMs = Math.min(SOON_MS * 2 ** loads, LONGEST_MS);
    const again = () => location.reload();
    setTimeout(again, waitMs);
    const text = document.getElementById("connection-text");
    const at = new Date(Date.now() + waitMs).toTimeString().slice(0, 8);
    text.textContent = `Not live: a part of the page did not come, next try at ${at}`;
    document.body.dataset.state = text.parentElement.dataset.state = "cut";
    const now = document.getElementById("connection-now");
    if (now) Object.assign(now, { hidden: false, onclick: again });
  };

  addEventListener("error", ({ target }) => {
    if (isWhole && target.matches?.("head > script, head > [rel=stylesheet]")) {
      isWhole = false;
      keep(loads + 1);
      if (document.readyState === "loading") addEventListener("DOMContentLoaded", loadLater);
      else loadLater();
    }
  }, true);
  addEventListener("load", () => { if (isWhole) keep(0); });
}
