/** Ending a session: asked twice, far from other buttons, and only said when it is done. */

import { clockTime, person } from "./format.js";
import { write } from "./dom.js";
import { isMine } from "./matching.js";

const SAID = new Map([
  [403, "The server refused. Load the page again, then once more."],
  [404, "It had ended already, or you may not end sessions any more."],
  [409, "It is being ended already."],
  [500, "The app could not end it; its log says why. The session goes on."],
  [503, "The server cannot check this now. The session goes on."],
]);

export class Ending {
  /**
   * @param element where it is offered.
   * @param onEnded called when a session has been ended.
   */
  constructor(element, page, onEnded) {
    this._element = element;
    this._page = page;
    this._onEnded = onEnded;
    this._session = null;
    this._find = (name) => element.querySelector(`[data-${name}]`);
    this._find("end").addEventListener("click", () => this._ask());
    this._find("cancel").addEventListener("click", () => this._rest(true));
    this._find("confirm").addEventListener("click", () => this._end());
  }

  /** Offer to end a session, where the viewer may. */
  offer(session) {
    const isOther = session.id !== this._session?.id;
    this._session = session;
    this._element.hidden = this._page.role !== "act" || !this._page.token;
    if (isOther) this._rest(false);
  }

  hide() {
    this._element.hidden = true;
    this._session = null;
  }

  _rest(hasFocus) {
    this._show(false);
    write(this._find("ending-said"), "");
    write(this._find("ending-text"), "Signs this session out by the app's own means, and takes it off this page.");
    if (hasFocus) this._find("end").focus();
  }

  _ask() {
    const { user, id } = this._session;
    const own = isMine(user, this._page.me) ? " This is you: you may lose this page." : "";
    write(this._find("ending-text"), `End the session of ${person(user, id)}?${own}`);
    write(this._find("ending-said"), "");
    this._show(true);
    this._find("cancel").focus();
  }

  _show(isAsking) {
    this._find("end").hidden = isAsking;
    this._find("cancel").hidden = !isAsking;
    this._find("confirm").hidden = !isAsking;
  }

  async _end() {
    const session = this._session;
    const said = this._find("ending-said");
    this._find("confirm").disabled = true;
    write(said, "Ending it");
    const answer = await this._page.ask(`sessions/${session.id}/end`, null, {
      method: "POST", headers: { "X-Monitor-Token": this._page.token },
    });
    this._find("confirm").disabled = false;
    if (session.id !== this._session?.id) return;
    if (answer?.ok) {
      this._onEnded();
      write(said, `Ended at ${clockTime(answer.data.ended_at)}`);
      return;
    }
    this._show(false);
    this._find("end").focus();
    write(said, SAID.get(answer?.status)
      ?? "The server did not answer: whether it has ended will show here.");
  }
}
