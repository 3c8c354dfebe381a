/** Ending a session: asked twice, far from other buttons, and only said when it is done. */

import { device, person } from "./format.js";
import { write } from "./dom.js";
import { isMine } from "./matching.js";

const OFFER = "Signs it out by the app’s own means, and takes it off this page. You are asked once more.";
const SAID = new Map([
  [403, "The server refused: the page is too old, or you may not. Load it again, then once more."],
  [404, "It had ended already, or you may not end sessions any more."],
  [409, "It is being ended already."],
  [500, "The app could not end it; its log says why. The session goes on."],
  [503, "The server cannot check this now. The session goes on."],
]);
const UNCLEAR = "The server did not answer: whether it has ended will show here.";

export class Ending {
  /**
   * @param element where it is offered.
   * @param does {ended(at), unclear}: called when a session has been ended, and when that is to be
   *   looked up.
   */
  constructor(element, page, does) {
    this._element = element;
    this._page = page;
    this._does = does;
    this._session = null;
    this._name = "";
    this._isSending = false;
    this._find = (name) => element.querySelector(`[data-${name}]`);
    this._find("end").addEventListener("click", () => this._ask());
    this._find("cancel").addEventListener("click", () => this._cancel());
    this._find("confirm").addEventListener("click", () => this._end());
  }

  /** Offer to end a session, where the viewer may. */
  offer(session) {
    this._element.hidden = this._page.role !== "act" || !this._page.token;
    const name = person(session.user, session.id);
    const isOther = session.id !== this._session?.id || name !== this._name;
    this._session = session;
    this._name = name;
    if (isOther) this._rest("");
  }

  hide() {
    this._element.hidden = true;
    this._session = null;
    this._isSending = false;
  }

  /** Back to the offer. */
  _rest(said) {
    const hadFocus = this._element.contains(document.activeElement);
    this._show(false);
    write(this._find("ending-text"), OFFER);
    write(this._find("ending-said"), said);
    if (hadFocus) this._find("end").focus();
  }

  _cancel() {
    if (!this._isSending) this._rest("");
  }

  /** Say whom it is about, and what will happen. */
  _ask() {
    const { user, agent } = this._session;
    const own = isMine(user, this._page.me) ? " This is you: you may be signed out of this page, too." : "";
    write(this._find("ending-text"), `End the session of ${this._name} (${device(agent)})? The app signs `
      + `it out, and log and feed keep that it was you. This cannot be undone.${own}`);
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
    if (this._isSending) return;
    this._isSending = true;
    const session = this._session;
    write(this._find("ending-said"), "Ending it");
    const answer = await this._page.ask(`sessions/${encodeURIComponent(session.id)}/end`, null, {
      method: "POST", headers: { "X-Monitor-Token": this._page.token },
    });
    if (session.id !== this._session?.id) return; // another story is open
    this._isSending = false;
    if (answer?.ok) {
      this._does.ended(answer.data.ended_at);
      return;
    }
    this._rest(answer ? SAID.get(answer.status) ?? `The server answered ${answer.status}. The session goes on.`
      : UNCLEAR);
    this._does.unclear();
  }
}
